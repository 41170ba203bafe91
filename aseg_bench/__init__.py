"""aseg-bench: exact, fast and honest benchmarks of image anomaly segmentation."""

from importlib.metadata import version

__version__ = version("aseg-bench")
