"""What METRICS computes of a finished sweep: one function per metric, from the counts alone.

All are undefined (UndefinedMetricError) where one class of pixels, or of images, is missing. Metrics over regions and
over anomalous images are areas under the share of a region (or image) that is found, over a range of false-positive
rates: the mean over the region's pixels of the part of the range in which the pixel is found, so that one weight per
distinct score serves all regions.
"""

from collections.abc import Callable
from dataclasses import replace
from math import isnan, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.metrics.above import Above
from aseg_bench.metrics.sweep import Image, Sweep, group_means, mean

NO_THRESHOLD = "no threshold was found on normal images"


def pixel_auroc(sweep: Sweep) -> float:
    """Share of (anomalous, normal) pairs of pixels in the right order."""
    return sweep.curve.auroc


def pixel_auroc_anomalous(sweep: Sweep) -> float:
    """`pixel_auroc` over the pixels of the images with an anomalous one."""
    return sweep.curve_of_anomalous_images.auroc


def of_protocols(sweep: Sweep, names: str) -> float:
    """No value: only some protocols define it.

    Raises:
        UndefinedMetricError: always.
    """
    raise UndefinedMetricError(f"only the protocols {names} define it")


def pixel_ap(sweep: Sweep) -> float:
    """Step average precision."""
    return sweep.curve.average_precision


def pixel_ap_lift(sweep: Sweep) -> float:
    """Average precision over prevalence, which a random score reaches."""
    return sweep.curve.average_precision / anomaly_rate(sweep)


def pixel_f1_max(sweep: Sweep) -> float:
    """F1 at the best threshold."""
    return _f1(sweep.curve.n_anomalous, *sweep.curve.at_f1_threshold)


def pixel_iou_max(sweep: Sweep) -> float:
    """Intersection over union at the best threshold."""
    return _iou(sweep.curve.n_anomalous, *sweep.curve.at_f1_threshold)


def pixel_fpr_at_95_tpr(sweep: Sweep) -> float:
    """False-positive rate where 95 % of the anomalous pixels are found."""
    return sweep.curve.fpr_at_tpr(0.95)


def precision(sweep: Sweep) -> float:
    """Precision at the precision + recall threshold."""
    tp, fp = sweep.curve.at_pr_threshold
    return tp / (tp + fp)


def recall(sweep: Sweep) -> float:
    """Recall at the precision + recall threshold."""
    return sweep.curve.at_pr_threshold[0] / sweep.curve.n_anomalous


def dsc_pooled(sweep: Sweep) -> float:
    """F1 of all pixels at the precision + recall threshold."""
    return _f1(sweep.curve.n_anomalous, *sweep.curve.at_pr_threshold)


def iou_pooled(sweep: Sweep) -> float:
    """Intersection over union of all pixels at the precision + recall threshold."""
    return _iou(sweep.curve.n_anomalous, *sweep.curve.at_pr_threshold)


def dsc_of_images(sweep: Sweep) -> list[float]:
    """Dice of each image at the precision + recall threshold; of a normal image 1 if nothing is predicted, else 0.

    An image without a truth has none, and is nan: all its pixels are void, or it is labelled anomalous and no pixel is.
    """
    return [_overlap(image, _f1) for image in _thresholded(sweep)]


def iou_of_images(sweep: Sweep) -> list[float]:
    """Intersection over union of each image, as `dsc_of_images`."""
    return [_overlap(image, _iou) for image in _thresholded(sweep)]


def dsc(sweep: Sweep) -> float:
    """The paper's DSC: mean Dice over all images that have one."""
    return _mean_of_some(dsc_of_images(sweep))


def iou(sweep: Sweep) -> float:
    """Mean intersection over union over all images that have one."""
    return _mean_of_some(iou_of_images(sweep))


def dsc_anomalous(sweep: Sweep) -> float:
    """Mean Dice over the images with anomalous pixels."""
    return mean([_overlap(image, _f1) for image in _thresholded(sweep) if image.n_anomalous])


def iou_anomalous(sweep: Sweep) -> float:
    """Mean intersection over union over the images with anomalous pixels."""
    return mean([_overlap(image, _iou) for image in _thresholded(sweep) if image.n_anomalous])


def fp_pixels(sweep: Sweep) -> float:
    """False-positive pixels per normal image at the precision + recall threshold."""
    positives = [image.fp for image in _thresholded(sweep) if image.is_normal]
    if not positives:
        raise UndefinedMetricError("no image is normal")
    return sum(positives) / len(positives)


class Called(NamedTuple):
    """All images together when the pixels above a given threshold are called anomalous.

    Attributes:
        counts: of what is called.
        n_anomalous: anomalous pixels.
        n_normal: normal pixels.
    """

    counts: Above
    n_anomalous: int
    n_normal: int


def seg_f1(sweep: Sweep) -> float:
    """F1 of all pixels above the given threshold."""
    counts, n_anomalous, _ = _called(sweep)
    return _f1(n_anomalous, counts.tp, counts.fp)


def iou_at_threshold(sweep: Sweep) -> float:
    """Intersection over union of all pixels above the given threshold."""
    counts, n_anomalous, _ = _called(sweep)
    return _iou(n_anomalous, counts.tp, counts.fp)


def boundary_iou_at_threshold(sweep: Sweep) -> float:
    """Intersection over union of the boundaries of what is called and of the truth, all pixels of all images together.

    A boundary is what lies in a mask and within 2 % of the diagonal of the image of its contour.
    """
    counts = _called(sweep).counts
    return counts.n_shared / counts.n_boundary


