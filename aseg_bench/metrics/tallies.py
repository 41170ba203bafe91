"""Counts of normal pixels that partial sweeps keep: additive, so that any order of images and merges ends alike."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.keys import Keys

N_BUCKETS = 2**16
UINT8_MAX, UINT32_MAX = 2**8 - 1, 2**32 - 1


class CoarseTally:
    """All pixels of a class in buckets of equally many keys, which widen as the range of scores grows.

    It bounds the pixels at or above every threshold before, or instead of, their being counted exactly.

    Args:
        wanted: what a mask's bytes are where pixels are counted: 0 for normal ones.
        n_buckets: no more than these, at least 2.
    """

    def __init__(self, wanted: int = 0, n_buckets: int = N_BUCKETS) -> None:
        self._wanted, self._n_buckets = wanted, n_buckets
        self.shift = 0
        self.base = 0
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def update(self, bits: Keys, mask: NDArray[np.uint8], flip: int, lowest: int, highest: int) -> None:
        """Count the pixels of an image whose keys lie from ``lowest`` to ``highest``."""
        self._cover(lowest, highest, 0)
        kernels.tally(bits, mask, flip, self._wanted, self.shift, self.base, self.counts)

    def merge(self, other: Self) -> None:
        """Add the pixels of another tally."""
        if len(other.counts):
            low, high = other.base << other.shift, ((other.base + len(other.counts)) << other.shift) - 1
            self._cover(low, high, other.shift)
            self._add(other)

    @classmethod
    def of(cls, shift: int, base: int, counts: NDArray[np.int64]) -> Self:
        """The tally that another process made."""
        tally = cls()
        tally.shift, tally.base, tally.counts = shift, base, counts
        return tally

    def from_top(self) -> NDArray[np.int64]:
        """Pixels in each bucket and above, with a last entry of 0."""
        return np.append(np.cumsum(self.counts[::-1])[::-1], 0)

    def _cover(self, lowest: int, highest: int, shift: int) -> None:
        old = type(self)()
        old.shift, old.base, old.counts = self.shift, self.base, self.counts
        if len(old.counts):
            lowest = min(lowest, old.base << old.shift)
            highest = max(highest, ((old.base + len(old.counts)) << old.shift) - 1)
        self.shift = max(old.shift, shift)
        while (highest >> self.shift) - (lowest >> self.shift) >= self._n_buckets:
            self.shift += 1
        self.base = lowest >> self.shift
        n_buckets = (highest >> self.shift) - self.base + 1
        if (self.shift, self.base, n_buckets) != (old.shift, old.base, len(old.counts)):
            self.counts = np.zeros(n_buckets, dtype=np.int64)
            self._add(old)

    def _add(self, finer: Self) -> None:
        buckets = (finer.base + np.arange(len(finer.counts))) >> (self.shift - finer.shift)
        np.add.at(self.counts, buckets - self.base, finer.counts)


class TopTally:
    """The highest normal keys with their counts: as many as hold ``n_needed`` pixels, ties with the last included."""

    def __init__(self, n_needed: int, dtype: type[np.signedinteger[Any]]) -> None:
        self.n_needed = n_needed
        self.keys: Keys = np.zeros(0, dtype=dtype)  # descending
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.floor = int(np.iinfo(dtype).min)  # keys below it are not needed

    def update(self, keys: Keys) -> None:
        """Take the keys of some pixels, all those at or above ``floor``."""
        if len(keys) > self.n_needed:  # drops most of the first image before it is counted
            last = len(keys) - self.n_needed
            keys = keys[keys >= np.partition(keys, last)[last]]
        self.take(keys, np.ones(len(keys), dtype=np.int64))

    def merge(self, other: Self) -> None:
        """Add the pixels of another tally."""
        self.take(other.keys, other.counts)

    def take(self, keys: Keys, counts: NDArray[np.int64]) -> None:
        """Take so many pixels of each key."""
        distinct, place = np.unique(np.concatenate([self.keys, keys]), return_inverse=True)
        totals = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(totals, place, np.concatenate([self.counts, counts]))
        n_kept = int(np.searchsorted(np.cumsum(totals[::-1]), self.n_needed)) + 1
        self.keys, self.counts = distinct[::-1][:n_kept], totals[::-1][:n_kept]
        if n_kept <= len(distinct):
            self.floor = int(self.keys[-1])


class GapTally:
    """Normal pixels between and on the distinct anomalous scores, see `_kernels.count`.

    32-bit counts, half as large and faster, until more pixels have come than they hold.
    """

    def __init__(self, n_distinct: int) -> None:
        self._counts: NDArray[np.uint32] = np.zeros(2 * n_distinct + 1, dtype=np.uint32)
        self._full: NDArray[np.int64] | None = None
        self._n_since = 0

    def room(self, n_pixels: int, n_waiting: int = 0) -> NDArray[np.uint32]:
        """Counts that can take this many pixels more, and those that had room before and have not been counted."""
        if self._n_since + n_pixels > UINT32_MAX:
            self._full = self.total().astype(np.int64)
            self._counts[:] = 0
            self._n_since = n_waiting
        self._n_since += n_pixels
        return self._counts

    def merge(self, other: Self) -> None:
        """Add the pixels of another tally."""
        if other._full is not None:
            self._full = other._full.copy() if self._full is None else self._full + other._full
        self.room(other._n_since)[:] += other._counts

    def total_with(self, other: Self) -> NDArray[np.integer[Any]]:
        """All counts of both."""
        is_small = self._full is None and other._full is None and self._n_since + other._n_since <= UINT32_MAX
        both: NDArray[np.integer[Any]] = np.add(self.total(), other.total(), dtype=np.uint32 if is_small else np.int64)
        return both

    def to_arrays(self) -> list[NDArray[Any]]:
        """All counts in a byte each, and the places and values of those that need more."""
        counts = self.total()
        places = np.flatnonzero(counts > UINT8_MAX)
        return [np.where(counts > UINT8_MAX, 0, counts).astype(np.uint8), places, counts[places].astype(np.int64)]

    def add(self, few: NDArray[np.uint8], places: NDArray[np.int64], many: NDArray[np.int64]) -> None:
        """Add what another process has counted and gave with `to_arrays`."""
        counts = few.astype(np.int64)
        counts[places] = many
        n_pixels = int(counts.sum(dtype=np.int64))
        if n_pixels > UINT32_MAX:
            self._full = self.total().astype(np.int64) + counts
            self._counts[:] = 0
            self._n_since = 0
        else:
            self.room(n_pixels)[:] += counts.astype(np.uint32)

    def total(self) -> NDArray[np.integer[Any]]:
        """All counts."""
        return self._counts if self._full is None else self._full + self._counts
