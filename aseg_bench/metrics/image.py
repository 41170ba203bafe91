"""Image metrics of a finished sweep."""

from typing import Any

from sklearn.metrics import average_precision_score, roc_auc_score

from aseg_bench.errors import UndefinedMetricError


def _need_both(swept: Any) -> None:
    if swept.image_labels.all() or not swept.image_labels.any():
        raise UndefinedMetricError("all images are of one class")


def auroc(swept: Any) -> float:
    """Image AUROC."""
    _need_both(swept)
    return float(roc_auc_score(swept.image_labels, swept.image_scores))


def ap(swept: Any) -> float:
    """Step AP over images."""
    _need_both(swept)
    return float(average_precision_score(swept.image_labels, swept.image_scores))
