"""One plain function per metric.

All take ``scores`` and ``masks`` as `evaluate_maps` does: anomaly score per pixel, (images, height, width) or a
sequence of (height, width) arrays, any unit, higher is more anomalous; and True where the pixel is anomalous, of the
same shapes. All raise InputError for what cannot be measured and UndefinedMetricError where the metric has no value, as
where all pixels are of one class. Those that share a sweep are cheaper together, from `evaluate_maps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import region
from aseg_bench.metrics.checks import Masks, ScoreMaps, check_maps, check_pair, check_share
from aseg_bench.metrics.first_pass import Needs, SaturatedRegion
from aseg_bench.metrics.keys import key_type
from aseg_bench.metrics.measure import evaluate_maps, sweep_maps
from aseg_bench.metrics.second_pass import ImageScore
from aseg_bench.metrics.swept import Sweep
from aseg_bench.metrics.table import AUPIMO_RANGE


def pixel_auroc(scores: ScoreMaps, masks: Masks) -> float:
    """Chance that an anomalous pixel outscores a normal one; a tie counts one half.

    Returns:
        Area under the ROC curve in [0, 1]; 0.5 is chance. Never flipped.

    Source: Fawcett (2006), https://doi.org/10.1016/j.patrec.2005.10.010
    """
    return _only("pixel_auroc", scores, masks)


def pixel_auroc_anomalous(scores: ScoreMaps, masks: Masks) -> float:
    """`pixel_auroc` over the images with an anomalous pixel."""
    return _only("pixel_auroc_anomalous", scores, masks)


def pixel_ap(scores: ScoreMaps, masks: Masks) -> float:
    """Area under precision over recall, by steps, as scikit-learn's ``average_precision_score``.

    Returns:
        Average precision in (0, 1]; chance is the share of anomalous pixels.
    """
    return _only("pixel_ap", scores, masks)


def pixel_ap_lift(scores: ScoreMaps, masks: Masks) -> float:
    """Pixel AP over the share of anomalous pixels, which a random score reaches.

    Returns:
        A ratio of at least 0; 1 is chance.
    """
    return _only("pixel_ap_lift", scores, masks)


def pixel_f1_max(scores: ScoreMaps, masks: Masks) -> float:
    """F1 of all pixels at the best threshold, which ``measure(...).curve.f1_threshold`` holds.

    Returns:
        F1 in (0, 1].
    """
    return _only("pixel_f1_max", scores, masks)


def pixel_iou_max(scores: ScoreMaps, masks: Masks) -> float:
    """Intersection over union of all pixels at the best threshold, the same as for F1.

    Returns:
        Intersection over union in (0, 1].
    """
    return _only("pixel_iou_max", scores, masks)


def pixel_fpr_at_95_tpr(scores: ScoreMaps, masks: Masks) -> float:
    """Share of normal pixels at or above the highest threshold that finds 95 % of the anomalous ones.

    Returns:
        False-positive rate in [0, 1]; lower is better.
    """
    return _only("pixel_fpr_at_95_tpr", scores, masks)


def dsc(scores: ScoreMaps, masks: Masks) -> float:
    """The paper's DSC: Dice per image at the pooled precision + recall threshold, mean over all images.

    The threshold is the distinct score that maximises precision + recall over all pixels, the lowest one on a tie; a
    pixel is called anomalous at or above it. An image without anomalous pixels counts 1 if none is called so, else 0.

    Returns:
        Mean Dice in [0, 1].

    Source: Ma et al., UniAS (WACV 2025), section 4.1
    """
    return _only("dsc", scores, masks)


def iou(scores: ScoreMaps, masks: Masks) -> float:
    """As `dsc`, with intersection over union in the place of Dice."""
    return _only("iou", scores, masks)


def dsc_anomalous(scores: ScoreMaps, masks: Masks) -> float:
    """As `dsc`, the mean over images with anomalous pixels only; the threshold is that of all images."""
    return _only("dsc_anomalous", scores, masks)


def iou_anomalous(scores: ScoreMaps, masks: Masks) -> float:
    """As `iou`, the mean over images with anomalous pixels only; the threshold is that of all images."""
    return _only("iou_anomalous", scores, masks)


def dsc_pooled(scores: ScoreMaps, masks: Masks) -> float:
    """Dice (F1) of all pixels together at the threshold of `dsc`."""
    return _only("dsc_pooled", scores, masks)


def iou_pooled(scores: ScoreMaps, masks: Masks) -> float:
    """Intersection over union of all pixels together at the threshold of `dsc`."""
    return _only("iou_pooled", scores, masks)


def precision(scores: ScoreMaps, masks: Masks) -> float:
    """Precision of all pixels at the threshold of `dsc`; see `at_threshold` for any other."""
    return _only("precision", scores, masks)


def recall(scores: ScoreMaps, masks: Masks) -> float:
    """Recall of all pixels at the threshold of `dsc`; see `at_threshold` for any other."""
    return _only("recall", scores, masks)


def fp_pixels(scores: ScoreMaps, masks: Masks) -> float:
    """False-positive pixels per image without anomalous ones, at the threshold of `dsc`.

    Returns:
        Mean number of pixels; lower is better.
    """
    return _only("fp_pixels", scores, masks)


def aupro(scores: ScoreMaps, masks: Masks, *, limit: float = 0.3) -> float:
    """Mean found share of the anomalous regions over the false-positive rate, from 0 to ``limit``, over ``limit``.

    Regions are 8-connected, all of equal weight; the rate is over the normal pixels of all images; tied scores are one
    point of the curve, and the curve is cut at the limit by linear interpolation.

    Returns:
        Area in [0, 1].

    Source: Bergmann et al. (2021), https://doi.org/10.1007/s11263-020-01400-4
    """
    check_share("limit", limit)
    return region.aupro(sweep_maps(scores, masks, Needs(regions=True)), limit)


def spro(
    scores: ScoreMaps, masks: Masks, regions: Sequence[Sequence[SaturatedRegion]], *, limit: float = 0.05
) -> float:
    """As `aupro`, over given regions, of which finding the saturation area is finding all.

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
    return region.spro(sweep_maps(scores, masks, Needs(), regions=regions), limit)


