"""The report: one self-contained HTML page with its figures and the transcript viewer."""

from cbt_ray.report.data import (
    CheckRow,
    CostRow,
    Curves,
    FileRow,
    Methods,
    Notice,
    Provenance,
    RaterRow,
    ReportData,
    ReportedRating,
    ReportedSession,
    Span,
    Speaker,
    StageRow,
    Trained,
    TrainingRow,
)
from cbt_ray.report.page import Page, render
from cbt_ray.report.transcripts import Where

__all__ = [
    "CheckRow",
    "CostRow",
    "Curves",
    "FileRow",
    "Methods",
    "Notice",
    "Page",
    "Provenance",
    "RaterRow",
    "ReportData",
    "ReportedRating",
    "ReportedSession",
    "Span",
    "Speaker",
    "StageRow",
    "Trained",
    "TrainingRow",
    "Where",
    "render",
]
