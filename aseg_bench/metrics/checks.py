"""What a caller may hand over as scores and masks; everything else is one clear InputError before any work."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, near_matches
from aseg_bench.metrics.keys import key_type

ScoreMaps = NDArray[Any] | Sequence[NDArray[Any]]
BoolMasks = NDArray[np.bool_] | Sequence[NDArray[np.bool_]]  # masked arrays too: their masked pixels are void
VOID = 2  # in `mask_bytes`


def as_array(values: Any, where: str) -> NDArray[Any]:
    """The door through which everything enters: the same real numbers as a numpy array, none of them rounded.

    Args:
        values: an array of any library, a tensor on any device (also one that requires a gradient), lists of either,
            or nested lists. bfloat16 and 8-bit floating-point tensors become float32, which holds all their values.
        where: names the values in messages.

    Returns:
        A view where possible. A boolean is true wherever its byte is not zero, as when 0 and 255 are viewed as bool.

    Raises:
        InputError: the values are a masked array, whose mask would be ignored, do not form an array, or are not real
            numbers; or the arrays of a list differ in type or shape.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{where} is a masked array, whose mask would be ignored; give plain numbers, and name the pixels to leave "
            "out with the truth: masks=np.ma.array(masks, mask=...)"
        )
    if isinstance(values, list | tuple) and any(getattr(part, "ndim", 0) for part in values):
        parts = [as_array(part, where) for part in values]
        if len({(part.dtype, part.shape) for part in parts}) > 1:
            raise InputError(f"{where} is a list of arrays of several types or shapes; give one array")
        return np.stack(parts)
    try:
        array = _from_tensor(values) if hasattr(values, "detach") else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{where} is a {type(values).__name__}, not an array of numbers ({error})") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where} holds {array.dtype}, not real numbers; convert it to float32 or float64")
    if array.dtype == np.bool_ and array.size and (of_bytes := array.view(np.uint8)).max() > 1:
        return np.not_equal(of_bytes, 0)
    return array


def as_mask(values: Any, where: str) -> NDArray[Any]:
    """The door through which every truth enters: as `as_array`, and void where a masked array is masked.

    Args:
        values: as in `as_array`, or a masked array, or a list of them.
        where: names the values in messages.

    Returns:
        A plain array where nothing is void, otherwise a masked array.

    Raises:
        InputError: as `as_array`.
    """
    if isinstance(values, list | tuple) and any(isinstance(part, np.ma.MaskedArray) for part in values):
        values = np.ma.stack([np.ma.asarray(as_mask(part, where)) for part in values])
    if not isinstance(values, np.ma.MaskedArray):
        return as_array(values, where)
    truth, void = as_array(np.ma.getdata(values), where), np.ma.getmaskarray(values)
    if not void.any():
        return truth
    return np.ma.MaskedArray(truth, mask=void)


def truth_of(mask: NDArray[Any]) -> NDArray[Any]:
    """A mask as a plain array: True where anomalous, False where normal or void."""
    return np.asarray(np.ma.filled(mask, False))


def n_valid(mask: NDArray[Any]) -> int:
    """Pixels that are not void."""
    return mask.size - int(np.count_nonzero(np.ma.getmask(mask)))


def mask_bytes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask as flat, contiguous, writable bytes: 0 normal, 1 anomalous, 2 void; a view if possible."""
    flat = np.ascontiguousarray(truth_of(mask)).ravel()
    void = np.ma.getmask(mask)
    if void is np.ma.nomask:
        return (flat if flat.flags.writeable else flat.copy()).view(np.uint8)
    return np.where(void.ravel(), np.uint8(VOID), flat)


def mask_of_bytes(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The inverse of `mask_bytes`, in the shape of ``codes``."""
    return as_mask(np.ma.MaskedArray(codes == 1, mask=codes == VOID), "a mask")


def _from_tensor(tensor: Any) -> NDArray[Any]:
    is_narrow = tensor.is_floating_point() and tensor.dtype.itemsize <= 2 and str(tensor.dtype) != "torch.float16"
    array: NDArray[Any] = (tensor.float() if is_narrow else tensor).numpy(force=True)
    return array


