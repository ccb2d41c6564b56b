"""The report: one self-contained HTML page with its figures and the transcript viewer."""

from cbt_ray.report.data import (
    AskedModel,
    CandidateRow,
    CheckRow,
    CostRow,
    Curves,
    FileRow,
    Methods,
    PairsRow,
    Period,
    Provenance,
    RaterRow,
    ReportData,
    ReportedCheckpoint,
    ReportedRating,
    ReportedSession,
    StageRow,
    TrainingRow,
)
from cbt_ray.report.page import Page, render
from cbt_ray.report.transcripts import Where

__all__ = [
    "AskedModel",
    "CandidateRow",
    "CheckRow",
    "CostRow",
    "Curves",
    "FileRow",
    "Methods",
    "Page",
    "PairsRow",
    "Period",
    "Provenance",
    "RaterRow",
    "ReportData",
    "ReportedCheckpoint",
    "ReportedRating",
    "ReportedSession",
    "StageRow",
    "TrainingRow",
    "Where",
    "render",
]
