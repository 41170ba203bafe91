"""What is measured: METRICS, the table of metric facts, and the exact sweep that computes them all.

`evaluate_maps` and `measure` take all maps of a category at once, an entry of METRICS measures when it is called,
`aseg_bench.metrics.functions` holds the metrics with a parameter of their own, `MetricStream` takes maps that are seen
once, `FirstPass` and `SecondPass` merge across processes, and `BoundedStream` bounds what is too much to be exact.
"""

from aseg_bench.metrics.bounded import BoundedStream, Bounds
from aseg_bench.metrics.curve import Curve
from aseg_bench.metrics.first_pass import FirstPass, Needs, Ranking, SaturatedRegion
from aseg_bench.metrics.measure import Measured, defined, evaluate_maps, finish, measure, needs_of
from aseg_bench.metrics.second_pass import SecondPass
from aseg_bench.metrics.stream import MetricStream
from aseg_bench.metrics.sweep import Sweep
from aseg_bench.metrics.table import AT_PR_THRESHOLD, AT_THRESHOLD, DEFAULT_METRICS, METRICS, Metric
from aseg_bench.metrics.thresholds import THRESHOLDS, ThresholdRule, threshold_of

__all__ = [
    "AT_PR_THRESHOLD",
    "AT_THRESHOLD",
    "DEFAULT_METRICS",
    "METRICS",
    "THRESHOLDS",
    "BoundedStream",
    "Bounds",
    "Curve",
    "FirstPass",
    "Measured",
    "Metric",
    "MetricStream",
    "Needs",
    "Ranking",
    "SaturatedRegion",
    "SecondPass",
    "Sweep",
    "ThresholdRule",
    "defined",
    "evaluate_maps",
    "finish",
    "measure",
    "needs_of",
    "threshold_of",
]
