"""Reads one stacked array per category, as most code has its maps: (images, height, width) as npy, npz or torch's file.

Where no paths come with an array, its maps are taken in the sorted order of the test images, and that is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aseg_bench.errors import InputError
from aseg_bench.predictions.loading import as_text, check_count, shapes_in, stored_array
from aseg_bench.predictions.records import Found, FoundMap, Limits
from aseg_bench.predictions.stacks import as_stack, by_glob, find_stacks, found_in

STACKED = (".npy", ".npz")
_PLACES = tuple(
    f"{what}{end}" for what in ("path", "image_path", "img_path", "file", "filename", "name") for end in ("s", "")
)
_TRUTHS = ("masks", "mask", "gt_masks", "gt_mask", "gts", "gt", "ground_truth")
_LOOKED_AT = 20  # files by which a dump is recognised
_COLOURS = (3, 4)  # lengths of a last axis that is of colours


def is_stack(shape: Sequence[int]) -> bool:
    """Whether an array holds several maps: (N, H, W), or one more axis of length one before or behind the others."""
    shape = tuple(shape)
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        shape = (shape[0], *(shape[2:] if shape[1] == 1 else shape[1:3]))
    return len(shape) == 3 and shape[-1] not in _COLOURS and min(shape) > 1


def holds_stacks(files: Sequence[Path]) -> bool:
    """Whether one of the first arrays of a dump holds several maps."""
    arrays = [file for file in files if file.suffix.lower() in STACKED][:_LOOKED_AT]
    return any(is_stack(shape) for file in arrays for shape in shapes_in(file).values())


def find_bare_stacks(path: Path, limits: Limits) -> Found:
    """The maps of npy and npz files, one per category and named like it, or in a folder that is.

    The paths of the images may stand in a member of the npz, or line by line in a text file beside an npy.
    """
    used: list[Path] = []

    def maps_of(file: Path) -> list[FoundMap]:
        shapes = shapes_in(file)
        stacks = [name for name, shape in shapes.items() if len(shape) > 2 and name not in _TRUTHS]
        if len(stacks) != 1:
            held = ", ".join(f"{name or 'an array'} of shape {shape}" for name, shape in shapes.items()) or "no numbers"
            raise InputError(f"{file} holds {held}; one stack of maps (images, height, width) is needed")
        if file.suffix.lower() == ".npz":
            stored = find_stacks(file, limits, maps=stacks, places=_PLACES, masks=_TRUTHS, order=by_glob)
            return list(stored.maps)
        stack, names = as_stack(stored_array(file, "", limits)), file.with_suffix(".txt")
        if not names.is_file():
            return [FoundMap(file, partial(stack.__getitem__, index), None, file.stem) for index in range(len(stack))]
        used.append(names)
        return paired(file, stack, names.read_text(encoding="utf-8").splitlines(), file.stem)

    found = found_in(path, STACKED, maps_of, by_glob)
    return replace(found, left_over=[file for file in found.left_over if file not in used], is_order_assumed=True)


def maps_of_tensors(file: Path, content: Any) -> list[FoundMap]:
    """The maps of a stack that torch has saved by itself or in a dict, with the images' paths or without; else none."""
    named: Mapping[Any, Any] = content if isinstance(content, dict) else {"": content}
    stacks = [value for name, value in named.items() if is_stack(getattr(value, "shape", ())) and name not in _TRUTHS]
    if len(stacks) != 1:
        return []
    places = next((named[name] for name in _PLACES if name in named), None)
    if places is not None:
        return paired(file, stacks[0], places, file.stem)
    check_count(file, len(stacks[0]))
    return [FoundMap(file, partial(stacks[0].__getitem__, index), None, file.stem) for index in range(len(stacks[0]))]


def paired(file: Path, maps: Any, places: Any, category: str | None = None) -> list[FoundMap]:
    """Maps with the paths of their images.

    Raises:
        InputError: these are not two lists of one length.
    """
    try:
        n_maps, n_places = len(maps), len(places)
    except TypeError as error:
        raise InputError(f"{file} does not hold a list of maps and one of image paths; write both") from error
    check_count(file, n_maps)
    if not hasattr(maps, "shape") and not all(hasattr(one, "shape") for one in maps):
        raise InputError(f"{file} holds maps that are not arrays; write one array or tensor per map")
    if n_maps != n_places:
        raise InputError(f"{file} has {n_maps} maps but {n_places} image paths; write one path per map")
    return [
        FoundMap(file, partial(maps.__getitem__, index), as_text(place), category) for index, place in enumerate(places)
    ]