def missed_regions_at_threshold(sweep: Sweep) -> float:
    """Share of the 8-connected regions of the truth of which no pixel scores above the given threshold."""
    counts = _called(sweep).counts
    return counts.n_missed / counts.n_regions


def false_regions_at_threshold(sweep: Sweep) -> float:
    """8-connected regions above the given threshold without an anomalous pixel, per image with a valid pixel."""
    counts = _called(sweep).counts
    return counts.n_false / sum(image.n_pixels > 0 for image in sweep.images)


def precision_at_threshold(sweep: Sweep) -> float:
    """Precision of all pixels above the given threshold."""
    counts = _called(sweep).counts
    if not counts.tp + counts.fp:
        raise UndefinedMetricError("no pixel scores above the threshold")
    return counts.tp / (counts.tp + counts.fp)


def recall_at_threshold(sweep: Sweep) -> float:
    """Recall of all pixels above the given threshold."""
    counts, n_anomalous, _ = _called(sweep)
    return counts.tp / n_anomalous


def fpr_at_threshold(sweep: Sweep) -> float:
    """Share of the normal pixels above the given threshold."""
    counts, _, n_normal = _called(sweep)
    return counts.fp / n_normal


def dsc_at_threshold(sweep: Sweep) -> float:
    """Mean Dice of all images at the given threshold, by the rules of `dsc_of_images`."""
    _called(sweep)
    images = [replace(image, tp=image.above.tp, fp=image.above.fp) for image in sweep.images]
    return _mean_of_some([_overlap(image, _f1) for image in images])


def fp_pixels_at_threshold(sweep: Sweep) -> float:
    """False-positive pixels per normal image at the given threshold."""
    _called(sweep)
    positives = [image.above.fp for image in sweep.images if image.is_normal]
    if not positives:
        raise UndefinedMetricError("no image is normal")
    return sum(positives) / len(positives)


def anomaly_rate(sweep: Sweep) -> float:
    """Share of anomalous pixels over all images."""
    n_pixels = sweep.curve.n_anomalous + sweep.curve.n_normal
    if not n_pixels:
        raise UndefinedMetricError("all pixels are void")
    return sweep.curve.n_anomalous / n_pixels


def anomaly_rate_anomalous(sweep: Sweep) -> float:
    """Share of anomalous pixels over the images that have any."""
    n_pixels = sum(image.n_pixels for image in sweep.images if image.n_anomalous)
    if not n_pixels:
        raise UndefinedMetricError("no pixel is anomalous")
    return sweep.curve.n_anomalous / n_pixels


def aupro(sweep: Sweep, limit: float) -> float:
    """Mean over 8-connected regions of the area under the found share up to the rate ``limit``, divided by it."""
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
    """The areas of `aupimo` by image; nan for those without an anomalous pixel."""
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


def image_auroc(sweep: Sweep) -> float:
    """Share of (anomalous, normal) pairs of images in the right order."""
    return sweep.image_curve.auroc


def image_ap(sweep: Sweep) -> float:
    """Step average precision over images."""
    return sweep.image_curve.average_precision


def image_f1_max(sweep: Sweep) -> float:
    """F1 over images at the best threshold."""
    curve = sweep.image_curve
    tp, fp = curve.at_f1_threshold
    return 2 * tp / (curve.n_anomalous + tp + fp)


def _called(sweep: Sweep) -> Called:
    if sweep.ranking.needs.threshold is None:
        raise UndefinedMetricError(NO_THRESHOLD)
    images = sweep.images
    counts = Above(*(sum(column) for column in zip(*(image.above for image in images), strict=True)))
    n_anomalous = sum(image.n_anomalous for image in images)
    n_normal = sum(image.n_pixels for image in images) - n_anomalous
    if not n_anomalous or not n_normal:
        raise UndefinedMetricError(f"no pixel is {'normal' if n_anomalous else 'anomalous'}")
    return Called(counts, n_anomalous, n_normal)


def _thresholded(sweep: Sweep) -> list[Image]:
    sweep.curve.at_pr_threshold  # noqa: B018 - raises where there is no threshold
    return sweep.images


def _overlap(image: Image, measure: Callable[[int, int, int], float]) -> float:
    if image.n_anomalous:
        return measure(image.n_anomalous, image.tp, image.fp)
    return float(not image.fp) if image.is_normal else nan


def _mean_of_some(values: list[float]) -> float:
    return mean([value for value in values if not isnan(value)])


def _f1(n_anomalous: int, tp: int, fp: int) -> float:
    return 2 * tp / (n_anomalous + tp + fp)


def _iou(n_anomalous: int, tp: int, fp: int) -> float:
    return tp / (n_anomalous + fp)


def _instance_precisions(sweep: Sweep) -> NDArray[np.float64]:
    sweep.curve.auroc  # noqa: B018 - raises where one class is missing
    halves = [
        np.sort(of_region)[::-1][len(of_region) // 2]
        for image, ranks in zip(sweep.ranking.images, sweep.image_ranks, strict=True)
        for of_region in np.split(ranks, np.cumsum(image.sizes)[:-1])
    ]
    return np.maximum.accumulate(sweep.curve.precision_at(halves))


def _image_areas(sweep: Sweep, lower: float, upper: float) -> NDArray[np.float64]:
    if not sweep.ranking.images:
        raise UndefinedMetricError("no pixel is anomalous")
    if not sweep.n_normal_pixels_of_normal_images:
        raise UndefinedMetricError("no image is normal")
    weights = sweep.log_areas(lower, upper)
    images = sweep.ranking.images
    means = group_means(images, sweep.image_ranks, weights)
    return np.array([np.average(of_image, weights=image.sizes) for image, of_image in zip(images, means, strict=True)])
