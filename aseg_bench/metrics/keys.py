"""Scores as integers that order alike: how a score map enters the kernels, and how a threshold comes back."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError

Keys = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class KeyType:
    """How scores of one kind become keys: signed integers that order as the scores do.

    Attributes:
        name: ``float32``, ``float64`` or ``int64``; scores of different kinds cannot be compared without loss.
        integer: dtype of the keys.
        infinity: key of +inf; anything beyond is nan.
    """

    name: str
    integer: type[np.signedinteger[Any]]
    infinity: int

    @property
    def flip(self) -> int:
        """The lowest integer; ``flip - bits`` is the key of a negative float."""
        return int(np.iinfo(self.integer).min)

    def bits(self, scores: NDArray[Any]) -> Keys:
        """The scores as bits, flat, contiguous, writable (so that numba compiles once); a view if possible."""
        if self.name == "int64":
            if scores.size and (scores.max() > INT64_MOST or scores.min() < -INT64_MOST):
                raise InputError(f"integer scores beyond {INT64_MOST} in size cannot be compared; convert to float64")
            signed = scores.astype(np.int64).ravel()
            return np.where(signed < 0, self.flip - signed, signed)
        flat = np.ascontiguousarray(scores, dtype=self.name).ravel()
        return (flat if flat.flags.writeable else flat.copy()).view(self.integer)

    def keys(self, scores: NDArray[Any]) -> Keys:
        """The keys of some scores, flat."""
        bits = self.bits(scores)
        return np.where(bits < 0, self.integer(self.flip) - bits, bits)

    def scores(self, keys: Keys) -> NDArray[Any]:
        """The scores that the keys stand for: float32, float64 or int64."""
        if self.name == "int64":
            return keys.astype(np.int64)
        bits = np.where(keys < 0, self.integer(self.flip) - keys, keys).astype(self.integer)
        return bits.view(self.name)

    def check(self, keys: Keys) -> None:
        """Refuse what is not keys of this kind, as another process has given them.

        Raises:
            InputError: their type or shape is another, or a score is nan.
        """
        if keys.ndim != 1 or keys.dtype != self.integer:
            raise InputError(f"its scores are not of the type that they name, {self.name}; take those of `to_arrays`")
        if len(keys) and not -self.infinity <= int(keys.min()) <= int(keys.max()) <= self.infinity:
            raise InputError("a score is nan, or beyond all numbers; repair the maps of that part, and count it again")


INT64_MOST: Final = 2**62

FLOAT32: Final = KeyType("float32", np.int32, 0x7F800000)
FLOAT64: Final = KeyType("float64", np.int64, 0x7FF0000000000000)
INT64: Final = KeyType("int64", np.int64, 0x7FF0000000000000)
KEY_TYPES: Final = {kind.name: kind for kind in (FLOAT32, FLOAT64, INT64)}


def key_type(dtype: np.dtype[Any], where: str) -> KeyType:
    """The kind of key that holds all values of ``dtype`` without loss.

    Raises:
        InputError: the dtype does not hold real numbers, or its numbers have more than 64 bits.
    """
    kind, n_bytes = dtype.kind, dtype.itemsize
    if kind == "b" or (kind == "f" and n_bytes <= 4) or (kind in "iu" and n_bytes <= 2):
        return FLOAT32
    if (kind == "f" and n_bytes == 8) or (kind in "iu" and n_bytes == 4):
        return FLOAT64
    if kind in "iu":
        return INT64
    raise InputError(f"{where}: scores of type {dtype} cannot be ordered; convert them to float32 or float64")
