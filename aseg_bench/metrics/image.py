"""Image metrics of a finished sweep."""

from aseg_bench.metrics.sweep import Sweep


def auroc(sweep: Sweep) -> float:
    """Share of (anomalous, normal) pairs of images in the right order."""
    return sweep.image_curve.auroc


def ap(sweep: Sweep) -> float:
    """Step average precision over images."""
    return sweep.image_curve.average_precision


def f1_max(sweep: Sweep) -> float:
    """F1 over images at the best threshold."""
    curve = sweep.image_curve
    tp, fp = curve.at_f1_threshold
    return 2 * tp / (curve.n_anomalous + tp + fp)
