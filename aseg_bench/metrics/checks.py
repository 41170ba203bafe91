"""What a caller may hand over as scores and masks; everything else is one clear InputError before any work."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, near_matches
from aseg_bench.metrics.keys import key_type

ScoreMaps = NDArray[Any] | Sequence[NDArray[Any]]
Masks = NDArray[np.bool_] | Sequence[NDArray[np.bool_]]


def as_array(values: Any, where: str) -> NDArray[Any]:
    """The door through which everything enters: the same values as a numpy array, none of them rounded.

    Args:
        values: an array of any library, a tensor on any device (also one that requires a gradient), or nested lists.
            bfloat16 and 8-bit floating-point tensors become float32, which holds all their values.
        where: names the values in messages.

    Returns:
        A view where it can be. A boolean is true wherever its byte is not zero, as when 0 and 255 are viewed as bool.

    Raises:
        InputError: the values are a masked array, whose mask would be ignored, or form no array.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{where}: a masked array is not measured, as its mask would be ignored; fill it, or cut out what is valid"
        )
    try:
        array = _from_tensor(values) if hasattr(values, "detach") else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: a {type(values).__name__} forms no array of numbers ({error})") from error
    if array.dtype == np.bool_ and array.size and (of_bytes := array.view(np.uint8)).max() > 1:
        return np.not_equal(of_bytes, 0)
    return array


def _from_tensor(tensor: Any) -> NDArray[Any]:
    is_narrow = tensor.is_floating_point() and tensor.dtype.itemsize <= 2 and str(tensor.dtype) != "torch.float16"
    array: NDArray[Any] = (tensor.float() if is_narrow else tensor).numpy(force=True)
    return array


def check_maps(scores: ScoreMaps, masks: Masks) -> None:
    """Check what can be checked without reading: numbers of maps, and shapes and types of what is in memory.

    Raises:
        InputError: nothing is there, the numbers differ, or a pair in memory fails `check_pair`.
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
            check_pair(as_array(scores[i], f"image {i}"), as_array(masks[i], f"the mask of image {i}"), f"image {i}")


def check_pair(scores: NDArray[Any], mask: NDArray[Any], where: str) -> None:
    """Check one score map and its mask.

    Raises:
        InputError: they are not 2-D and of one shape, the mask is not boolean, or the scores have no order.
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
        InputError: it is not 2-D, has no pixel, or is not boolean; says how to make it so.
    """
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"{where}: the mask has shape {mask.shape}; (height, width) is needed, both above 0")
    _check_boolean(mask, f"{where}: the mask")


def check_keys(keys: Sequence[str], known: Sequence[str]) -> None:
    """Check metric keys.

    Raises:
        InputError: a key is unknown (with the nearest known ones), or the keys are one string.
    """
    if isinstance(keys, str):
        raise InputError(f"metrics is the text {keys!r}; pass a sequence of keys, for instance [{keys!r}]")
    for key in keys:
        if key not in known:
            raise InputError(f"there is no metric {key!r}; {near_matches(str(key), known)}")


def check_share(name: str, value: float) -> None:
    """Check a limit that is a share.

    Raises:
        InputError: it lies outside (0, 1].
    """
    if not 0.0 < value <= 1.0:
        raise InputError(f"{name} is {value}; it must lie above 0 and not above 1")


def _check_boolean(masks: NDArray[Any], what: str) -> None:
    if masks.dtype == np.bool_:
        return
    if masks.dtype.kind in "iu":
        values = np.unique(masks)
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