def check_maps(scores: ScoreMaps, masks: BoolMasks) -> None:
    """Check what can be checked without reading: numbers of maps, and shapes and types of what is in memory.

    Raises:
        InputError: there are no maps, the numbers of maps and masks differ, or a pair in memory fails `check_pair`.
    """
    for name, maps in (("scores", scores), ("masks", masks)):
        shape = getattr(maps, "shape", None)  # of an array or a tensor
        if shape is not None and len(shape) != 3:
            hint = f"; put one image as {name}[None]" if len(shape) == 2 else ""
            raise InputError(f"{name} have shape {tuple(shape)}; (images, height, width) is needed{hint}")
        if not hasattr(maps, "__len__") or not hasattr(maps, "__getitem__"):
            raise InputError(
                f"{name} are a {type(maps).__name__}; pass an array or a sequence, for instance list({name})"
            )
    if len(scores) != len(masks):
        raise InputError(f"there are {len(scores)} score maps and {len(masks)} masks; one of each per image is needed")
    if not len(scores):
        raise InputError("there are no score maps; at least one image is needed")
    in_memory = (np.ndarray, list, tuple)
    if isinstance(scores, in_memory) and isinstance(masks, in_memory):
        arrays = isinstance(scores, np.ndarray) and isinstance(masks, np.ndarray)
        if isinstance(masks, np.ndarray):
            _check_boolean(masks, "the array of masks")
        for i in range(1 if arrays else len(scores)):
            check_pair(as_array(scores[i], f"image {i}"), as_mask(masks[i], f"the mask of image {i}"), f"image {i}")


def check_pair(scores: NDArray[Any], mask: NDArray[Any], where: str) -> None:
    """Check one score map and its mask.

    Raises:
        InputError: scores and mask are not 2-D of one shape, the mask is not boolean, or the scores cannot be ordered.
    """
    check_mask(mask, where)
    if scores.shape != mask.shape:
        raise InputError(
            f"{where}: the scores have shape {scores.shape}, the mask {mask.shape}; resize one to the other "
            "(nearest neighbour for a mask)"
        )
    key_type(scores.dtype, where)


def check_mask(mask: NDArray[Any], where: str) -> None:
    """Check one mask.

    Raises:
        InputError: the mask is not 2-D, has no pixels, or is not boolean (the message says how to make it boolean).
    """
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"{where}: the mask has shape {mask.shape}; (height, width) is needed, both above 0")
    _check_boolean(mask, f"{where}: the mask")


def check_keys(keys: Sequence[str], known: Sequence[str]) -> None:
    """Check metric keys.

    Raises:
        InputError: a key is unknown (the message names the nearest known ones), or ``keys`` is a single string.
    """
    if isinstance(keys, str):
        raise InputError(f"metrics is the text {keys!r}; pass a sequence of keys, for instance [{keys!r}]")
    for key in keys:
        if key not in known:
            raise InputError(f"there is no metric {key!r}; {near_matches(str(key), known)}")


def check_share(name: str, value: float) -> None:
    """Check a limit that is a share.

    Raises:
        InputError: the value lies outside (0, 1].
    """
    if not 0.0 < value <= 1.0:
        raise InputError(f"{name} is {value}; it must lie above 0 and not above 1")


def _check_boolean(masks: NDArray[Any], what: str) -> None:
    if masks.dtype == np.bool_:
        return
    if masks.dtype.kind in "iu":
        values = np.unique(np.ma.compressed(masks))
        held = ", ".join(map(str, values[:4])) + (" ..." if len(values) > 4 else "")
        if values[0] < 0:
            how = "decide which values are anomalous, and pass masks == value"
        elif len(values) > 2 and values[-1] < 10:
            how = "these look like the class indices of raw VisA: binarise with > 0"
        else:
            how = "binarise with > 0"
        raise InputError(f"{what} holds {masks.dtype} values {held}, not booleans; {how}")
    if masks.dtype.kind == "f":
        raise InputError(f"{what} holds {masks.dtype} values, not booleans; binarise, for instance with > 0.5")
    raise InputError(f"{what} is of type {masks.dtype}; a boolean array is needed")
