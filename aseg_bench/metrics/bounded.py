"""Bounds on the metrics of more pixels than can be measured exactly, from one pass in constant memory."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics.checks import Levels, as_map, as_mask, check_pair, mask_bytes, note_levels, of_merged
from aseg_bench.metrics.first_pass import extremes, same_kind
from aseg_bench.metrics.keys import KeyType, key_type
from aseg_bench.metrics.tallies import CoarseTally

N_BUCKETS = 2**20  # 16 MB of counts for both classes
_N_CHORDS = 64  # per bucket, below the concave precision of its pixels
_ROUNDING = 1e-13  # of a bound, more than all that its sums may lose

Counts = NDArray[np.int64]


class Bounds(NamedTuple):
    """The value lies between these, both included."""

    lower: float
    upper: float


class BoundedStream:
    """Takes every map once, keeps none, and bounds metrics rigorously in the place of measuring them.

    Pixels are counted, normal and anomalous ones apart, in buckets of equally many floating-point numbers. The range of
    the scores so far sets their width: float32 scores from 0.001 to 1 have 65 thousand buckets per doubling of the
    score, those of both signs some 2 thousand. Memory is that of the buckets however many images come, and counts add
    up: streams of other processes (pickled) merge in any order, and the result is the same to the last bit.

    >>> stream = BoundedStream(n_buckets=2)  # so few that both scores share one
    >>> stream.update(np.array([[0.5, 1.0, 8.0]]), np.array([[False, True, True]]))
    >>> {key: (round(lower, 3), round(upper, 3)) for key, (lower, upper) in stream.compute().items()}
    {'pixel_auroc': (0.5, 1.0), 'pixel_ap': (0.833, 1.0), 'pixel_f1_max': (0.8, 1.0)}
    """

    def __init__(self, n_buckets: int = N_BUCKETS) -> None:
        """Start an empty stream.

        Args:
            n_buckets: no more than these, 16 bytes each; twice as many halve the distance of the bounds.

        Raises:
            InputError: there are fewer than 2.
        """
        if n_buckets < 2:
            raise InputError(f"n_buckets is {n_buckets}; at least 2 are needed")
        self._n_buckets = n_buckets
        self._kind: KeyType | None = None
        self._normal, self._anomalous = CoarseTally(0, n_buckets), CoarseTally(1, n_buckets)
        self._n_images = 0
        self._levels: Levels = {}

    def update(self, score_map: ArrayLike, mask: ArrayLike) -> None:
        """Take one image.

        Args:
            score_map: anomaly scores, (height, width) or (1, height, width); sizes may differ from image to image.
            mask: what `evaluate_maps` takes as the mask of an image, (height, width).

        Raises:
            InputError: shapes or types do not fit, or a score is nan.
        """
        where = f"image {self._n_images}"
        levels: Levels = {}
        score_map, mask = as_map(score_map, where), as_mask(mask, f"the mask of {where}", levels)
        check_pair(score_map, mask, where)
        kind = same_kind(self._kind, key_type(score_map.dtype, where), where)
        bits, flat = kind.bits(score_map), mask_bytes(mask)
        lowest, highest = extremes(bits, kind, score_map.shape, where)
        note_levels(self._levels, levels)
        self._kind = kind
        for tally in (self._normal, self._anomalous):
            tally.update(bits, flat, kind.flip, lowest, highest)
        self._n_images += 1

    def merge(self, other: Self) -> None:
        """Add the images of another stream.

        Raises:
            InputError: the streams differ in their number of buckets, in the kind of their scores, or in whether 1 or
                255 stands for anomalous.
        """
        if self._n_buckets != other._n_buckets:
            raise InputError(f"the merged streams have {self._n_buckets} and {other._n_buckets} buckets; give all one")
        kind = self._kind if other._kind is None else same_kind(self._kind, other._kind, "a merged stream")
        note_levels(self._levels, of_merged(other._levels))
        self._kind = kind
        self._normal.merge(other._normal)
        self._anomalous.merge(other._anomalous)
        self._n_images += other._n_images

    def compute(self) -> dict[str, Bounds]:
        """Bounds of ``pixel_auroc``, ``pixel_ap`` and ``pixel_f1_max`` over all images so far; more may follow.

        Where each bucket has scores enough, some scores within the buckets attain each bound.

        Raises:
            UndefinedMetricError: all pixels are of one class.
        """
        new, tied = self._anomalous.counts[::-1], self._normal.counts[::-1]  # from the highest bucket down
        n_anomalous, n_normal = int(new.sum()), int(tied.sum())
        if not n_anomalous or not n_normal:
            raise UndefinedMetricError(f"no pixel is {'normal' if n_anomalous else 'anomalous'}")
        reached = np.cumsum(tied)
        some = new > 0
        new, tied, reached, tp = new[some], tied[some], reached[some], np.cumsum(new[some])
        above = reached - tied
        n_pairs = float(n_anomalous) * float(n_normal)
        # worst where all normal pixels of a bucket lie above its anomalous ones, best where all lie below
        return {
            "pixel_auroc": _widened(
                np.sum(new.astype(float) * (n_normal - reached)) / n_pairs,
                np.sum(new.astype(float) * (n_normal - above)) / n_pairs,
            ),
            "pixel_ap": _widened(
                _precisions_of_distinct(tp, new, reached) / n_anomalous,
                np.sum(new * (tp / (tp + above))) / n_anomalous,  # a tie of all anomalous pixels
            ),
            "pixel_f1_max": _widened(
                np.max(2 * tp / (tp + reached + n_anomalous)), np.max(2 * tp / (tp + above + n_anomalous))
            ),
        }


def _precisions_of_distinct(tp: Counts, new: Counts, fp: Counts) -> float:
    """At most the sum of the precisions of all anomalous pixels where none of a bucket tie.

    The precision of the i-th of them is concave in i: a chord lies below it, and one over a single pixel is exact.

    Args:
        tp: anomalous pixels in each bucket and above.
        new: those in the bucket.
        fp: false positives that each of them has.
    """
    total, before = 0.0, tp - new
    for chord in range(_N_CHORDS):
        first, last = before + new * chord // _N_CHORDS + 1, before + new * (chord + 1) // _N_CHORDS
        n = last - first + 1
        with np.errstate(invalid="ignore"):  # no pixel below the first chord
            total += float(np.sum(np.where(n > 0, 0.5 * n * (first / (first + fp) + last / (last + fp)), 0)))
    return total


def _widened(lower: float, upper: float) -> Bounds:
    return Bounds(max(float(lower) * (1 - _ROUNDING), 0.0), min(float(upper) * (1 + _ROUNDING), 1.0))
