"""DATASETS, the one table of data sets, and what can be found and checked of them before a run."""

from aseg_bench.datasets.checks import check_images, checksum, count_deviations
from aseg_bench.datasets.layout import find_in_layout
from aseg_bench.datasets.records import AS_USUAL, CategoryCounts, Dataset, Layout, Reading
from aseg_bench.datasets.table import DATASETS, dataset_labels, find_dataset, find_samples, root_here

__all__ = [
    "AS_USUAL",
    "DATASETS",
    "CategoryCounts",
    "Dataset",
    "Layout",
    "Reading",
    "check_images",
    "checksum",
    "count_deviations",
    "dataset_labels",
    "find_dataset",
    "find_in_layout",
    "find_samples",
    "root_here",
]
