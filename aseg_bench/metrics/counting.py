"""Normal pixels counted between and on the distinct anomalous scores."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.first_pass import Ranking
from aseg_bench.metrics.keys import Keys
from aseg_bench.metrics.tallies import GapTally

N_PARTS = 2**10  # parts of the range of scores, at most; what waits in one is counted together
N_PER_PART = 2**7  # distinct scores that need no part of their own
N_WAITING = (2**9, 2**12)  # pixels of a part that are counted together, half as many as it has scores: least, most
N_TOLD_APART = 2**14  # places of the table of parts, which stays in the first-level cache
_ARRAYS = ("gaps", "full_gaps", "full_counts")  # what `GapTally.to_arrays` gives


class Counting:
    """Counts normal pixels against a ranking; they wait until there are enough of a part of its scores."""

    def __init__(self, ranking: Ranking) -> None:
        self._ladder, self._n_distinct, self._integer = ranking.ladder, ranking.n_distinct, ranking.kind.integer
        self._gaps = GapTally(ranking.n_distinct)
        self._coarser, self._parts = _parts(ranking.ladder, ranking.n_distinct)
        self._n_waiting = np.zeros(int(self._parts[-1]) + 1, dtype=np.uint32)
        self._waiting: NDArray[Any] = np.empty((len(self._n_waiting), 0), dtype=ranking.kind.integer)

    def update(self, bits: Keys, mask: NDArray[np.uint8], flip: int) -> None:
        """Take the normal pixels of an image."""
        if not self._n_distinct:
            n_normal = int(np.count_nonzero(mask == 0))
            self._gaps.room(n_normal)[0] += np.uint32(n_normal)
            return
        if not self._waiting.size:
            n_parts, (least, most) = len(self._n_waiting), N_WAITING
            enough = self._n_distinct // (2 * n_parts)
            self._waiting = np.empty((n_parts, max(least, min(most, enough))), dtype=self._integer)
        counts = self._gaps.room(len(bits), int(self._n_waiting.sum()))
        kernels.count_normal(
            bits,
            mask,
            flip,
            self._ladder,
            self._parts,
            self._coarser,
            self._waiting,
            self._n_waiting,
            counts,
            np.empty(self._waiting.shape[1], dtype=np.int64),
        )

    def merge(self, other: Self) -> None:
        """Add what another one has counted against the same ranking."""
        self._counted().merge(other._counted())

    def to_arrays(self, of: str = "") -> dict[str, NDArray[Any]]:
        """All counts, for `take` of another process, under names with an ending: mostly a byte for each."""
        return {name + of: array for name, array in zip(_ARRAYS, self._counted().to_arrays(), strict=True)}

    def take(self, arrays: Mapping[str, NDArray[Any]], of: str = "") -> None:
        """Add what another process has counted."""
        self._counted().add(*(arrays[name + of] for name in _ARRAYS))

    def total(self, apart: Self | None = None) -> NDArray[np.integer[Any]]:
        """All counts (2 n_distinct + 1,), see `_kernels.count`, and those of another one with them."""
        return self._counted().total() if apart is None else self._counted().total_with(apart._counted())

    def _counted(self) -> GapTally:
        """The counts, once those that still wait are among them: the tally forgets what it has made room for."""
        places = np.empty(self._waiting.shape[1], dtype=np.int64)
        kernels.count_rest(self._waiting, self._n_waiting, self._ladder, self._gaps.room(0), places)
        self._waiting = self._waiting[:, :0].copy()  # its memory is free until more come
        return self._gaps


def _parts(ladder: kernels.Ladder, n_distinct: int) -> tuple[int, NDArray[np.uint16]]:
    """Parts of the range of scores, ascending, of every ``2**coarser`` cells of a ladder: ``coarser``, and the parts.

    None has much of the distinct scores, nor much of the cells, so that counting into one touches little memory.
    """
    coarser = max((len(ladder.words) - 1).bit_length() - (N_TOLD_APART - 1).bit_length(), 0)
    before = ladder.sums[:: 2**coarser].astype(np.int64)
    half = min(N_PARTS, n_distinct // N_PER_PART) // 2
    parts = before * half // (n_distinct + 1) + np.arange(len(before)) * half // len(before)
    return coarser + 6, parts.astype(np.uint16)
