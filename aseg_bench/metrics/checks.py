"""What a caller may hand over as scores and masks; everything else is one clear InputError before any work."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import InputError, near_matches
from aseg_bench.metrics.keys import key_type

ScoreMaps = ArrayLike | Sequence[ArrayLike]  # tensors too
Masks = ArrayLike | Sequence[ArrayLike]  # tensors too, and masked arrays, whose masked pixels are void
ANOMALOUS = (1, 255)  # what stands for anomalous in masks that are not boolean; each beside 0 alone
VOID = 2  # in `mask_bytes`
_MERGED = ", merged,"
Levels = dict[int, str]  # what has stood for anomalous in masks, see `level_of`, and where first


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


def as_map(values: Any, where: str) -> NDArray[Any]:
    """The door through which a score map enters: as `as_array`, without the channel of (1, height, width)."""
    score_map: NDArray[Any] = one_channel(as_array(values, where), 2)
    return score_map


def as_mask(values: Any, where: str, levels: Levels | None = None) -> NDArray[Any]:
    """The door through which the truth of an image enters: as `as_truth`, without the channel of (1, height, width)."""
    mask: NDArray[Any] = one_channel(as_truth(values, where, levels), 2)
    return mask


def one_channel(array: Any, n_axes: int) -> Any:
    """An array or tensor as it is, or without its channel: an axis of one before the last two, where it is one more."""
    return array[..., 0, :, :] if len(array.shape) == n_axes + 1 and array.shape[-3] == 1 else array


def as_truth(values: Any, where: str, levels: Levels | None = None) -> NDArray[Any]:
    """Truth of any shape: as `as_array`, but boolean, and void where a masked array is masked.

    Args:
        values: as in `as_array`, or a masked array, or a list of them: booleans, or numbers of any type that are 0 and
            1 alone, or 0 and 255 alone.
        where: names the values in messages.
        levels: what has stood for anomalous in the truth that goes with this one, which is noted there.

    Returns:
        A plain array where nothing is void, otherwise a masked array; boolean.

    Raises:
        InputError: as `as_array`, or the numbers do not say which of them are anomalous.
    """
    given = _as_voided(values, where)
    if given.dtype == np.bool_:
        return given
    level = level_of(given, where)
    if levels is not None:
        note_levels(levels, {level: where})
    return np.ma.MaskedArray(truth_of(given) != 0, mask=np.ma.getmask(given)) if np.ma.is_masked(given) else given != 0


def level_of(given: NDArray[Any], where: str) -> int:
    """What stands for anomalous in numbers, masked where void: 1 or 255; 0 where nothing is anomalous.

    Raises:
        InputError: as `as_truth`.
    """
    numbers = np.asarray(np.ma.compressed(given)) if np.ma.is_masked(given) else given
    highest = numbers.max(initial=0)
    if not ((numbers == highest) | (numbers == 0)).all() or highest not in (0, *ANOMALOUS):
        raise InputError(_not_boolean(numbers, where))
    return int(highest)


def note_levels(levels: Levels, more: Levels) -> None:
    """Add to what has stood for anomalous so far, and where first, what stands for it in more masks.

    Raises:
        InputError: 1 stands for it in some and 255 in others.
    """
    both = {**more, **levels}
    if set(ANOMALOUS) <= both.keys():
        raise InputError(
            f"{both[1]} holds 0 and 1, {both[255]} 0 and 255; 255 may mean void: pass masks == value, or "
            "numpy.ma.array(masks == 1, mask=masks == 255)"
        )
    levels.update(both)


def of_merged(levels: Levels) -> Levels:
    """What stands for anomalous in another part, whose images have the same numbers as those here."""
    return {level: f"{where.removesuffix(_MERGED)}{_MERGED}" for level, where in levels.items()}


def _as_voided(values: Any, where: str) -> NDArray[Any]:
    if isinstance(values, list | tuple) and any(isinstance(part, np.ma.MaskedArray) for part in values):
        values = np.ma.stack([np.ma.asarray(_as_voided(part, where)) for part in values])
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


def as_maps(scores: Any, masks: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """The door through which the maps of a category enter: both as sequences, one element per image.

    What can be checked without reading is checked: numbers of maps, and shapes, types and truth of what is in memory.
    What an element is, `as_map` and `as_mask` find out.

    Args:
        scores: an array or tensor (images, height, width) or (images, 1, height, width), or a sequence of those of
            single images, whose sizes may differ.
        masks: the same.

    Raises:
        InputError: there are no maps, the numbers of maps and masks differ, a pair in memory fails `check_pair`, or 1
            stands for anomalous in some masks and 255 in others.
    """
    scores, masks = _as_sequence("scores", scores), _as_sequence("masks", masks)
    if len(scores) != len(masks):
        raise InputError(f"there are {len(scores)} score maps and {len(masks)} masks; one of each per image is needed")
    if not len(scores):
        raise InputError("there are no score maps; at least one image is needed")
    if not (_is_in_memory(scores) and _is_in_memory(masks)):
        return scores, masks
    alike = all(hasattr(maps, "dtype") for maps in (scores, masks))
    levels: Levels = {}
    for i in range(1 if alike and "bool" in str(masks.dtype) else len(scores)):
        mask = as_mask(masks[i], f"the mask of image {i}", levels)
        check_pair(as_map(scores[i], f"image {i}"), mask, f"image {i}")
    return scores, masks


def _as_sequence(name: str, maps: Any) -> Sequence[Any]:
    shape = getattr(maps, "shape", None)  # of an array or a tensor
    if shape is not None:
        maps = one_channel(maps, 3)
        if len(maps.shape) != 3:
            hint = f"; put one image as {name}[None]" if len(shape) == 2 else ""
            raise InputError(
                f"{name} have shape {tuple(shape)}; (images, height, width) or (images, 1, height, width) is "
                f"needed{hint}"
            )
    if not hasattr(maps, "__len__") or not hasattr(maps, "__getitem__"):
        raise InputError(f"{name} are a {type(maps).__name__}; pass an array or a sequence, for instance list({name})")
    sequence: Sequence[Any] = maps
    return sequence


def _is_in_memory(maps: Any) -> bool:
    return isinstance(maps, list | tuple) or hasattr(maps, "dtype")


def check_pair(scores: NDArray[Any], mask: NDArray[Any], where: str) -> None:
    """Check one score map and its mask, which have come through `as_map` and `as_mask`.

    Raises:
        InputError: scores and mask are not 2-D of one shape, or the scores cannot be ordered.
    """
    check_mask(mask, where)
    if scores.shape != mask.shape:
        raise InputError(
            f"{where}: the scores have shape {scores.shape}, the mask {mask.shape}; resize one to the other "
            "(nearest neighbour for a mask)"
        )
    key_type(scores.dtype, where)


def check_mask(mask: NDArray[Any], where: str) -> None:
    """Check one mask, which has come through `as_mask`.

    Raises:
        InputError: the mask is not 2-D or has no pixels.
    """
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"{where}: the mask has shape {mask.shape}; (height, width) is needed, both above 0")


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


def _not_boolean(numbers: NDArray[Any], what: str) -> str:
    values = np.unique(numbers)
    held = ", ".join(f"{value:g}" for value in values[:4].astype(np.float64)) + (" ..." if len(values) > 4 else "")
    if values.dtype.kind == "f":
        how = "binarise, for instance with > 0.5"
    elif values[0] < 0:
        how = "decide which values are anomalous, and pass masks == value"
    elif set(ANOMALOUS) <= set(values.tolist()) <= {0, *ANOMALOUS}:
        how = "255 may mean void: pass numpy.ma.array(masks == 1, mask=masks == 255), or binarise with > 0"
    elif len(values) > 2 and values[-1] < 10:
        how = "these look like the class indices of raw VisA: binarise with > 0"
    else:
        how = "binarise with > 0"
    return f"{what} holds {numbers.dtype} values {held}, neither booleans nor 0 and 1 or 0 and 255; {how}"
