"""THRESHOLDS, the table of rules by which normal images alone give a threshold; a pixel above it is called anomalous.

Every rule takes the maps one by one, in any order, and keeps a small part of their scores or none.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aseg_bench.errors import InputError, near_matches
from aseg_bench.metrics.first_pass import EIGHT_CONNECTED


class Estimator(Protocol):
    """A threshold in the making."""

    def update(self, scores: NDArray[Any]) -> None:
        """Take the map of a normal image, (height, width), or some of its scores."""

    def value(self) -> float:
        """The threshold of all maps so far, of which there is at least one."""


class Quantile:
    """The score at place ``ceil(share * (n - 1))`` of all n, counted from 0 in rising order.

    That is ``numpy.quantile(scores, share, method="higher")`` in double precision: at most ``1 - share`` of the scores
    are higher. Only scores from the quantile upwards are kept.

    Args:
        n_scores: of all maps together.
        share: in (0, 1].
    """

    def __init__(self, n_scores: int, share: float) -> None:
        self._n_kept = n_scores - math.ceil(share * (n_scores - 1))
        self._kept: NDArray[Any] | None = None

    def update(self, scores: NDArray[Any]) -> None:
        """Take a map."""
        kept = scores.ravel() if self._kept is None else np.concatenate([self._kept, scores.ravel()])
        n_lower = len(kept) - self._n_kept
        self._kept = np.partition(kept, n_lower)[n_lower:] if n_lower > 0 else kept

    def value(self) -> float:
        """The quantile."""
        assert self._kept is not None, "there is a map"
        return float(self._kept.min())


class MeanAndDeviations:
    """The mean of all scores and so many standard deviations (of the population, as ``numpy.std``).

    Args:
        n_scores: of all maps together; not needed.
        n_deviations: above the mean.
    """

    def __init__(self, n_scores: int, n_deviations: float) -> None:
        del n_scores
        self._n_deviations = n_deviations
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    def update(self, scores: NDArray[Any]) -> None:
        """Take a map: means and sums of squares merge (Chan et al. 1983, https://doi.org/10.2307/2683386)."""
        own = scores.astype(np.float64).ravel()
        n, mean = self._n + own.size, float(own.mean())
        step = mean - self._mean
        self._squares += float(np.square(own - mean).sum()) + step * step * self._n * own.size / n
        self._mean += step * own.size / n
        self._n = n

    def value(self) -> float:
        """Mean and deviations."""
        return self._mean + self._n_deviations * math.sqrt(self._squares / self._n)


class LargestRegion:
    """The lowest score above which no 8-connected region has more than a share of the pixels of its map.

    Args:
        n_scores: of all maps together; not needed.
        share: of the pixels of a map that a region may have.
    """

    def __init__(self, n_scores: int, share: float) -> None:
        del n_scores
        self._share = share
        self._value = -math.inf

    def update(self, scores: NDArray[Any]) -> None:
        """Take a map: regions only shrink as the threshold rises, so its own lowest score is found by halving."""
        most = self._share * scores.size
        if self._value > -math.inf and _largest(scores > self._value) <= most:
            return
        distinct = np.unique(scores)
        low, high = 0, len(distinct) - 1  # above the last, there is nothing
        while low < high:
            middle = (low + high) // 2
            if _largest(scores > distinct[middle]) <= most:
                high = middle
            else:
                low = middle + 1
        self._value = max(self._value, float(distinct[low]))

    def value(self) -> float:
        """The lowest score that serves all maps."""
        return self._value


def _largest(called: NDArray[np.bool_]) -> int:
    regions, n_regions = ndimage.label(called, structure=EIGHT_CONNECTED)
    return int(np.bincount(regions.ravel())[1:].max()) if n_regions else 0


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """How a threshold follows from the maps of normal images.

    Attributes:
        key: name on the command line and in ``run.json``.
        label: name in print.
        summary: what it does, in one line.
        source: where it is defined.
        start: an estimator, from the number of all scores that it will be given.
    """

    key: str
    label: str
    summary: str
    source: str
    start: Callable[[int], Estimator]


_MVTEC = "Bergmann et al. (2021), https://doi.org/10.1007/s11263-020-01400-4"
_MVTEC_2019 = "Bergmann et al. (2019), https://doi.org/10.1109/CVPR.2019.00982; the share is ours"
_AD_2 = "Heckler-Kram et al., MVTec AD 2 (2025), https://arxiv.org/abs/2503.21622, by its code for submissions"

THRESHOLDS: dict[str, ThresholdRule] = {
    rule.key: rule
    for rule in (
        ThresholdRule("mean_3std", "mean + 3 deviations",
                      "mean of all scores of normal pixels and three of their standard deviations", _AD_2,
                      partial(MeanAndDeviations, n_deviations=3)),
        *(
            ThresholdRule(f"quantile_{share}", f"{share} quantile", f"at most {left} of the normal pixels score higher",
                          _MVTEC, partial(Quantile, share=share))
            for share, left in ((0.95, "5 %"), (0.99, "1 %"), (0.995, "0.5 %"), (0.999, "0.1 %"), (0.9999, "0.01 %"))
        ),
        ThresholdRule("max", "maximum", "no normal pixel scores higher", _MVTEC, partial(Quantile, share=1.0)),
        ThresholdRule("region_0.0005", "no region above 0.05 %",
                      "no 8-connected region of higher normal pixels has more than 0.05 % of its image", _MVTEC_2019,
                      partial(LargestRegion, share=0.0005)),
    )
}  # fmt: skip


def find_rule(key: str) -> ThresholdRule:
    """The rule of this key.

    Raises:
        InputError: there is none; the message lists those nearest to it.
    """
    if key not in THRESHOLDS:
        raise InputError(f"no threshold rule {key}; {near_matches(key, list(THRESHOLDS))} (`aseg-bench thresholds`)")
    return THRESHOLDS[key]


def threshold_of(maps: Iterable[NDArray[Any]], n_scores: int, rule: ThresholdRule) -> float:
    """The threshold that some maps of normal images give, read one by one.

    Args:
        maps: anomaly scores, (height, width) each; at least one.
        n_scores: of all maps together.
        rule: an entry of ``THRESHOLDS``.
    """
    estimator = rule.start(n_scores)
    for scores in maps:
        estimator.update(scores)
    return estimator.value()
