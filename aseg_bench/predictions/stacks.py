"""Finds maps that lie stacked in one array; the baselines' rooms name the members and the order."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from aseg_bench.errors import InputError, first_few
from aseg_bench.files import reading
from aseg_bench.predictions.loading import StoredArray, check_count, npz_members, read_texts, sorted_out, stored_array
from aseg_bench.predictions.records import Found, FoundMap, Limits, SortKey
from aseg_bench.records import Sample


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
    """A test of the first sound npz file of a dump.

    Args:
        members: arrays that it must have.
        how_many: how many of them are enough; None needs all.
        without: an array that it must not have.
    """

    def recognises(files: Sequence[Path]) -> bool:
        for file in files:
            if file.suffix.lower() == ".npz":
                with suppress(InputError):
                    has = set(npz_members(file))
                    return len(has & set(members)) >= (how_many or len(members)) and without not in has
        return False

    return recognises


def found_in(
    path: Path, suffixes: Sequence[str], maps_of: Callable[[Path], list[FoundMap]], order: SortKey | None = None
) -> Found:
    """The maps of all sound files with one of these endings; what is wrong with the others is noted.

    Args:
        path: a file or folder.
        suffixes: endings of the files that hold maps.
        maps_of: the maps of one file; raises InputError for what is wrong with it.
        order: of the images, for maps without a place.

    Raises:
        InputError: no file has such an ending, or none is sound.
    """
    files, left_over = sorted_out(path, suffixes)
    maps: list[FoundMap] = []
    faults: list[str] = []
    for file in files:
        try:
            with reading(file):
                maps += maps_of(file)
        except InputError as error:
            faults.append(str(error))
    if not maps:
        raise InputError("; ".join(faults[:5]) or f"{path} holds no maps")
    return Found(maps, left_over, order, faults)


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
    roles = {"maps": maps, "places": places, "categories": categories, "masks": masks}

    def maps_of(file: Path) -> list[FoundMap]:
        members = npz_members(file)
        names = {role: name for role, choices in roles.items() for name in choices[::-1] if name in members}
        if "maps" not in names:
            raise InputError(f"{file} has none of the members {', '.join(maps)}; it has {first_few(members, 20)}")
        if "places" not in names and order is None and "masks" not in names:
            raise InputError(f"{file} does not name its images, whose order is not fixed; write {places[0]} too")
        stack = as_stack(stored_array(file, names["maps"], limits), edge)
        truth = stored_array(file, names["masks"], limits) if "masks" in names else None
        roles_of_texts = [role for role in ("places", "categories") if role in names]
        texts = dict(
            zip(roles_of_texts, read_texts(file, [names[role] for role in roles_of_texts], limits), strict=True)
        )
        counts = {role: len(items) for role, items in texts.items()}
        for role, count in (counts if truth is None else counts | {"masks": len(truth)}).items():
            if count != len(stack):
                raise InputError(f"{file} has {len(stack)} maps but {count} {names[role]}; write one per map")
        return [
            FoundMap(
                origin=file,
                read=partial(stack.__getitem__, index),
                place=texts["places"][index] if "places" in texts else None,
                category=texts["categories"][index] if "categories" in texts else file.stem,
                read_mask=None if truth is None else partial(truth.__getitem__, index),
            )
            for index in range(len(stack))
        ]

    return found_in(path, (".npz",), maps_of, order)


def as_stack(array: StoredArray, edge: int | None = None) -> StoredArray:
    """A stack as (images, height, width), where one more axis may have the length one.

    Raises:
        InputError: the stack has another number of axes, or a flat one does not hold whole square maps.
    """
    shape = array.shape
    if len(shape) == 1 and edge is not None and shape[0] and shape[0] % edge**2 == 0:
        return as_stack(replace(array, shape=(shape[0] // edge**2, edge, edge)))
    is_stack = len(shape) == 3 or (len(shape) == 4 and 1 in (shape[1], shape[3]))
    if not is_stack or not prod(shape):
        raise InputError(f"{array.path} holds maps of shape {shape}; (images, height, width) is needed")
    check_count(array.path, len(array))
    return array
