"""Metrics over regions and over anomalous images, of a finished sweep.

Each is an area under the share of a region (or image) that is found, over a range of false-positive rates. The area is
the mean over the region's pixels of the part of the range in which the pixel is found, so one weight per distinct score
serves all regions.
"""

from math import nan

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.metrics.swept import Sweep, group_means, mean


def aupro(sweep: Sweep, limit: float) -> float:
    """Mean area under the found share of each 8-connected region up to the false-positive rate ``limit``, over it."""
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    return mean(np.concatenate(group_means(sweep.ranking.images, sweep.image_ranks, sweep.areas(limit))))


def spro(sweep: Sweep, limit: float) -> float:
    """As `aupro`, over the given regions, each found once its saturation area is."""
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    if not sweep.ranking.saturated:
        raise UndefinedMetricError("the saturation area of each defect is not given")
    return mean(np.concatenate(group_means(sweep.ranking.saturated, sweep.saturated_ranks, sweep.areas(limit))))


def aupimo(sweep: Sweep, lower: float, upper: float) -> float:
    """Mean over anomalous images of the area under the found share over the logarithm of the false-positive rate."""
    return mean(list(_image_areas(sweep, lower, upper)))


def aupimo_of_images(sweep: Sweep, lower: float, upper: float) -> list[float]:
    """The areas of `aupimo` by image; nan for normal ones."""
    areas = dict(zip([image.index for image in sweep.ranking.images], _image_areas(sweep, lower, upper), strict=True))
    return [areas.get(image.index, nan) for image in sweep.images]


def iap(sweep: Sweep) -> float:
    """Mean over the 8-connected regions of the precision where half of each is found, or at any higher threshold."""
    return mean(_instance_precisions(sweep))


def iap_at(sweep: Sweep, recall: float) -> float:
    """As `iap`, the precision where this share of the regions is found."""
    precisions = _instance_precisions(sweep)
    recalls = 1 - np.arange(len(precisions)) / len(precisions)
    return float(precisions[recalls >= recall][-1])


def _instance_precisions(sweep: Sweep) -> NDArray[np.float64]:
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    halves = [
        np.sort(of_region)[::-1][len(of_region) // 2]
        for image, ranks in zip(sweep.ranking.images, sweep.image_ranks, strict=True)
        for of_region in np.split(ranks, np.cumsum(image.sizes)[:-1])
    ]
    return np.maximum.accumulate(sweep.curve.precision[np.sort(halves)])


def _image_areas(sweep: Sweep, lower: float, upper: float) -> NDArray[np.float64]:
    if not sweep.ranking.images:
        raise UndefinedMetricError("no pixel is anomalous")
    if not sweep.n_normal_pixels_of_normal_images:
        raise UndefinedMetricError("no image is normal")
    weights = sweep.log_areas(lower, upper)
    images = sweep.ranking.images
    means = group_means(images, sweep.image_ranks, weights)
    return np.array([np.average(of_image, weights=image.sizes) for image, of_image in zip(images, means, strict=True)])
