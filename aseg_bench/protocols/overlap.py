"""AUPRO as other code bases approximate it, restated from their formulas; ``aseg_bench.metrics`` has the exact one."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.protocols.curves import area, counts_from, histogram_over, n_above, score_range, trapezoids
from aseg_bench.protocols.presets import AuproRule

Floats = NDArray[np.float64]


class Overlaps(NamedTuple):
    """What the AUPRO of a category needs.

    Attributes:
        maps: scores, one (height, width) array per image.
        truths: True where anomalous.
        normal_areas: normal pixels of each image; fractions count where the original does not binarise its mask.
    """

    maps: Sequence[NDArray[np.floating]]
    truths: Sequence[NDArray[np.bool_]]
    normal_areas: Sequence[float]


def aupro(case: Overlaps, rule: AuproRule, fpr_limit: float) -> float:
    """Area under the per-region overlap up to a false-positive rate, divided by it or by its stretched axis.

    Args:
        case: maps and truths.
        rule: any but ``exact``.
        fpr_limit: in (0, 1].

    Raises:
        UndefinedMetricError: there is no anomalous region, or fewer than two thresholds stay below the limit.
    """
    if not any(truth.any() for truth in case.truths):
        raise UndefinedMetricError("no anomalous pixel")
    return _RULES[rule](case, fpr_limit)


def _grid(
    case: Overlaps, fpr_limit: float, *, n_steps: int, is_dilated: bool = False, from_lowest: bool = False
) -> float:
    """Equal steps of the range, strictly above; what stays below the limit is stretched to reach one.

    Source: test.py of hq-deng/RD4AD, eval_helper.py of lewandofskee/DiAD, metrics.py of DonaldRR/SimpleNet (which
    dilates the prediction by a 5 x 5 square for the overlap only), metric.py of zhangzjn/ADer (which also moves the
    lowest rate to zero).
    """
    low, high = (case.maps[0].dtype.type(end) for end in score_range(case.maps))
    step = (high - low) / n_steps
    if not step > 0:
        raise UndefinedMetricError("all scores are equal")
    n_normal = sum(case.normal_areas)
    if not n_normal:
        raise UndefinedMetricError("no pixel is normal")
    thresholds = np.arange(low, high, step)
    overlap_sum, n_regions, n_false = np.zeros(len(thresholds)), 0, np.zeros(len(thresholds))
    for scores, truth in zip(case.maps, case.truths, strict=True):
        n_false += n_above(scores[~truth], thresholds)
        reach = _dilated(scores) if is_dilated else scores
        for region in regions(reach, truth):
            overlap_sum += n_above(region, thresholds) / region.size
            n_regions += 1
    fpr = n_false / n_normal
    is_kept = fpr < fpr_limit
    fpr, overlap = fpr[is_kept], overlap_sum[is_kept] / n_regions
    start = fpr.min() if from_lowest and fpr.size else 0.0
    if fpr.size < 2 or fpr.max() == start:
        raise UndefinedMetricError(f"fewer than two of its thresholds have a false-positive rate below {fpr_limit}")
    return trapezoids((fpr - start) / (fpr.max() - start), overlap)


def _per_image(case: Overlaps, fpr_limit: float) -> float:
    """The mean over images with an anomalous region of the AUPRO of each alone. Source: hq-deng/RD4AD, test.py."""
    alone = zip(case.maps, case.truths, case.normal_areas, strict=True)
    images = (Overlaps([scores], [truth], [normal]) for scores, truth, normal in alone if truth.any())
    return float(np.mean([_grid(image, fpr_limit, n_steps=200) for image in images]))


def _histogram(case: Overlaps, fpr_limit: float, *, n_bins: int, is_cuda: bool = False) -> float:
    """Equal-width bins; the curve is cut at the limit by interpolation.

    Source: ADEval 1.1.0, adeval/mem_effic.py and cuda_mem_effic.py.
    """
    histogram = histogram_over(case.maps, n_bins, is_cuda=is_cuda)
    overlapped, normal = np.zeros(n_bins + 2), np.zeros(n_bins + 2)
    for scores, truth in zip(case.maps, case.truths, strict=True):
        normal += histogram(scores[~truth])
        for region in regions(scores, truth):
            overlapped += histogram(region) * float(np.float32(1 / region.size))
    fpr, overlap = counts_from(normal) / normal.sum(), counts_from(overlapped) / overlapped.sum()
    is_kept = fpr <= fpr_limit
    if not is_kept.any():
        raise UndefinedMetricError(f"none of its thresholds has a false-positive rate up to {fpr_limit}")
    at_limit = np.interp(fpr_limit, fpr[::-1], overlap[::-1])
    return area(np.append(fpr_limit, fpr[is_kept]), np.append(at_limit, overlap[is_kept])) / fpr_limit


def _resampled(case: Overlaps, fpr_limit: float) -> float:
    """Each region's own ROC against the normal pixels, resampled by index to the length of the pooled one.

    Rates need not rise along the mean curve where scores tie: the original sorts them as it integrates, and still
    divides by the last one before they were sorted. So a value above 1 is possible, and is the original's.

    Source: apple/ml-destseg, model/metrics.py, after anomalib 0.4.0. In float64, where the original has float32.
    """
    normal = _Normal.of(case, fpr_limit)
    anomalous = np.concatenate([scores[truth] for scores, truth in zip(case.maps, case.truths, strict=True)])
    pooled_fpr, _ = _roc(normal, anomalous)
    n_points = int(np.count_nonzero(pooled_fpr <= fpr_limit))
    fpr_sum, tpr_sum, n_regions = np.zeros(n_points), np.zeros(n_points), 0
    for scores, truth in zip(case.maps, case.truths, strict=True):
        for region in regions(scores, truth):
            fpr, tpr = _roc(normal, region)
            fpr_part, tpr_part = _resampled_to(n_points, fpr, tpr, fpr_limit)
            fpr_sum, tpr_sum, n_regions = fpr_sum + fpr_part, tpr_sum + tpr_part, n_regions + 1
    if n_points < 2 or fpr_sum[-1] == 0:
        raise UndefinedMetricError(f"fewer than two thresholds have a false-positive rate up to {fpr_limit}")
    order = np.argsort(fpr_sum, kind="stable")
    return trapezoids(fpr_sum[order], tpr_sum[order]) / n_regions / float(fpr_sum[-1])


class _Normal(NamedTuple):
    """The distinct scores of normal pixels, descending, with the false-positive rate at each; two past the limit.

    Anomalous scores down to ``lowest`` belong to the curve: all of them where no normal pixel was left out.
    """

    levels: NDArray[np.floating]
    fpr: Floats
    lowest: float

    @classmethod
    def of(cls, case: Overlaps, fpr_limit: float) -> "_Normal":
        pooled = np.concatenate([scores[~truth] for scores, truth in zip(case.maps, case.truths, strict=True)])
        levels, counts = np.unique(pooled, return_counts=True)
        fpr: Floats = counts[::-1].cumsum() / pooled.size
        n_needed = int(np.searchsorted(fpr, fpr_limit, side="right")) + 2
        lowest = -np.inf if n_needed >= len(levels) else float(levels[::-1][n_needed - 1])
        return cls(levels[::-1][:n_needed], fpr[:n_needed], lowest)


def regions(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> list[NDArray[np.floating]]:
    """The scores of each 8-connected anomalous region."""
    labels, n_regions = label(truth, structure=np.ones((3, 3)))
    inside, of_region = scores[truth], labels[truth]
    return [inside[of_region == number] for number in range(1, n_regions + 1)]


def _roc(normal: _Normal, anomalous: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """False- and true-positive rates at every distinct score from the highest to the limit's, with (0, 0) first."""
    levels, counts = np.unique(anomalous, return_counts=True)
    new = np.setdiff1d(levels[levels > normal.lowest], normal.levels)[::-1]
    places = np.searchsorted(-normal.levels, -new)
    thresholds = np.insert(normal.levels, places, new)
    fpr = np.insert(normal.fpr, places, np.append(0, normal.fpr)[places])
    at_or_above = np.append(counts[::-1].cumsum()[::-1], 0)
    tpr: Floats = at_or_above[np.searchsorted(levels, thresholds)] / anomalous.size
    return np.append(0, fpr), np.append(0, tpr)