def iap(scores: ScoreMaps, masks: Masks) -> float:
    """Mean over the 8-connected regions of the precision where half of each is found, or at any higher threshold.

    Source: Zhang et al. (2023), https://arxiv.org/abs/2211.11317
    """
    return _only("iap", scores, masks)


def iap_90(scores: ScoreMaps, masks: Masks) -> float:
    """The precision where half of each of 90 % of the 8-connected regions is found, as `iap`."""
    return _only("iap_90", scores, masks)


def aupimo(scores: ScoreMaps, masks: Masks, *, lower: float = AUPIMO_RANGE[0], upper: float = AUPIMO_RANGE[1]) -> float:
    """Mean of `aupimo_per_image` over the images with anomalous pixels.

    Returns:
        Area in [0, 1].

    Source: Bertoldo et al. (2024), https://arxiv.org/abs/2401.01984
    """
    return region.aupimo(_aupimo_sweep(scores, masks, lower, upper), lower, upper)


def aupimo_per_image(
    scores: ScoreMaps, masks: Masks, *, lower: float = AUPIMO_RANGE[0], upper: float = AUPIMO_RANGE[1]
) -> NDArray[np.float64]:
    """Found share of each image's anomalous pixels, averaged over the logarithm of the false-positive rate.

    The rate is over all pixels of the images without anomalous ones. Between the two points of a tie the share runs
    along a straight line; where the rate is still 0, whose logarithm gives no line, it keeps its value.

    Returns:
        Area in [0, 1] per image, nan for images without anomalous pixels, (images,).
    """
    return np.array(region.aupimo_of_images(_aupimo_sweep(scores, masks, lower, upper), lower, upper))


