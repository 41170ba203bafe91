"""Pixel metrics of a finished sweep. All are undefined where one class of pixels is missing."""

from collections.abc import Callable

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.metrics.swept import Image, Sweep, mean


def auroc(sweep: Sweep) -> float:
    """Share of (anomalous, normal) pairs of pixels in the right order."""
    return sweep.curve.auroc


def auroc_anomalous(sweep: Sweep) -> float:
    """`auroc` over the pixels of the images with an anomalous one."""
    return sweep.curve_of_anomalous_images.auroc


def of_protocols(sweep: Sweep, names: str) -> float:
    """No value: only some protocols define it.

    Raises:
        UndefinedMetricError: always.
    """
    raise UndefinedMetricError(f"only the protocols {names} define it")


def ap(sweep: Sweep) -> float:
    """Step average precision."""
    return sweep.curve.average_precision


def ap_lift(sweep: Sweep) -> float:
    """Average precision over prevalence, which a random score reaches."""
    return sweep.curve.average_precision / anomaly_rate(sweep)


def f1_max(sweep: Sweep) -> float:
    """F1 at the best threshold."""
    return _f1(sweep.curve.n_anomalous, *sweep.curve.at_f1_threshold)


def iou_max(sweep: Sweep) -> float:
    """Intersection over union at the best threshold."""
    return _iou(sweep.curve.n_anomalous, *sweep.curve.at_f1_threshold)


def fpr_at_95_tpr(sweep: Sweep) -> float:
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
    """Dice of each image at the precision + recall threshold; without truth 1 if nothing is predicted, else 0."""
    return [_overlap(image, _f1) for image in _thresholded(sweep)]


def iou_of_images(sweep: Sweep) -> list[float]:
    """Intersection over union of each image, as `dsc_of_images`."""
    return [_overlap(image, _iou) for image in _thresholded(sweep)]


def dsc(sweep: Sweep) -> float:
    """The paper's DSC: mean Dice over all images."""
    return mean(dsc_of_images(sweep))


def iou(sweep: Sweep) -> float:
    """Mean intersection over union over all images."""
    return mean(iou_of_images(sweep))


def dsc_anomalous(sweep: Sweep) -> float:
    """Mean Dice over the images with anomalous pixels."""
    return mean([_overlap(image, _f1) for image in _thresholded(sweep) if image.n_anomalous])


def iou_anomalous(sweep: Sweep) -> float:
    """Mean intersection over union over the images with anomalous pixels."""
    return mean([_overlap(image, _iou) for image in _thresholded(sweep) if image.n_anomalous])


def fp_pixels(sweep: Sweep) -> float:
    """False-positive pixels per normal image at the precision + recall threshold."""
    positives = [image.fp for image in _thresholded(sweep) if not image.n_anomalous]
    if not positives:
        raise UndefinedMetricError("no image is normal")
    return sum(positives) / len(positives)


def anomaly_rate(sweep: Sweep) -> float:
    """Share of anomalous pixels over all images."""
    return sweep.curve.n_anomalous / (sweep.curve.n_anomalous + sweep.curve.n_normal)


def anomaly_rate_anomalous(sweep: Sweep) -> float:
    """Share of anomalous pixels over the images that have any."""
    n_pixels = sum(image.n_pixels for image in sweep.images if image.n_anomalous)
    if not n_pixels:
        raise UndefinedMetricError("no pixel is anomalous")
    return sweep.curve.n_anomalous / n_pixels


def _thresholded(sweep: Sweep) -> list[Image]:
    sweep.curve.at_pr_threshold  # noqa: B018 - raises where there is no threshold
    return sweep.images


def _overlap(image: Image, measure: Callable[[int, int, int], float]) -> float:
    return measure(image.n_anomalous, image.tp, image.fp) if image.n_anomalous + image.fp else 1.0


def _f1(n_anomalous: int, tp: int, fp: int) -> float:
    return 2 * tp / (n_anomalous + tp + fp)


def _iou(n_anomalous: int, tp: int, fp: int) -> float:
    return tp / (n_anomalous + fp)
