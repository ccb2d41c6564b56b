"""The report: one self-contained HTML page with its figures and the transcript viewer."""

from cbt_ray.report.data import CostRow, Provenance, ReportData, ReportedRating, ReportedSession, StageRow, TrainingRow
from cbt_ray.report.page import render

__all__ = [
    "CostRow",
    "Provenance",
    "ReportData",
    "ReportedRating",
    "ReportedSession",
    "StageRow",
    "TrainingRow",
    "render",
]
