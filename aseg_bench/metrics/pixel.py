"""Pixel metrics of a finished sweep."""

from typing import Any

import numpy as np

from aseg_bench.errors import UndefinedMetricError


def _need_both(swept: Any) -> None:
    if swept.curve.n_anomalous == 0:
        raise UndefinedMetricError("no pixel is anomalous")
    if swept.curve.n_normal == 0:
        raise UndefinedMetricError("no pixel is normal")


def auroc(swept: Any) -> float:
    """Pixel AUROC."""
    _need_both(swept)
    c = swept.curve
    found = c.tp - np.append(c.tp[1:], 0)
    below = 2 * c.n_normal - c.fp - c.fp_above
    return float((found * below.astype(float)).sum() / (2.0 * c.n_anomalous * c.n_normal))


def ap(swept: Any) -> float:
    """Step AP."""
    _need_both(swept)
    c = swept.curve
    found = c.tp - np.append(c.tp[1:], 0)
    return float((found * c.precision).sum() / c.n_anomalous)


def f1_max(swept: Any) -> float:
    """Best F1."""
    _need_both(swept)
    c = swept.curve
    return float((2 * c.tp / (c.tp + c.fp + c.n_anomalous)).max())


def dsc(swept: Any) -> float:
    """The paper's DSC."""
    _need_both(swept)
    return float(np.mean([2 * t / (p + a) if p + a else 1.0 for t, p, a in swept.overlaps]))


def iou(swept: Any) -> float:
    """IoU by the same rule."""
    _need_both(swept)
    return float(np.mean([t / (p + a - t) if p + a else 1.0 for t, p, a in swept.overlaps]))


def anomaly_rate(swept: Any) -> float:
    """Share of anomalous pixels."""
    c = swept.curve
    return float(c.n_anomalous / (c.n_anomalous + c.n_normal))


def anomaly_rate_anomalous(swept: Any) -> float:
    """The same over anomalous images."""
    sizes = [mask.size for mask in swept.masks if mask.any()]
    if not sizes:
        raise UndefinedMetricError("no pixel is anomalous")
    return float(swept.curve.n_anomalous / sum(sizes))