def _resampled_to(n_points: int, fpr: Floats, tpr: Floats, fpr_limit: float) -> tuple[Floats, Floats]:
    """The start of a curve, up to the limit, at equal steps of its index."""
    limit = fpr_limit if fpr[fpr <= fpr_limit].max() > 0 else fpr[fpr > fpr_limit].min()
    kept = np.flatnonzero(fpr <= limit)
    places = np.arange(n_points, dtype=np.float64)
    if np.isclose(fpr[kept[-1]], fpr_limit):
        index = kept / kept.max() * places[-1]
    else:
        beyond = int(np.searchsorted(fpr, fpr_limit))
        share = 1 - (fpr[beyond] - fpr_limit) / (fpr[beyond] - fpr[beyond - 1])
        kept = np.append(kept, beyond)  # out of order where no rate but 0 lies below the limit
        index = kept / kept.max() * places[-1]
        places[-1] = index[-2] + (index[-1] - index[-2]) * share
    return _interpolated(index, fpr[kept], places), _interpolated(index, tpr[kept], places)


def _interpolated(x: Floats, y: Floats, places: Floats) -> Floats:
    """Values on straight lines between points, the outer lines prolonged; of disordered points as bisection meets them.

    Each place is looked up by itself, as the places need not be in order either.
    """
    if np.all(x[1:] >= x[:-1]):
        right = np.searchsorted(x, places)
    else:
        right = np.array([bisect_left(x, place) for place in places])
    left = (right - 1).clip(0, len(x) - 2)
    slope = np.diff(y) / (np.finfo(np.float64).eps + np.diff(x))
    values: Floats = y[left] + slope[left] * (places - x[left])
    return values


def _dilated(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each pixel takes the highest score of the 5 x 5 square around it."""
    exact = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
    return np.asarray(cv2.dilate(exact, np.ones((5, 5), np.uint8)), exact.dtype)


_RULES: dict[AuproRule, Callable[[Overlaps, float], float]] = {
    "histogram_50": partial(_histogram, n_bins=50),
    "histogram_50_cuda": partial(_histogram, n_bins=50, is_cuda=True),
    "histogram_1000": partial(_histogram, n_bins=1000),
    "grid_200": partial(_grid, n_steps=200),
    "grid_200_dilated": partial(_grid, n_steps=200, is_dilated=True),
    "grid_200_per_image": _per_image,
    "grid_100_min_max": partial(_grid, n_steps=100, from_lowest=True),
    "resampled_regions": _resampled,
}
