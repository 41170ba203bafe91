"""Metrics over regions and over anomalous images, of a finished sweep.

Each is an area under the share of a region (or image) that is found, over a range of false-positive rates. The area is
the mean over the region's pixels of the part of the range in which the pixel is found, so one weight per distinct score
serves all regions.
"""

from math import nan

import numpy as np

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics.checks import check_share
from aseg_bench.metrics.swept import Sweep, mean


def aupro(sweep: Sweep, limit: float) -> float:
    """Mean area under the found share of each 8-connected region up to the false-positive rate ``limit``, over it."""
    check_share("limit", limit)
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    weights = sweep.areas(limit)
    return mean(np.concatenate([sweep.group_sums(image, weights) / image.sizes for image in sweep.ranking.images]))


def spro(sweep: Sweep, limit: float) -> float:
    """As `aupro`, over the given regions, each found once its saturation area is."""
    check_share("limit", limit)
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    if not sweep.ranking.saturated:
        raise UndefinedMetricError("the saturation area of each defect is not given")
    weights = sweep.areas(limit)
    return mean(np.concatenate([sweep.group_sums(image, weights) / image.sizes for image in sweep.ranking.saturated]))


def aupimo_of_images(sweep: Sweep, lower: float, upper: float) -> list[float]:
    """Per image, the area under its found share over the logarithm of the false-positive rate; nan for normal ones."""
    check_share("upper", upper)
    if not 0.0 < lower < upper:
        raise InputError(f"lower is {lower}; it must lie above 0 and below upper, {upper}")
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    if not sweep.n_normal_pixels_of_normal_images:
        raise UndefinedMetricError("no image is normal")
    weights = sweep.log_areas(lower, upper)
    areas = {
        image.index: float(sweep.group_sums(image, weights).sum() / image.sizes.sum()) for image in sweep.ranking.images
    }
    return [areas.get(image.index, nan) for image in sweep.images]


def aupimo(sweep: Sweep, lower: float, upper: float) -> float:
    """Mean of `aupimo_of_images` over the anomalous images."""
    return mean([area for area in aupimo_of_images(sweep, lower, upper) if area == area])
