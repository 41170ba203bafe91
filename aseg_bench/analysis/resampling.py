"""How sure a number is: intervals and paired differences over images.

Pixels of one image are not independent, so images are what is resampled (a cluster bootstrap), normal and anomalous
ones apart, the same ones for all methods. A replicate re-weights images: pixel counts of each image over a grid of
exact thresholds are made once, and every replicate is a matrix product. The grid costs precision between its thresholds
only; ``Resampled.error`` bounds it. Estimates are exact, and replicates are shifted to them.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.checks import mask_bytes
from aseg_bench.metrics.first_pass import ladder_of
from aseg_bench.metrics.keys import KeyType, key_type

RESAMPLED = ("pixel_auroc", "pixel_ap", "dsc")  # the paper's three metrics
_JUMPING = ("dsc",)  # its threshold is chosen again in every replicate
N_THRESHOLDS = 4000
_FEWEST_FREE = 3.0  # degrees of freedom
_N_TOP = 200  # highest anomalous pixels, each a threshold of its own
_FARTHEST = 3.0  # logits: a replicate whose odds differ twentyfold
_CHUNK = 64  # replicates at a time: their counts stay in the processor's cache

Floats = NDArray[np.float64]
Maps = NDArray[Any] | Sequence[NDArray[Any]]


@dataclass(frozen=True)
class ImageCounts:
    """Pixels by image and bin; bin ``g`` holds the scores from threshold ``g - 1`` up to, without, threshold ``g``.

    Attributes:
        anomalous: anomalous pixels, (images, thresholds + 1) float64.
        normal: normal pixels, same shape.
        labels: whether each image is labelled anomalous; None asks its pixels.
        is_single: bins whose anomalous scores are all equal, to the threshold below, (thresholds + 1,); None where
            that is not known.
    """

    anomalous: Floats
    normal: Floats
    labels: NDArray[np.bool_] | None = None
    is_single: NDArray[np.bool_] | None = None

    @cached_property
    def is_anomalous(self) -> NDArray[np.bool_]:
        """Whether each image has an anomalous pixel."""
        return np.asarray(self.anomalous.any(axis=1))

    @cached_property
    def strata(self) -> NDArray[np.int8]:
        """Which images are resampled together: 1 with an anomalous pixel, 0 without; -1 where all pixels are void."""
        return np.where(self.is_anomalous, 1, np.where(self.normal.any(axis=1), 0, -1)).astype(np.int8)

    @cached_property
    def has_dice(self) -> NDArray[np.bool_]:
        """Which images have a Dice: those with an anomalous pixel, and normal ones, see `dsc_of_images`."""
        is_labelled = False if self.labels is None else self.labels
        return np.asarray(self.is_anomalous | ((self.strata == 0) & np.logical_not(is_labelled)))

    @cached_property
    def dice(self) -> tuple[Floats, Floats, Floats]:
        """Dice per image at each threshold, and its least and greatest value up to the next threshold.

        Each is (images, thresholds). An image without truth counts 1 if nothing is predicted, and 0 otherwise.
        """
        hits, predicted = (_at_or_above(counts)[:, 1:] for counts in (self.anomalous, self.anomalous + self.normal))
        next_hits, next_predicted = (np.pad(counts[:, 1:], ((0, 0), (0, 1))) for counts in (hits, predicted))
        truth = self.anomalous.sum(axis=1, keepdims=True)

        def dice(hits: Floats, predicted: Floats) -> Floats:
            overlap = 2 * hits / np.maximum(predicted + truth, 1)
            return np.asarray(np.where(truth > 0, np.minimum(overlap, 1), predicted == 0))

        return dice(hits, predicted), dice(next_hits, predicted), dice(hits, next_predicted)


def count_images(
    scores: Maps,
    masks: Maps,
    *,
    labels: NDArray[np.bool_] | None = None,
    n_thresholds: int = N_THRESHOLDS,
    n_threads: int | None = None,
) -> ImageCounts:
    """Count the pixels of each image over a grid of distinct anomalous scores.

    The grid holds equal shares of the anomalous pixels between its thresholds, finer ones at both ends, the highest
    scores one by one, which decide a small AP, and the threshold at which each normal image becomes free of
    predictions.

    Args:
        scores: anomaly score per pixel, one (height, width) map per image; each is read twice.
        masks: True where the pixel is anomalous, masked where it is void, same shapes; each is read twice.
        labels: whether each image is labelled anomalous, (images,); None asks its mask.
        n_thresholds: thresholds of the grid.
        n_threads: images counted at a time; None leaves it to the machine.

    Raises:
        InputError: the numbers of maps and masks differ.
        UndefinedMetricError: no pixel is anomalous.
    """
    if len(scores) != len(masks):
        raise InputError(f"{len(scores)} score maps and {len(masks)} masks; one of each per image is needed")
    with ThreadPoolExecutor(n_threads) as pool:
        extremes = list(pool.map(lambda i: _anomalous_and_top(scores[i], masks[i]), range(len(scores))))
        anomalous = np.sort(np.concatenate([pixels for pixels, _ in extremes]))
        if not anomalous.size:
            raise UndefinedMetricError("no pixel is anomalous; pixel metrics have no interval")
        places = np.concatenate([np.linspace(0, 1, n_thresholds), steep := np.geomspace(1e-6, 0.01, 50), 1 - steep])
        even = anomalous[np.round(places * (anomalous.size - 1)).astype(np.int64)]
        top = anomalous[-_N_TOP:]
        tops = np.array([top for _, top in extremes if top is not None], dtype=anomalous.dtype)
        free = np.searchsorted(anomalous, tops, side="right")
        grid = np.unique(np.concatenate([even, top, anomalous[free[free < anomalous.size]]]))
        ends = np.append(np.searchsorted(anomalous, grid[1:]), anomalous.size)
        is_single = np.append(False, np.searchsorted(anomalous, grid, side="right") == ends)
        kind = key_type(grid.dtype, "scores")
        ladder = ladder_of(kind.keys(grid), grid.size, kind)
        counts = list(pool.map(lambda i: _binned(scores[i], masks[i], kind, ladder, grid.size), range(len(scores))))
    return ImageCounts(
        np.array([count for count, _ in counts]), np.array([count for _, count in counts]), labels, is_single
    )


def image_weights(strata: NDArray[np.bool_] | NDArray[np.int8], n_replicates: int, rng: np.random.Generator) -> Floats:
    """Weights of the images in each replicate, (replicates, images); each stratum keeps its total weight.

    Strata are those of ``ImageCounts.strata``, or whether each image is anomalous.

    Of the ``n`` normal (anomalous) images ``n - 1`` are drawn with replacement and count ``n / (n - 1)``, which makes
    the variance of a mean unbiased in small strata.

    Source: Rao and Wu (1988), https://doi.org/10.1080/01621459.1988.10478591
    """
    weights = np.ones((n_replicates, strata.size))
    for stratum in _strata(strata):
        n = stratum.size
        weights[:, stratum] = rng.multinomial(n - 1, np.full(n, 1 / n), n_replicates) * (n / (n - 1))
    return weights


@dataclass(frozen=True)
class Resampled:
    """A number with its replicates. Means and differences of such numbers are made replicate by replicate.

    Attributes:
        estimate: computed exactly from all images, a fraction.
        replicates: the same from resampled images, (replicates,) float64.
        influence: of each image, by leaving it out; the sum of squares is the jackknife variance. None where the number
            jumps, as one at a chosen threshold does: there the jackknife fails, Efron and Tibshirani (1993), 11.6.
        error: what the grid can do to the replicates: the root mean square of how far one may lie from its exact value.
        is_difference: from -1 to 1; otherwise from 0 to 1.
    """

    estimate: float
    replicates: Floats
    influence: Floats | None
    error: float
    is_difference: bool = False

    def __sub__(self, other: "Resampled") -> "Resampled":
        """The paired difference; both must come from the same images."""
        influence = None if self.influence is None or other.influence is None else self.influence - other.influence
        return Resampled(
            self.estimate - other.estimate,
            self.replicates - other.replicates,
            influence,
            self.error + other.error,
            is_difference=True,
        )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Where the number would lie with all images of the kind; it holds the estimate.

        A t interval, on the logit scale for a share; its standard error is the root mean square of the replicates'
        deviations, so that bias counts. A number that jumps has the interval of the replicates' quantiles instead,
        which reaches to all values it jumps between.

        How often such intervals hold the truth is simulated by ``python benchmark.py coverage``; none can know of
        defects that are missed so rarely that the sample has none.

        Source: Hesterberg (2015), on transformed bootstrap t intervals, https://doi.org/10.1080/00031305.2015.1089789
        """
        p, least = self.estimate, -1.0 if self.is_difference else 0.0
        if self.influence is None:
            low, high = np.quantile(self.replicates, [(1 - level) / 2, (1 + level) / 2])
            return max(min(float(low), p), least), min(max(float(high), p), 1.0)
        t = float(stats.t.ppf((1 + level) / 2, _n_free(self.influence)))
        if self.is_difference or not 0 < p < 1:
            return max(p - t * self._standard_error, least), min(p + t * self._standard_error, 1.0)
        # a replicate without the few images that err lies at 0 or 1, where the logit is infinite
        half = t * _root_mean_square(np.clip(logit(np.clip(self.replicates, 0, 1)) - logit(p), -_FARTHEST, _FARTHEST))
        return float(expit(logit(p) - half)), float(expit(logit(p) + half))

    @property
    def p_value(self) -> float:
        """Two-sided, that the number is zero: of the t test, or twice the share of replicates on zero's other side.

        Where no replicate lies there, a normal distribution of the replicates' spread continues them.
        """
        if self._standard_error == 0:
            return float(self.estimate == 0)
        deviations = abs(self.estimate) / self._standard_error
        if self.influence is not None:
            return float(2 * stats.t.sf(deviations, _n_free(self.influence)))
        beyond = int(min((self.replicates <= 0).sum(), (self.replicates >= 0).sum()))
        share = min(1.0, 2 * (1 + beyond) / (1 + self.replicates.size))
        return share if beyond else min(share, float(2 * stats.norm.sf(deviations)))

    @property
    def _standard_error(self) -> float:
        return _root_mean_square(self.replicates - self.estimate)


