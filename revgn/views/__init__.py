"""Runs as tables, comparisons, plots and reports."""

from revgn.views.compare import Comparison, compare_runs
from revgn.views.curves import draw_curves
from revgn.views.export import export_runs
from revgn.views.groups import Group, duplicates_in_words
from revgn.views.report import write_report
from revgn.views.response import draw_response
from revgn.views.summary import labels, outline, summarize
from revgn.views.tables import to_pandas, to_xarray

__all__ = [
    "Comparison",
    "Group",
    "compare_runs",
    "draw_curves",
    "draw_response",
    "duplicates_in_words",
    "export_runs",
    "labels",
    "outline",
    "summarize",
    "to_pandas",
    "to_xarray",
    "write_report",
]