def anomaly_rate(scores: ScoreMaps, masks: Masks) -> float:
    """Share of anomalous pixels over all images; it says how much AUROC can hide."""
    return _only("anomaly_rate", scores, masks)


def anomaly_rate_anomalous(scores: ScoreMaps, masks: Masks) -> float:
    """Share of anomalous pixels over the images that have any."""
    return _only("anomaly_rate_anomalous", scores, masks)


def image_auroc(scores: ScoreMaps, masks: Masks, *, image_scores: ArrayLike | ImageScore | None = None) -> float:
    """Chance that an anomalous image outscores a normal one; a tie counts one half.

    ``image_scores`` are one score per image, or a function from a map to it; None takes the highest pixel.
    """
    return evaluate_maps(scores, masks, metrics=["image_auroc"], image_scores=image_scores)["image_auroc"]


def image_ap(scores: ScoreMaps, masks: Masks, *, image_scores: ArrayLike | ImageScore | None = None) -> float:
    """Area under precision over recall of images, by steps; ``image_scores`` as in `image_auroc`."""
    return evaluate_maps(scores, masks, metrics=["image_ap"], image_scores=image_scores)["image_ap"]


def image_f1_max(scores: ScoreMaps, masks: Masks, *, image_scores: ArrayLike | ImageScore | None = None) -> float:
    """F1 of images at the best threshold; ``image_scores`` as in `image_auroc`."""
    return evaluate_maps(scores, masks, metrics=["image_f1_max"], image_scores=image_scores)["image_f1_max"]


@dataclass(frozen=True, slots=True)
class Thresholded:
    """What calling every pixel at or above one threshold anomalous comes to, over all pixels.

    A property without a value (precision where nothing is called anomalous) raises UndefinedMetricError.

    Attributes:
        tp: anomalous pixels called anomalous.
        fp: normal pixels called anomalous.
        fn: anomalous pixels called normal.
        tn: normal pixels called normal.
        fp_of_normal_images: normal pixels called anomalous in images without anomalous ones.
        n_normal_images: images without anomalous pixels.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    fp_of_normal_images: int
    n_normal_images: int

    @property
    def precision(self) -> float:
        """Share of the pixels called anomalous that are."""
        return _ratio(self.tp, self.tp + self.fp, "no pixel is called anomalous")

    @property
    def recall(self) -> float:
        """Share of the anomalous pixels that are called so."""
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
    check_maps(scores, masks)
    tp = fp = fn = tn = fp_of_normal = n_normal_images = 0
    for i in range(len(scores)):
        score_map, mask = np.asarray(scores[i]), np.asarray(masks[i])
        check_pair(score_map, mask, f"image {i}")
        if np.isnan(score_map).any():
            row, column = np.argwhere(np.isnan(score_map))[0]
            raise InputError(f"score is nan at image {i}, pixel ({row}, {column}); repair the map, or remove the image")
        called = score_map >= (np.float64(threshold) if key_type(score_map.dtype, "").name != "int64" else threshold)
        hits = int((called & mask).sum())
        n_called, n_anomalous = int(called.sum()), int(mask.sum())
        tp += hits
        fp += n_called - hits
        fn += n_anomalous - hits
        tn += mask.size - n_called - n_anomalous + hits
        if not n_anomalous:
            fp_of_normal += n_called
            n_normal_images += 1
    return Thresholded(tp, fp, fn, tn, fp_of_normal, n_normal_images)


def _only(key: str, scores: ScoreMaps, masks: Masks) -> float:
    return evaluate_maps(scores, masks, metrics=[key])[key]


def _aupimo_sweep(scores: ScoreMaps, masks: Masks, lower: float, upper: float) -> Sweep:
    check_share("upper", upper)
    if not 0.0 < lower < upper:
        raise InputError(f"lower is {lower}; it must lie above 0 and below upper, {upper}")
    return sweep_maps(scores, masks, Needs(curve=False, regions=True, normal_fpr=upper))


def _ratio(part: int, whole: int, reason: str) -> float:
    if not whole:
        raise UndefinedMetricError(reason)
    return part / whole
