"""Scores of any real type as one that the metric core compares, without the loss of a digit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError

_FLOAT64_MOST = 2**53  # up to here float64 holds every integer
_INT64_MOST = 2**62  # up to here the core compares integers


def exact_scores(scores: NDArray[np.generic], where: str) -> NDArray[Any]:
    """The same scores as float32, float64 or int64: the first of these that holds them all.

    Args:
        scores: of any real type and byte order, and any shape.
        where: names them in messages.

    Raises:
        InputError: none of these holds the scores: long doubles with more digits, or integers beyond 2**62 in size.
    """
    kind, n_bytes = scores.dtype.kind, scores.dtype.itemsize
    if kind in "iu" and n_bytes == 8 and scores.size:
        low, high = int(scores.min()), int(scores.max())
        if max(high, -low) > _INT64_MOST:
            raise InputError(f"{where} holds integers beyond {_INT64_MOST} in size; write floating-point scores")
        return scores.astype(np.int64 if max(high, -low) > _FLOAT64_MOST else np.float64, copy=False)
    if kind == "f" and n_bytes > 8:
        narrowed = scores.astype(np.float64)
        if not np.array_equal(narrowed, scores, equal_nan=True):
            raise InputError(f"{where} holds {scores.dtype}, more digits than float64 has; round them to float64")
        return narrowed
    return scores.astype(np.result_type(scores.dtype, np.float32), copy=False)
