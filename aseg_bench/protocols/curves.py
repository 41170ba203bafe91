"""ROC and precision-recall areas as other code bases approximate them, restated from their formulas.

Functions take an exact curve, or scores and truths as sequences of 2-D arrays and read each of them a fixed number of
times, one after the other. Areas are trapezoids between the thresholds at which the original looks.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import UndefinedMetricError

Maps = Sequence[NDArray[np.floating]]
Truths = Sequence[NDArray[np.bool_]]
Floats = NDArray[np.float64]
Histogram = Callable[[NDArray[np.floating]], NDArray[np.floating] | NDArray[np.integer]]
GRID_21 = np.arange(0.0, 1.0 + 1e-3, 0.05)
GRID_7 = np.arange(0.2, 0.8 + 1e-3, 0.1)


class Curve(NamedTuple):
    """What is found at every distinct score of an anomalous element. No other score matters to exact areas.

    Attributes:
        thresholds: these scores, ascending, (n,).
        tp: anomalous elements at or above each, (n,).
        fp: normal elements at or above each, (n,).
        above: normal elements strictly above each, (n,).
        n_normal: all normal elements.
    """

    thresholds: NDArray[np.floating]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    above: NDArray[np.int64]
    n_normal: int

    @classmethod
    def of(cls, maps: Maps, truths: Truths) -> "Curve":
        """The curve over all pixels; memory grows with the anomalous ones only."""
        anomalous = np.concatenate([scores[truth] for scores, truth in zip(maps, truths, strict=True)])
        thresholds, found = np.unique(anomalous, return_counts=True)
        at_or_above, above = (np.zeros(len(thresholds) + 1, np.int64) for _ in range(2))
        for scores, truth in zip(maps, truths, strict=True):
            normal = scores[~truth]
            at_or_above += np.bincount(np.searchsorted(thresholds, normal, "right"), minlength=len(thresholds) + 1)
            above += np.bincount(np.searchsorted(thresholds, normal), minlength=len(thresholds) + 1)
        tp, fp, above = (counts[::-1].cumsum()[::-1] for counts in (found, at_or_above, above))
        return cls(thresholds, tp, fp[1:], above[1:], int(fp[0]))

    @property
    def auroc(self) -> float:
        """Area under the ROC curve; a tie counts one half.

        Raises:
            UndefinedMetricError: one class is missing.
        """
        if not self.tp.size or not self.n_normal:
            raise UndefinedMetricError(f"no pixel is {'normal' if self.tp.size else 'anomalous'}")
        found = self.tp - np.append(self.tp[1:], 0)
        return float(1 - np.sum(found * (self.fp + self.above)) / 2 / self.tp[0] / self.n_normal)


def trapezoid_area(curve: Curve, *, is_resorted: bool = False) -> float:
    """Area under the precision-recall curve by trapezoids, as spot-diff and anomalib up to 2.6 take it.

    Recall moves only at the scores of anomalous elements. The trapezoid up to one of them begins at the lowest
    threshold above it that finds as many as the one before: at the false positives strictly above it.

    Args:
        curve: with both classes.
        is_resorted: the points are sorted by ascending recall again, which turns around those of equal recall: each
            trapezoid begins at the highest threshold of its recall and ends at the lowest of the next (anomalib 2.6,
            metrics/aupr.py, by torchmetrics' ``auc(reorder=True)``).
    """
    before_found = np.append(curve.tp[1:], 0)
    at = curve.tp / (curve.tp + curve.fp)
    if is_resorted:
        before = np.append(at[1:], 1.0)
        at = curve.tp / (curve.tp + np.append(curve.n_normal, curve.above[:-1]))
    else:
        called = before_found + curve.above
        before = np.divide(before_found, called, out=np.ones(len(at)), where=called > 0)
    return float(np.sum((curve.tp - before_found) * (before + at)) / 2 / curve.tp[0])


def f1_threshold(curve: Curve) -> float:
    """The lowest score at which F1 is best, predicting at or above it, with anomalib's small term below the line.

    Args:
        curve: with an anomalous element.
    """
    precision, recall = curve.tp / (curve.tp + curve.fp), curve.tp / curve.tp[0]
    return float(curve.thresholds[np.argmax(2 * precision * recall / (precision + recall + 1e-10))])


def trapezoid_ap(scores: NDArray[np.floating], labels: NDArray[np.bool_], *, is_resorted: bool = False) -> float:
    """`trapezoid_area` of a few scores, (n,), with their labels, (n,), True where anomalous."""
    from sklearn.metrics import precision_recall_curve  # takes a second to import, and few protocols need it

    precision, recall, _ = precision_recall_curve(labels, scores)
    order = np.argsort(recall, kind="stable") if is_resorted else slice(None)
    return trapezoids(recall[order], precision[order])


def best_f1_threshold(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """`f1_threshold` of a few scores, (n,), with their labels, (n,); the highest score without any anomaly."""
    if not labels.any():
        return float(scores.max())
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, scores)
    return float(thresholds[np.argmax(2 * precision * recall / (precision + recall + 1e-10))])


def histogram_auroc_ap(maps: Maps, truths: Truths, n_bins: int, *, is_cuda: bool = False) -> tuple[float, float]:
    """AUROC and AP as ADEval takes them: equal-width bins between the lowest and the highest score.

    Source: ADEval 1.1.0, adeval/mem_effic.py and cuda_mem_effic.py.

    Raises:
        UndefinedMetricError: all scores are equal.
    """
    histogram = histogram_over(maps, n_bins, is_cuda=is_cuda)
    anomalous, normal = np.zeros(n_bins + 2), np.zeros(n_bins + 2)
    for scores, truth in zip(maps, truths, strict=True):
        anomalous += histogram(scores[truth])
        normal += histogram(scores[~truth])
    true_positives, false_positives = counts_from(anomalous), counts_from(normal)
    predicted = true_positives + false_positives
    precision = np.divide(true_positives, predicted, out=np.ones_like(predicted), where=predicted > 0)
    recall = true_positives / anomalous.sum()
    return area(false_positives / normal.sum(), recall), area(recall, precision)


def histogram_over(maps: Maps, n_bins: int, *, is_cuda: bool = False) -> Histogram:
    """A function that counts scores in bins between the lowest and highest of all maps, with open bins at both ends.

    Args:
        maps: all maps of the category.
        n_bins: without the open ones.
        is_cuda: as ADEval counts on a GPU: the bin by division, and the highest score both in the last bin and above.

    Raises:
        UndefinedMetricError: all scores are equal.
    """
    low, high = score_range(maps)
    if low == high:
        raise UndefinedMetricError("all scores are equal")
    if not is_cuda:
        inner = np.linspace(0.0, 1.0, n_bins + 1, dtype=np.float32) * (high - low) + low
        edges = np.concatenate([[-np.inf], inner, [np.inf]]).astype(np.float32)
        return lambda scores: np.histogram(scores, edges)[0]

    def counts(scores: NDArray[np.floating]) -> NDArray[np.integer]:
        exact = scores if scores.dtype == np.float64 else scores.astype(np.float32)
        lowest, highest, n = np.array([low, high, n_bins], exact.dtype)
        share = (exact - lowest) * n / (highest - lowest)
        inside = np.bincount(share.astype(np.int64).clip(0, n_bins - 1), minlength=n_bins)
        return np.concatenate([[0], inside, [np.count_nonzero(scores >= high)]])

    return counts


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
    return trapezoids(n_false / n_normal, recall), trapezoids(recall, precision)


def grid_f1(maps: Maps, truths: Truths) -> float:
    """Best F1 over 21 equal steps of the category's range."""
    return float(grid_overlaps(maps, truths, GRID_21)[0].max())


def grid_overlaps(maps: Maps, truths: Truths, steps: Floats) -> tuple[Floats, Floats, Floats]:
    """F1, intersection over union, and the found share of the anomalous pixels, strictly above shares of the range.

    Args:
        maps: all maps of the category.
        truths: True where anomalous.
        steps: shares of the way from the lowest to the highest score, (n,).

    Returns:
        Each (n,).

    Raises:
        UndefinedMetricError: all scores are equal, or one class is missing.

    Source: zhangzjn/ADer, util/metric.py.
    """
    low, high = score_range(maps)
    if low == high:
        raise UndefinedMetricError("all scores are equal")
    n_true, n_predicted, n_anomalous, n_normal = np.zeros(len(steps)), np.zeros(len(steps)), 0, 0
    for scores, truth in zip(maps, truths, strict=True):
        share = (scores - scores.dtype.type(low)) / scores.dtype.type(high - low)
        n_true += n_above(share[truth], steps)
        n_predicted += n_above(share.ravel(), steps)
        n_anomalous += int(np.count_nonzero(truth))
        n_normal += int(np.count_nonzero(~truth))
    if not n_anomalous or not n_normal:
        raise UndefinedMetricError(f"no pixel is {'normal' if n_anomalous else 'anomalous'}")
    tiny = 1e-8
    precision, recall = n_true / (n_predicted + tiny), n_true / (n_anomalous + tiny)
    f1 = 2 * precision * recall / (precision + recall + tiny)
    return f1, n_true / (n_predicted + n_anomalous - n_true + tiny), recall


def score_range(maps: Maps) -> tuple[float, float]:
    """Lowest and highest score of all maps."""
    ranges = [(scores.min(), scores.max()) for scores in maps]
    return float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))


def n_above(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many scores lie strictly above each threshold."""
    return scores.size - np.searchsorted(np.sort(scores), thresholds, side="right")


def area(x: Floats, y: Floats) -> float:
    """Area by trapezoids under points listed from right to left."""
    return trapezoids(x[::-1], y[::-1])


def trapezoids(x: Floats, y: Floats) -> float:
    """Area by trapezoids under points whose x rises or falls throughout."""
    return float(abs((np.diff(x) * (y[1:] + y[:-1]) / 2.0).sum()))
