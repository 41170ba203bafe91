"""The curve of a category: exact counts at every distinct anomalous score, and what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.files import written_whole
from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.keys import FLOAT64, INT64, KEY_TYPES, Keys, KeyType, key_type


@dataclass(frozen=True, eq=False)
class Curve:
    """What is found when everything that scores at least a threshold is called anomalous.

    Attributes:
        keys: the distinct scores of anomalous elements as ordered integers, ascending, (n,).
        kind: how these integers stand for scores.
        found: anomalous elements at each distinct score, (n,).
        counts: normal elements, (2 n + 1,): at ``2 k`` those strictly between scores ``k - 1`` and ``k``, at
            ``2 k + 1`` those equal to score ``k``.
        element: what is counted, for messages: ``pixel`` or ``image``.

    Everything but the plain counts is undefined (UndefinedMetricError) where one class is missing.
    """

    keys: Keys
    kind: KeyType
    found: NDArray[np.integer[Any]]
    counts: NDArray[np.integer[Any]]
    element: str = "pixel"

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike, element: str = "image") -> "Curve":
        """The curve of a few scores, for instance one per image.

        Args:
            scores: finite or infinite scores, (n,); compared as float64, 64-bit integers as they are.
            labels: True where anomalous, (n,).
            element: what a score is about, for messages.
        """
        values = np.asarray(scores)
        kind = INT64 if key_type(values.dtype, f"the {element} scores") is INT64 else FLOAT64
        values = values.astype(kind.name) + 0  # -0.0 becomes 0.0
        is_anomalous = np.asarray(labels, dtype=np.bool_)
        distinct, found = np.unique(values[is_anomalous], return_counts=True)
        normal = values[~is_anomalous]
        low = np.searchsorted(distinct, normal)
        tied = np.searchsorted(distinct, normal, side="right") > low
        counts = np.bincount(2 * low + tied, minlength=2 * len(distinct) + 1)
        return cls(kind.keys(distinct), kind, found.astype(np.uint32), counts.astype(np.uint32), element)

    @cached_property
    def n_anomalous(self) -> int:
        """Anomalous elements."""
        return int(self.found.sum(dtype=np.int64))

    @cached_property
    def n_normal(self) -> int:
        """Normal elements."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def thresholds(self) -> NDArray[Any]:
        """The distinct scores of anomalous elements, ascending, (n,)."""
        return self.kind.scores(self.keys)

    @property
    def tp(self) -> NDArray[np.int64]:
        """Anomalous elements at or above each threshold, (n,)."""
        return _from_top(self.found)

    @property
    def fp(self) -> NDArray[np.int64]:
        """Normal elements at or above each threshold, (n,)."""
        return _from_top(self.counts)[1::2]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of anomalous elements among those called anomalous, (n,)."""
        tp = self.tp
        return np.asarray(tp / (tp + self.fp))

    def precision_at(self, ranks: Sequence[int]) -> NDArray[np.float64]:
        """As `precision`, at the thresholds of some ranks alone, ascending, in little memory."""
        rising = np.sort(ranks).astype(np.int64)
        tp, fp = np.empty(len(rising), dtype=np.int64), np.empty(len(rising), dtype=np.int64)
        kernels.sum_from(self.found, rising, tp)
        kernels.sum_from(self.counts, 2 * rising + 1, fp)
        return np.asarray(tp / (tp + fp))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of anomalous elements that are found, (n,)."""
        return np.asarray(self.tp / max(self.n_anomalous, 1))

    tpr = recall

    @property
    def fpr(self) -> NDArray[np.float64]:
        """Share of normal elements called anomalous, (n,)."""
        return np.asarray(self.fp / max(self.n_normal, 1))

    @property
    def auroc(self) -> float:
        """Area under tpr over fpr: the share of ordered pairs, a tie counting one half."""
        self._need()
        return float(self._summary[0])

    @property
    def average_precision(self) -> float:
        """Area under precision over recall, by steps."""
        self._need()
        return float(self._summary[1])

    @property
    def f1_threshold(self) -> float:
        """The distinct score with the best F1, which also has the best IoU; the lowest one on a tie."""
        return self._threshold(self._rank(2))

    @property
    def pr_threshold(self) -> float:
        """The distinct score that maximises precision + recall; the lowest one on a tie.

        Source: Ma et al., UniAS (WACV 2025), section 4.1.
        """
        return self._threshold(self.pr_rank)

    @property
    def pr_rank(self) -> int:
        """Where `pr_threshold` stands among ``keys``."""
        return self._rank(3)

    @property
    def at_f1_threshold(self) -> tuple[int, int]:
        """True and false positives at `f1_threshold`."""
        return self._positives(self._rank(2))

    @property
    def at_pr_threshold(self) -> tuple[int, int]:
        """True and false positives at `pr_threshold`."""
        return self._positives(self.pr_rank)

    def fpr_at_tpr(self, tpr: float) -> float:
        """The false-positive rate at the highest threshold that finds at least this share of anomalous elements."""
        self._need()
        return self._positives(kernels.reach(self.found, self.n_anomalous, tpr))[1] / self.n_normal

    def thinned(self, n_points: int = 1000) -> NDArray[np.int64]:
        """Indices of thresholds that are enough for a plot: both ends, and equal steps in rank, recall and fpr."""
        n = len(self.keys)
        if n <= n_points:
            return np.arange(n)
        third = np.linspace(0, 1, max(n_points // 3, 2))
        ranks = (third * (n - 1)).astype(np.int64)
        chosen = [ranks]
        for falling in (self.tp, self.fp):
            rising = -falling
            chosen.append(np.searchsorted(rising, rising[0] + third * (rising[-1] - rising[0])).clip(0, n - 1))
        return np.unique(np.concatenate(chosen))

    def save(self, path: Path) -> None:
        """Write the curve as npz; `load` returns the same bits."""
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=self.keys, kind=np.array(self.kind.name), found=self.found, counts=self.counts)

    @classmethod
    def load(cls, path: Path) -> "Curve":
        """Read a curve that `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["keys"], KEY_TYPES[str(stored["kind"])], stored["found"], stored["counts"])

    @cached_property
    def _summary(self) -> tuple[float, float, int, int]:
        result: tuple[float, float, int, int] = kernels.summarise(
            self.found, self.counts, self.n_anomalous, self.n_normal
        )
        return result

    def _need(self) -> None:
        if self.n_anomalous == 0:
            raise UndefinedMetricError(f"no {self.element} is anomalous")
        if self.n_normal == 0:
            raise UndefinedMetricError(f"no {self.element} is normal")

    def _rank(self, which: int) -> int:
        self._need()
        return int(self._summary[which])

    def _threshold(self, rank: int) -> float:
        score: float = self.kind.scores(self.keys[rank : rank + 1])[0].item()  # an int keeps all digits of an int64
        return score

    def _positives(self, rank: int) -> tuple[int, int]:
        return (
            int(self.found[rank:].sum(dtype=np.int64)),
            int(self.counts[2 * rank + 1 :].sum(dtype=np.int64)),
        )


def _from_top(counts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    return np.cumsum(counts[::-1], dtype=np.int64)[::-1]
