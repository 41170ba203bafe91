"""What is measured: METRICS, the table of metric facts, and the exact sweep that computes them all."""

from aseg_bench.metrics.curve import Curve
from aseg_bench.metrics.first_pass import FirstPass, Needs, Ranking, SaturatedRegion
from aseg_bench.metrics.measure import Measured, evaluate_maps, measure
from aseg_bench.metrics.second_pass import SecondPass
from aseg_bench.metrics.table import DEFAULT_METRICS, METRICS, Metric

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Curve",
    "FirstPass",
    "Measured",
    "Metric",
    "Needs",
    "Ranking",
    "SaturatedRegion",
    "SecondPass",
    "evaluate_maps",
    "measure",
]
