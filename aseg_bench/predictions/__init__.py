"""The store of anomaly maps on disk."""

from aseg_bench.predictions.store import MapStore

__all__ = ["MapStore"]
