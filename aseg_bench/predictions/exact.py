"""Numbers of any origin as arrays that the metric core compares, without the loss of a digit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError

_FLOAT64_MOST = 2**53  # up to here float64 holds every integer
_INT64_MOST = 2**62  # up to here the core compares integers


def plain_array(values: Any, where: str) -> NDArray[np.generic]:
    """Arrays, tensors, and lists of either as a numpy array of real numbers, (...).

    numpy has neither bfloat16 nor floats of 8 bits: those of torch become float32, which holds them all.

    Args:
        values: what a file or a reader gave.
        where: names them in messages.

    Raises:
        InputError: they are not all real numbers, values are masked out, or the parts of a list do not fit together.
    """
    if isinstance(values, list | tuple) and any(hasattr(part, "dtype") for part in values):
        parts = [plain_array(part, where) for part in values]
        if len({(part.dtype, part.shape) for part in parts}) > 1:
            raise InputError(f"{where} holds arrays of several types or shapes in a list; write one array")
        return np.stack(parts)
    if hasattr(values, "detach"):  # a tensor; torch itself is not needed for this
        values = _of_tensor(values, where)
    if np.ma.is_masked(values):
        raise InputError(f"{where} has values that are masked out; fill them in, or leave the image out")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{where} holds no array of numbers ({error}); write one") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where} holds {array.dtype}, no real numbers; write plain numbers, for instance float32")
    return array


def exact_scores(scores: NDArray[np.generic], where: str) -> NDArray[Any]:
    """The same scores as float32, float64 or int64: the first of these that holds them all.

    Args:
        scores: of any real type and byte order, and any shape.
        where: names them in messages.

    Raises:
        InputError: none holds them: long doubles with more digits, or integers beyond 2**62 in size.
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


def _of_tensor(tensor: Any, where: str) -> NDArray[Any]:
    try:
        dense = tensor.detach().cpu().to_dense()
        is_foreign = dense.is_floating_point() and dense.element_size() < 4
        return np.asarray((dense.float() if is_foreign else dense).resolve_neg())
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{where} holds a tensor of {tensor.dtype} ({error}); write float32 or float64") from error
