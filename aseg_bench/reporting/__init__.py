"""Scores and counted maps in, text and pictures out. No metric of a run is computed in this room."""

from aseg_bench.reporting.cells import Table
from aseg_bench.reporting.terminal import terminal
from aseg_bench.reporting.writing import report_tables, write_tables

__all__ = ["Table", "report_tables", "terminal", "write_tables"]
