"""DATASETS, the one table of data sets, and the checks that are made of them before a run."""

from collections.abc import Mapping

from aseg_bench.datasets.checks import check_images, checksum, count_deviations
from aseg_bench.datasets.demo import DEMO
from aseg_bench.datasets.mvtec_ad import MVTEC_AD
from aseg_bench.datasets.records import CategoryCounts, Dataset
from aseg_bench.datasets.visa import VISA

DATASETS: Mapping[str, Dataset] = {dataset.key: dataset for dataset in (DEMO, MVTEC_AD, VISA)}

__all__ = ["DATASETS", "CategoryCounts", "Dataset", "check_images", "checksum", "count_deviations"]
