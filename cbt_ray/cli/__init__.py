"""The command line: reads the study file, calls a stage, prints.

What stages need is imported inside the commands, so that `--help` and errors come at once.
"""

from cbt_ray.cli import analyze, begin, cluster, imports, study
from cbt_ray.cli.command import cli

__all__ = ["analyze", "begin", "cli", "cluster", "imports", "study"]
