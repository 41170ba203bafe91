"""Finds maps that lie stacked in one array; the baselines' rooms name the members and the order."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.predictions.loading import npz_members, read_npz, sorted_out
from aseg_bench.predictions.records import Found, FoundMap, Limits, SortKey
from aseg_bench.records import Sample

Array = NDArray[Any]


def by_glob(sample: Sample) -> Any:
    """The order of ``sorted(glob("<category>/test/*/*"))``."""
    return sample.image_path.as_posix()


def by_folders(sample: Sample) -> Any:
    """The order of sorted defect folders, and of sorted files within each."""
    return sample.defect, sample.image_path.name


def first_of(files: Sequence[Path], *suffixes: str) -> Path | None:
    """The first file with one of these endings."""
    return next((file for file in files if file.suffix.lower() in suffixes), None)


def holds_members(*members: str, how_many: int | None = None, without: str = "") -> Callable[[Sequence[Path]], bool]:
    """A test of the first npz file of a dump.

    Args:
        members: arrays that it must have.
        how_many: how many of them suffice; None demands all.
        without: an array that it must not have.
    """

    def recognises(files: Sequence[Path]) -> bool:
        first = first_of(files, ".npz")
        has = set(npz_members(first)) if first is not None else set()
        return len(has & set(members)) >= (how_many or len(members)) and without not in has

    return recognises


def find_stacks(
    path: Path,
    limits: Limits,
    *,
    maps: Sequence[str],
    places: Sequence[str] = (),
    order: SortKey | None = None,
    categories: Sequence[str] = (),
    masks: Sequence[str] = (),
    edge: int | None = None,
) -> Found:
    """The maps of npz files, one file per category or one for all.

    Args:
        path: a file, or a folder of them; a file's name is the category of its maps unless a member says so.
        limits: how large an array may be.
        maps: names under which the stack of maps may lie; the first that is there counts.
        places: names under which the images' paths may lie.
        order: of the images where no paths are there.
        categories: names under which the categories may lie, one per map.
        masks: names under which the truth may lie.
        edge: side of square maps, for stacks that were flattened.

    Raises:
        InputError: a file lacks the maps, or a member does not fit them in length.
    """
    found: list[FoundMap] = []
    files, left_over = sorted_out(path, (".npz",))
    for file in files:
        members = npz_members(file)
        names = {
            role: next((name for name in choices if name in members), None)
            for role, choices in (("maps", maps), ("places", places), ("categories", categories), ("masks", masks))
        }
        if names["maps"] is None:
            raise InputError(f"{file} has none of the members {', '.join(maps)}; it has {', '.join(members)}")
        if names["places"] is None and order is None and names["masks"] is None:
            raise InputError(f"{file} does not name its images, whose order is not fixed; write {places[0]} too")
        wanted = [name for name in names.values() if name is not None]
        arrays = dict(zip(wanted, read_npz(file, wanted, limits), strict=True))
        stack = as_stack(arrays[names["maps"]], file, edge)
        found += [
            _item(file, index, stack, {role: arrays[name] for role, name in names.items() if name is not None})
            for index in range(len(stack))
        ]
        for role, name in names.items():
            if name is not None and role in ("places", "categories") and len(arrays[name]) != len(stack):
                raise InputError(f"{file} has {len(stack)} maps but {len(arrays[name])} {name}")
    return Found(found, left_over, order)


def as_stack(array: Array, file: Path, edge: int | None = None) -> Array:
    """A stack as (images, height, width).

    Raises:
        InputError: it has any other number of axes, or a flat one does not hold whole square maps.
    """
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
        return array.squeeze(axis=1 if array.shape[1] == 1 else 3)
    if array.ndim == 1 and edge is not None and array.size and array.size % edge**2 == 0:
        return array.reshape(-1, edge, edge)
    if array.ndim != 3 or not len(array):
        raise InputError(f"{file} holds maps of shape {array.shape}; (images, height, width) is needed")
    return array


def _item(file: Path, index: int, stack: Array, arrays: dict[str, Array]) -> FoundMap:
    masks = arrays.get("masks")
    return FoundMap(
        origin=file,
        read=partial(stack.__getitem__, index),
        place=str(arrays["places"][index]) if "places" in arrays and index < len(arrays["places"]) else None,
        category=str(arrays["categories"][index]) if index < len(arrays.get("categories", ())) else file.stem,
        read_mask=None if masks is None else partial(_mask, masks, index, stack.shape[1:]),
    )


def _mask(masks: Array, index: int, shape: tuple[int, ...]) -> Array:
    return np.asarray(masks.reshape(-1, *shape)[index])