def mean_of(parts: Sequence[Resampled]) -> Resampled:
    """The unweighted mean of independent parts, for instance of the categories of a data set."""
    influences = [part.influence for part in parts if part.influence is not None]
    return Resampled(
        float(np.mean([part.estimate for part in parts])),
        np.mean([part.replicates for part in parts], axis=0),
        np.concatenate(influences) / len(parts) if len(influences) == len(parts) else None,
        float(np.mean([part.error for part in parts])),
    )


def resample(
    counts: ImageCounts, exact: Mapping[str, float], weights: Floats, *, n_threads: int | None = None
) -> dict[str, Resampled]:
    """The paper's three metrics of one method on one category, with replicates.

    Args:
        counts: of the method on the category.
        exact: the exact values by metric key; a metric that is missing here is left out.
        weights: from ``image_weights``; the same for all methods makes their differences paired.
        n_threads: replicates at a time; None leaves it to the machine.
    """
    rows = np.concatenate([np.ones((1, weights.shape[1])), weights, _leave_one_out(counts.strata)])
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        parts = list(pool.map(lambda chunk: weighted_values(counts, chunk), chunks))
    resampled = {}
    for key in RESAMPLED:
        if key in exact:
            values, errors = (np.concatenate([part[key][half] for part in parts]) for half in (0, 1))
            grid, replicates, left_out = np.split(values, [1, 1 + len(weights)])
            influence = None if key in _JUMPING else _influence(left_out, counts.strata)
            error = min(1.0, float(errors[0]) + _root_mean_square(errors[1 : 1 + len(weights)]))
            resampled[key] = Resampled(exact[key], _shifted(replicates, float(grid[0]), exact[key]), influence, error)
    return resampled


