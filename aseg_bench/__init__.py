"""aseg-bench: exact, fast and honest benchmarks of image anomaly segmentation."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aseg_bench.metrics import evaluate_maps

__all__ = ["__version__", "evaluate_maps"]
__version__ = version("aseg-bench")


def __getattr__(name: str) -> Any:
    if name == "evaluate_maps":  # loaded when asked for: numba takes a while, and not every command measures
        from aseg_bench.metrics import evaluate_maps

        return evaluate_maps
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
