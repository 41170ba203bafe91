"""ROC and precision-recall areas as other code bases approximate them, restated from their formulas.

Every function takes scores and truths as sequences of 2-D arrays and reads each of them a fixed number of times.
Areas are trapezoids between the thresholds at which the original looks.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from sklearn.metrics import auc, precision_recall_curve

Maps = Sequence[NDArray[np.floating]]
Truths = Sequence[NDArray[np.bool_]]
Floats = NDArray[np.float64]


def trapezoid_ap(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve by trapezoids, as anomalib up to 2.6 and spot-diff take it.

    Args:
        scores: flat.
        labels: flat, True where anomalous.
    """
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(auc(recall, precision))


def best_f1_threshold(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """The lowest score at which F1 is best, predicting at or above it; the highest score without any anomaly.

    Args:
        scores: flat.
        labels: flat, True where anomalous.
    """
    if not labels.any():
        return float(scores.max())
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    return float(thresholds[np.argmax(2 * precision * recall / (precision + recall + 1e-10))])


def histogram_auroc_ap(maps: Maps, truths: Truths, n_bins: int) -> tuple[float, float]:
    """AUROC and AP as ADEval takes them: equal-width bins between the lowest and the highest score.

    Source: ADEval 1.1.0, adeval/mem_effic.py.
    """
    edges = histogram_edges(maps, n_bins)
    anomalous = _histogram((scores[truth] for scores, truth in zip(maps, truths, strict=True)), edges)
    normal = _histogram((scores[~truth] for scores, truth in zip(maps, truths, strict=True)), edges)
    true_positives, false_positives = counts_from(anomalous), counts_from(normal)
    predicted = true_positives + false_positives
    precision = np.divide(true_positives, predicted, out=np.ones_like(predicted), where=predicted > 0)
    recall = true_positives / anomalous.sum()
    return area(false_positives / normal.sum(), recall), area(recall, precision)


def histogram_edges(maps: Maps, n_bins: int) -> NDArray[np.float32]:
    """Bin edges in float32, with open bins below the lowest and above the highest score."""
    low, high = score_range(maps)
    edges = np.linspace(0.0, 1.0, n_bins + 1, dtype=np.float32) * (high - low) + low
    return np.concatenate([[-np.inf], edges, [np.inf]]).astype(np.float32)


def counts_from(histogram: Floats) -> Floats:
    """How much of a histogram lies at or above each inner edge."""
    counts: Floats = histogram.sum() - histogram.cumsum()[:-1]
    return counts


def percentile_auroc_ap(maps: Maps, truths: Truths) -> tuple[float, float]:
    """AUROC and AP at 202 thresholds: 100 percentiles and 100 equal steps of the anomalous scores, and both ends.

    Source: amazon-science/spot-diff, utils/metrics.py.
    """
    low, high = score_range(maps)
    anomalous = np.concatenate([scores[truth] for scores, truth in zip(maps, truths, strict=True)])
    by_rank = np.percentile(anomalous, np.linspace(100, 0, num=100))
    by_value = np.linspace(anomalous.max(), anomalous.min(), num=100)
    thresholds = np.sort(np.concatenate([by_rank, by_value, [low - 1e-8, high + 1e-8]]))[::-1]
    n_true, n_false = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    n_normal = 0
    for scores, truth in zip(maps, truths, strict=True):
        n_true += n_above(scores[truth], thresholds)
        n_false += n_above(scores[~truth], thresholds)
        n_normal += int(np.count_nonzero(~truth))
    predicted = n_true + n_false
    precision = np.divide(n_true, predicted, out=np.ones_like(predicted), where=predicted > 0)
    recall = n_true / anomalous.size
    return float(auc(n_false / n_normal, recall)), float(auc(recall, precision))


def grid_f1(maps: Maps, truths: Truths) -> float:
    """Best F1 over 21 equal steps of the category's range, strictly above.

    Source: zhangzjn/ADer, util/metric.py.
    """
    low, high = score_range(maps)
    steps = np.arange(0.0, 1.0 + 1e-3, 0.05)
    n_true, n_predicted, n_anomalous = np.zeros(len(steps)), np.zeros(len(steps)), 0
    for scores, truth in zip(maps, truths, strict=True):
        share = (scores - scores.dtype.type(low)) / scores.dtype.type(high - low)
        n_true += n_above(share[truth], steps)
        n_predicted += n_above(share.ravel(), steps)
        n_anomalous += int(np.count_nonzero(truth))
    tiny = 1e-8
    precision, recall = n_true / (n_predicted + tiny), n_true / (n_anomalous + tiny)
    return float((2 * precision * recall / (precision + recall + tiny)).max())


def score_range(maps: Maps) -> tuple[float, float]:
    """Lowest and highest score of all maps."""
    ranges = [(scores.min(), scores.max()) for scores in maps]
    return float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))


def n_above(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many scores lie strictly above each threshold."""
    return scores.size - np.searchsorted(np.sort(scores), thresholds, side="right")


def area(x: Floats, y: Floats) -> float:
    """Area by trapezoids under points listed from right to left."""
    return float(trapezoid(y[::-1], x[::-1]))


def _histogram(parts: Iterable[NDArray[np.floating]], edges: NDArray[np.float32]) -> Floats:
    total = np.zeros(len(edges) - 1)
    for part in parts:
        total += np.histogram(part, edges)[0]
    return total
