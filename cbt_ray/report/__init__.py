"""The report: one self-contained HTML page with its figures and the transcript viewer."""

from cbt_ray.report.data import (
    CheckRow,
    CostRow,
    Curves,
    FileRow,
    Provenance,
    ReportData,
    ReportedRating,
    ReportedSession,
    StageRow,
    TrainingRow,
)
from cbt_ray.report.page import Page, render
from cbt_ray.report.transcripts import Where

__all__ = [
    "CheckRow",
    "CostRow",
    "Curves",
    "FileRow",
    "Page",
    "Provenance",
    "ReportData",
    "ReportedRating",
    "ReportedSession",
    "StageRow",
    "TrainingRow",
    "Where",
    "render",
]
