"""AUPRO as other code bases approximate it, restated from their formulas; ``aseg_bench.metrics`` has the exact one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from sklearn.metrics import auc

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.protocols.curves import area, counts_from, histogram_edges, n_above, score_range
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
    if low == high:
        raise UndefinedMetricError("all scores are equal")
    thresholds = np.arange(low, high, (high - low) / n_steps)
    overlap_sum, n_regions, n_false = np.zeros(len(thresholds)), 0, np.zeros(len(thresholds))
    for scores, truth in zip(case.maps, case.truths, strict=True):
        n_false += n_above(scores[~truth], thresholds)
        reach = np.asarray(cv2.dilate(scores, np.ones((5, 5), np.uint8)), scores.dtype) if is_dilated else scores
        for region in _regions(reach, truth):
            overlap_sum += n_above(region, thresholds) / region.size
            n_regions += 1
    fpr = n_false / sum(case.normal_areas)
    is_kept = fpr < fpr_limit
    fpr, overlap = fpr[is_kept], overlap_sum[is_kept] / n_regions
    start = fpr.min() if from_lowest and fpr.size else 0.0
    if fpr.size < 2 or fpr.max() == start:
        raise UndefinedMetricError(f"fewer than two of its thresholds have a false-positive rate below {fpr_limit}")
    return float(auc((fpr - start) / (fpr.max() - start), overlap))


def _per_image(case: Overlaps, fpr_limit: float) -> float:
    """The mean over images with an anomalous region of the AUPRO of each alone. Source: hq-deng/RD4AD, test.py."""
    alone = zip(case.maps, case.truths, case.normal_areas, strict=True)
    images = [Overlaps([scores], [truth], [normal]) for scores, truth, normal in alone if truth.any()]
    return float(np.mean([_grid(image, fpr_limit, n_steps=200) for image in images]))


def _histogram(case: Overlaps, fpr_limit: float, *, n_bins: int) -> float:
    """Equal-width bins; the curve is cut at the limit by interpolation. Source: ADEval 1.1.0, adeval/mem_effic.py."""
    edges = histogram_edges(case.maps, n_bins)
    overlapped, normal = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for scores, truth in zip(case.maps, case.truths, strict=True):
        normal += np.histogram(scores[~truth], edges)[0]
        for region in _regions(scores, truth):
            overlapped += np.histogram(region, edges)[0] * float(np.float32(1 / region.size))
    fpr, overlap = counts_from(normal) / normal.sum(), counts_from(overlapped) / overlapped.sum()
    is_kept = fpr <= fpr_limit
    at_limit = np.interp(fpr_limit, fpr[::-1], overlap[::-1])
    return area(np.append(fpr_limit, fpr[is_kept]), np.append(at_limit, overlap[is_kept])) / fpr_limit


def _resampled(case: Overlaps, fpr_limit: float) -> float:
    """Each region's own ROC against the normal pixels, resampled by index to the length of the pooled one.

    Source: apple/ml-destseg, model/metrics.py, after anomalib 0.4.0. In float64, where the original has float32.
    """
    normal = _Normal.of(case, fpr_limit)
    anomalous = np.concatenate([scores[truth] for scores, truth in zip(case.maps, case.truths, strict=True)])
    pooled_fpr, _ = _roc(normal, anomalous)
    n_points = int(np.count_nonzero(pooled_fpr <= fpr_limit))
    fpr_sum, tpr_sum, n_regions = np.zeros(n_points), np.zeros(n_points), 0
    for scores, truth in zip(case.maps, case.truths, strict=True):
        for region in _regions(scores, truth):
            fpr, tpr = _roc(normal, region)
            fpr_part, tpr_part = _resampled_to(n_points, fpr, tpr, fpr_limit)
            fpr_sum, tpr_sum, n_regions = fpr_sum + fpr_part, tpr_sum + tpr_part, n_regions + 1
    if n_points < 2 or fpr_sum[-1] == 0:
        raise UndefinedMetricError(f"fewer than two thresholds have a false-positive rate up to {fpr_limit}")
    return float(auc(fpr_sum / n_regions, tpr_sum / n_regions) / (fpr_sum[-1] / n_regions))


class _Normal(NamedTuple):
    """The distinct scores of normal pixels, descending, with the false-positive rate at each; just past the limit."""

    levels: NDArray[np.floating]
    fpr: Floats

    @classmethod
    def of(cls, case: Overlaps, fpr_limit: float) -> "_Normal":
        pooled = np.concatenate([scores[~truth] for scores, truth in zip(case.maps, case.truths, strict=True)])
        levels, counts = np.unique(pooled, return_counts=True)
        fpr: Floats = counts[::-1].cumsum() / pooled.size
        n_needed = int(np.searchsorted(fpr, fpr_limit, side="right")) + 1
        return cls(levels[::-1][:n_needed], fpr[:n_needed])


def _regions(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> list[NDArray[np.floating]]:
    """The scores of each 8-connected anomalous region."""
    labels, n_regions = label(truth, structure=np.ones((3, 3)))
    inside, of_region = scores[truth], labels[truth]
    return [inside[of_region == number] for number in range(1, n_regions + 1)]


def _roc(normal: _Normal, anomalous: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """False- and true-positive rates at every distinct score from the highest to the limit's, with (0, 0) first."""
    levels, counts = np.unique(anomalous, return_counts=True)
    new = np.setdiff1d(levels[levels > normal.levels[-1]], normal.levels)[::-1]
    places = np.searchsorted(-normal.levels, -new)
    thresholds = np.insert(normal.levels, places, new)
    fpr = np.insert(normal.fpr, places, np.append(0, normal.fpr)[places])
    at_or_above = np.append(counts[::-1].cumsum()[::-1], 0)
    tpr: Floats = at_or_above[np.searchsorted(levels, thresholds)] / anomalous.size
    return np.append(0, fpr), np.append(0, tpr)


def _resampled_to(n_points: int, fpr: Floats, tpr: Floats, fpr_limit: float) -> tuple[Floats, Floats]:
    """The start of a curve, up to the limit, at equal steps of its index."""
    limit = fpr_limit if fpr[fpr <= fpr_limit].max() > 0 else fpr[fpr > fpr_limit].min()
    n_kept = np.count_nonzero(fpr <= limit)
    places = np.arange(n_points, dtype=np.float64)
    if not np.isclose(fpr[n_kept - 1], fpr_limit) and n_kept < len(fpr):
        beyond = int(np.searchsorted(fpr, fpr_limit))
        share = 1 - (fpr[beyond] - fpr_limit) / (fpr[beyond] - fpr[beyond - 1])
        kept = np.append(np.arange(n_kept), beyond)
        index = kept * (n_points - 1) / kept.max()
        places[-1] = index[-2] + (index[-1] - index[-2]) * share
    else:
        kept = np.arange(n_kept)
        index = kept * (n_points - 1) / kept.max()
    return np.interp(places, index, fpr[kept]), np.interp(places, index, tpr[kept])


_RULES: dict[AuproRule, Callable[[Overlaps, float], float]] = {
    "histogram_50": partial(_histogram, n_bins=50),
    "histogram_1000": partial(_histogram, n_bins=1000),
    "grid_200": partial(_grid, n_steps=200),
    "grid_200_dilated": partial(_grid, n_steps=200, is_dilated=True),
    "grid_200_per_image": _per_image,
    "grid_100_min_max": partial(_grid, n_steps=100, from_lowest=True),
    "resampled_regions": _resampled,
}
