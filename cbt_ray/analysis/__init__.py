"""Scores and statistics: a pure function of the ratings and the settings, so that anyone can run it
again.
"""

from cbt_ray.analysis.analyse import SCHEMA_VERSION, Analysis, Beside, analyse
from cbt_ray.analysis.scores import ScoreRow, Scores
from cbt_ray.analysis.settings import Settings

__all__ = ["SCHEMA_VERSION", "Analysis", "Beside", "ScoreRow", "Scores", "Settings", "analyse"]
