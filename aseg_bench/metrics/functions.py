"""Metrics with a parameter of their own: a limit, a range, given regions, or any threshold.

All take ``scores`` and ``masks`` as `evaluate_maps` does: anomaly score per pixel, (images, height, width) or a
sequence of (height, width) arrays, any unit, higher is more anomalous; and True (or 1, or 255) where the pixel is
anomalous, masked where it is void, of the same shapes. All raise InputError for what cannot be measured and
UndefinedMetricError where the metric has no value, as where all pixels are of one class. Metrics that share a sweep are
cheaper together, from `evaluate_maps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import measures
from aseg_bench.metrics.checks import (
    Levels,
    Masks,
    ScoreMaps,
    as_map,
    as_maps,
    as_mask,
    check_pair,
    check_share,
    n_valid,
    truth_of,
)
from aseg_bench.metrics.first_pass import Needs, SaturatedRegion
from aseg_bench.metrics.keys import key_type
from aseg_bench.metrics.passes import sweep_maps
from aseg_bench.metrics.sweep import Sweep
from aseg_bench.metrics.table import AUPIMO_RANGE


def aupro(scores: ScoreMaps, masks: Masks, *, limit: float = 0.3) -> float:
    """Mean found share of the anomalous regions over the false-positive rate, from 0 to ``limit``, over ``limit``.

    Regions are 8-connected, all of equal weight; the rate is over the normal pixels of all images; tied scores are one
    point of the curve, and the curve is cut at the limit by linear interpolation.

    Returns:
        Area in [0, 1].

    Source: Bergmann et al. (2021), https://doi.org/10.1007/s11263-020-01400-4
    """
    check_share("limit", limit)
    return measures.aupro(sweep_maps(scores, masks, Needs(regions=True)), limit)


def spro(
    scores: ScoreMaps, masks: Masks, regions: Sequence[Sequence[SaturatedRegion]], *, limit: float = 0.05
) -> float:
    """As `aupro`, over given regions, each of which counts as found completely once its saturation area is found.

    Args:
        scores: as for all.
        masks: as for all; the union of each image's regions.
        regions: the regions of each image, none for a normal one.
        limit: highest false-positive rate, in (0, 1].

    Returns:
        Area in [0, 1].

    Source: Bergmann et al. (2022), https://doi.org/10.1007/s11263-022-01578-9
    """
    check_share("limit", limit)
    return measures.spro(sweep_maps(scores, masks, Needs(), regions=regions), limit)


def aupimo(scores: ScoreMaps, masks: Masks, *, lower: float = AUPIMO_RANGE[0], upper: float = AUPIMO_RANGE[1]) -> float:
    """Mean of `aupimo_per_image` over the images with anomalous pixels.

    Returns:
        Area in [0, 1].

    Source: Bertoldo et al. (2024), https://arxiv.org/abs/2401.01984
    """
    return measures.aupimo(_aupimo_sweep(scores, masks, lower, upper), lower, upper)


def aupimo_per_image(
    scores: ScoreMaps, masks: Masks, *, lower: float = AUPIMO_RANGE[0], upper: float = AUPIMO_RANGE[1]
) -> NDArray[np.float64]:
    """Found share of each image's anomalous pixels, averaged over the logarithm of the false-positive rate.

    The rate is over all pixels of the images without anomalous ones. Between the two points of a tie the share runs
    along a straight line; where the rate is still 0, whose logarithm gives no line, it keeps its value.

    Returns:
        Area in [0, 1] per image, nan for images without anomalous pixels, (images,).
    """
    return np.array(measures.aupimo_of_images(_aupimo_sweep(scores, masks, lower, upper), lower, upper))


@dataclass(frozen=True, slots=True)
class Thresholded:
    """Counts over all valid pixels when every pixel at or above one threshold is called anomalous.

    A property without a value (precision where nothing is called anomalous) raises UndefinedMetricError.

    Attributes:
        tp: anomalous pixels called anomalous.
        fp: normal pixels called anomalous.
        fn: anomalous pixels called normal.
        tn: normal pixels called normal.
        fp_of_normal_images: normal pixels called anomalous in images without anomalous ones.
        n_normal_images: images with valid pixels of which none is anomalous.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    fp_of_normal_images: int
    n_normal_images: int

    @property
    def precision(self) -> float:
        """Share of the pixels called anomalous that are anomalous."""
        return _ratio(self.tp, self.tp + self.fp, "no pixel is called anomalous")

    @property
    def recall(self) -> float:
        """Share of the anomalous pixels that are called anomalous."""
        return _ratio(self.tp, self.tp + self.fn, "no pixel is anomalous")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, "no pixel is anomalous, and none is called so")

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return _ratio(self.tp, self.tp + self.fp + self.fn, "no pixel is anomalous, and none is called so")

    @property
    def fp_pixels(self) -> float:
        """False-positive pixels per image without anomalous ones."""
        return _ratio(self.fp_of_normal_images, self.n_normal_images, "no image is normal")


def at_threshold(scores: ScoreMaps, masks: Masks, threshold: float) -> Thresholded:
    """Precision, recall, F1, IoU and false-positive pixels at any threshold.

    Args:
        scores: as for all.
        masks: as for all.
        threshold: a pixel is called anomalous where its score is at least this, compared as float64.
    """
    scores, masks = as_maps(scores, masks)
    levels: Levels = {}
    tp = fp = fn = tn = fp_of_normal = n_normal_images = 0
    for i in range(len(scores)):
        score_map, mask = as_map(scores[i], f"image {i}"), as_mask(masks[i], f"the mask of image {i}", levels)
        check_pair(score_map, mask, f"image {i}")
        if np.isnan(score_map).any():
            row, column = np.argwhere(np.isnan(score_map))[0]
            raise InputError(f"score is nan at image {i}, pixel ({row}, {column}); repair the map, or remove the image")
        called = score_map >= (np.float64(threshold) if key_type(score_map.dtype, "").name != "int64" else threshold)
        truth, n_pixels = truth_of(mask), n_valid(mask)
        called = called & ~np.ma.getmaskarray(mask)
        hits = int((called & truth).sum())
        n_called, n_anomalous = int(called.sum()), int(truth.sum())
        tp += hits
        fp += n_called - hits
        fn += n_anomalous - hits
        tn += n_pixels - n_called - n_anomalous + hits
        if n_pixels and not n_anomalous:
            fp_of_normal += n_called
            n_normal_images += 1
    return Thresholded(tp, fp, fn, tn, fp_of_normal, n_normal_images)


def _aupimo_sweep(scores: ScoreMaps, masks: Masks, lower: float, upper: float) -> Sweep:
    check_share("upper", upper)
    if not 0.0 < lower < upper:
        raise InputError(f"lower is {lower}; it must lie above 0 and below upper, {upper}")
    return sweep_maps(scores, masks, Needs(curve=False, regions=True, normal_fpr=upper))


def _ratio(part: int, whole: int, reason: str) -> float:
    if not whole:
        raise UndefinedMetricError(reason)
    return part / whole
