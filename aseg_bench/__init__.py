"""aseg-bench: exact, fast and honest benchmarks of image anomaly segmentation.

What this module names is the public API, and stays stable; everything else may change. A name is loaded when it is
first asked for, so that importing the package takes no time and needs no torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aseg_bench.datasets import DATASETS as DATASETS
    from aseg_bench.errors import AsegBenchError as AsegBenchError
    from aseg_bench.methods import MethodFacts as MethodFacts
    from aseg_bench.methods import MethodOptions as MethodOptions
    from aseg_bench.metrics import METRICS as METRICS
    from aseg_bench.metrics import BoundedStream as BoundedStream
    from aseg_bench.metrics import MetricStream as MetricStream
    from aseg_bench.metrics import evaluate_maps as evaluate_maps
    from aseg_bench.protocols import PROTOCOLS as PROTOCOLS
    from aseg_bench.records import AnomalyMap as AnomalyMap
    from aseg_bench.records import Sample as Sample
    from aseg_bench.reporting.audit import audit as audit
    from aseg_bench.reporting.comparison import compare as compare
    from aseg_bench.reporting.report import report as report
    from aseg_bench.runs.evaluation import evaluate as evaluate
    from aseg_bench.runs.pictures import predict as predict
    from aseg_bench.runs.plan import RunPlan as RunPlan
    from aseg_bench.runs.results import read_results as read_results
    from aseg_bench.runs.runner import run as run
    from aseg_bench.training.torch_metric import SegmentationMetrics as SegmentationMetrics

_ROOMS = {
    "DATASETS": "datasets",
    "METRICS": "metrics",
    "PROTOCOLS": "protocols",
    "AnomalyMap": "records",
    "AsegBenchError": "errors",
    "BoundedStream": "metrics",
    "MethodFacts": "methods",
    "MethodOptions": "methods",
    "MetricStream": "metrics",
    "RunPlan": "runs.plan",
    "Sample": "records",
    "SegmentationMetrics": "training.torch_metric",
    "audit": "reporting.audit",
    "compare": "reporting.comparison",
    "evaluate": "runs.evaluation",
    "evaluate_maps": "metrics",
    "predict": "runs.pictures",
    "read_results": "runs.results",
    "report": "reporting.report",
    "run": "runs.runner",
}
__all__ = ["__version__", *_ROOMS]
__version__ = version("aseg-bench")


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