def _shifted(replicates: Floats, grid: float, exact: float) -> Floats:
    """Replicates about the exact value in the place of the grid's: by equal odds, so that they stay shares."""
    if not 0 < grid < 1 or not 0 < exact < 1:
        return replicates + (exact - grid)
    return np.asarray(expit(logit(np.clip(replicates, 0, 1)) + (logit(exact) - logit(grid))))


def weighted_values(counts: ImageCounts, weights: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Each metric on the grid, with images weighted, and how far it may be from its exact value.

    Args:
        counts: of a method on a category.
        weights: (replicates, images); integers repeat an image, zero leaves it out.

    Returns:
        By metric key, values and greatest errors, each (replicates,).
    """
    anomalous, normal = weights @ counts.anomalous, weights @ counts.normal  # (replicates, bins)
    tp, fp = _at_or_above(anomalous), _at_or_above(normal)
    return {
        "pixel_auroc": _middle(*_auroc_bounds(anomalous, normal, fp)),
        "pixel_ap": _middle(*_ap_bounds(anomalous, tp, fp, fp - normal, counts.is_single)),
        "dsc": _dsc(counts, weights, tp, fp),
    }


def category_rng(seed: int, dataset: str, category: str) -> np.random.Generator:
    """A generator of its own for each category, so that a category's interval does not depend on the others."""
    return np.random.default_rng([seed, crc32(f"{dataset}/{category}".encode())])


def _n_free(influence: Floats) -> float:
    """Degrees of freedom: how many images carry the variance.

    It is Kish's effective number, with squared influences as weights: ``n / 3`` if influences are normal, and far
    less where a few images with large or missed defects decide. Below three the quantiles of t explode, and coverage
    gains nothing.

    Source: Kish (1965), Survey Sampling, section 11.7
    """
    squares = influence**2
    return max(_FEWEST_FREE, float(squares.sum() ** 2 / (squares**2).sum())) if squares.any() else _FEWEST_FREE


def _root_mean_square(values: Floats) -> float:
    return sqrt(float((values**2).mean()))


def _strata(strata: NDArray[np.bool_] | NDArray[np.int8]) -> list[NDArray[np.intp]]:
    """Indices of anomalous and of normal images; a single image cannot be resampled."""
    return [images for kind in (1, 0) if (images := np.flatnonzero(strata == kind)).size > 1]


def _leave_one_out(strata: NDArray[np.int8]) -> Floats:
    """Weights, (images, images), where row ``i`` lacks image ``i`` and its stratum keeps its total weight."""
    weights = np.ones((strata.size, strata.size))
    for stratum in _strata(strata):
        n = stratum.size
        weights[np.ix_(stratum, stratum)] = (1 - np.eye(n)) * (n / (n - 1))
    return weights


def _influence(left_out: Floats, strata: NDArray[np.int8]) -> Floats:
    influence = np.zeros_like(left_out)
    for stratum in _strata(strata):
        n = stratum.size
        influence[stratum] = (left_out[stratum] - left_out[stratum].mean()) * sqrt((n - 1) / n)
    return influence


def _anomalous_and_top(scores: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[NDArray[Any], Any]:
    """The anomalous scores of an image, and the highest score of one that has normal pixels only."""
    anomalous, normal = scores[mask_bytes(mask).reshape(mask.shape) == 1], scores
    if np.ma.is_masked(mask):
        normal = scores[~np.ma.getmaskarray(mask)]
    return anomalous, None if anomalous.size or not normal.size else normal.max()


def _binned(
    scores: NDArray[Any], mask: NDArray[np.bool_], kind: KeyType, ladder: kernels.Ladder, n_thresholds: int
) -> tuple[Floats, Floats]:
    keys, anomalous = kind.keys(scores).clip(ladder.low, ladder.high), mask_bytes(mask)

    def histogram(wanted: int) -> Floats:
        chosen = keys[anomalous == wanted]
        counts = np.zeros(2 * n_thresholds + 2, dtype=np.uint32)
        kernels.count(chosen, ladder, counts[1:], np.empty(len(chosen), dtype=np.int64))
        at_and_above: Floats = counts.reshape(-1, 2).sum(axis=1, dtype=np.float64)
        return at_and_above

    return histogram(1), histogram(0)


def _at_or_above(counts: Floats) -> Floats:
    """Counts in each bin and all higher ones."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _middle(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    return (low + high) / 2, (high - low) / 2


def _auroc_bounds(anomalous: Floats, normal: Floats, fp: Floats) -> tuple[Floats, Floats]:
    """Within a bin the anomalous pixels may all lie below, or all above, the normal ones."""
    pairs = anomalous.sum(axis=1) * fp[:, 0]
    beaten = (anomalous * (fp[:, :1] - fp)).sum(axis=1) / pairs
    return beaten, beaten + (anomalous * normal).sum(axis=1) / pairs


def _ap_bounds(
    anomalous: Floats, tp: Floats, fp: Floats, fp_above: Floats, is_single: NDArray[np.bool_] | None
) -> tuple[Floats, Floats]:
    """Precision within a bin is at most that without its normal pixels, and concave in the hits with all of them.

    Where a bin has a single anomalous score it is that with all of its normal pixels.
    """
    with np.errstate(invalid="ignore"):
        at_best = tp / (tp + fp_above)
        at_least = (np.nan_to_num((tp - anomalous) / (tp - anomalous + fp)) + tp / (tp + fp)) / 2
        if is_single is not None:
            at_best, at_least = (np.where(is_single, tp / (tp + fp), bound) for bound in (at_best, at_least))
    total = tp[:, 0]
    low, high = (np.where(anomalous > 0, anomalous * bound, 0).sum(axis=1) / total for bound in (at_least, at_best))
    return low, high


def _best(tp: Floats, fp: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Which threshold has the best precision + recall, (replicates,), and which might have, (replicates, thresholds).

    The true best may lie in any bin that could still exceed that of the grid.
    """
    tp, fp, total = tp[:, 1:], fp[:, 1:], tp[:, :1]
    next_fp = np.pad(fp[:, 1:], ((0, 0), (0, 1)))
    with np.errstate(invalid="ignore"):
        quality = np.nan_to_num(tp / (tp + fp)) + tp / total
        reachable = np.nan_to_num(tp / (tp + next_fp)) + tp / total
    best = quality.argmax(axis=1)
    return best, reachable >= quality[np.arange(len(best)), best][:, None]


def _dsc(counts: ImageCounts, weights: Floats, tp: Floats, fp: Floats) -> tuple[Floats, Floats]:
    """DSC at the grid's best precision + recall, and how far that at the true best may be."""
    best, candidates = _best(tp, fp)
    weights = weights * counts.has_dice
    weights = weights / weights.sum(axis=1, keepdims=True)
    at, least, most = counts.dice
    value = np.einsum("ri,ir->r", weights, at[:, best])
    bins = candidates.any(axis=0)
    candidates = candidates[:, bins]
    low = np.where(candidates, weights @ least[:, bins], np.inf).min(axis=1)
    high = np.where(candidates, weights @ most[:, bins], -np.inf).max(axis=1)
    return value, np.maximum(value - low, high - value)
