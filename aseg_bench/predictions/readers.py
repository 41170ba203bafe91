"""Readers for the layouts that are not one method's own, and the discovery of those that are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from importlib.metadata import entry_points
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, first_few, near_matches
from aseg_bench.files import files_below
from aseg_bench.images import IMAGE_SUFFIXES
from aseg_bench.predictions.bare_stacks import find_bare_stacks, holds_stacks, maps_of_tensors, paired
from aseg_bench.predictions.loading import (
    as_text,
    flattened,
    mentions,
    npz_members,
    read_npy,
    read_npz,
    read_pickle,
    read_texts,
    read_torch,
)
from aseg_bench.predictions.pictures import read_picture, read_table
from aseg_bench.predictions.records import RECIPE, Found, FoundMap, Limits, Reader
from aseg_bench.predictions.stacks import by_glob, find_stacks, first_of, found_in, holds_members

ENTRY_POINTS = "aseg_bench.readers"
_EXACTEST = ((".npy", ".npz"), (".tif", ".tiff"), (".csv",), (".png",))  # kinds of files; other pictures come last
_NUMBERS = (*_EXACTEST[0], *_EXACTEST[1])
_PLAIN = (*_NUMBERS, ".csv", *sorted(IMAGE_SUFFIXES))
_SAVED = (".pt", ".pth")


def find_readers() -> dict[str, Reader]:
    """All readers installed on this machine, by key; ours first.

    A package adds one with an entry point in the group ``aseg_bench.readers`` that names a Reader.
    """
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    readers = {reader.key: reader for reader in _OURS}
    for point in points:
        reader = point.load()
        if not isinstance(reader, Reader):
            raise InputError(f"entry point {point.name} = {point.value} is not a Reader; name one there")
        if reader.key in readers:
            raise InputError(f"two installed packages define the reader {reader.key}; uninstall one ({point.value})")
        readers[reader.key] = reader
    return readers


def choose_reader(path: Path, key: str = "auto") -> Reader:
    """The reader of this key, or with ``auto`` the only one that recognises a path.

    Raises:
        InputError: the path does not exist, the key is unknown, or not exactly one reader recognises the path.
    """
    readers = find_readers()
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    if key != "auto":
        if key not in readers:
            raise InputError(f"no reader is named {key}; {near_matches(key, list(readers))}")
        return readers[key]
    files = files_below(path)
    fitting = [reader for reader in readers.values() if reader not in _LAST and reader.recognises(files)]
    if len(fitting) > 1:
        raise InputError(f"{path} may be {' or '.join(reader.key for reader in fitting)}; say which with --reader")
    if fitting:
        return fitting[0]
    if last := [reader for reader in _LAST if reader.recognises(files)]:
        return last[0]
    raise InputError(f"no reader recognises {path}; name one with --reader: {', '.join(readers)}; or {RECIPE}")


def _find_uniad(path: Path, limits: Limits) -> Found:
    """One npz per image; its members name it, for the file's own name is ambiguous."""

    def map_of(file: Path) -> list[FoundMap]:
        has_mask = "mask" in npz_members(file)
        names, categories = read_texts(file, ["filename", "clsname"], limits)
        if len(names) != 1 or len(categories) != 1:
            raise InputError(
                f"{file} names {len(names)} images and {len(categories)} categories; write a file per image"
            )
        read, read_mask = (partial(_npz_member, file, member, limits) for member in ("pred", "mask"))
        return [FoundMap(file, read, names[0], categories[0], read_mask if has_mask else None)]

    return found_in(path, (".npz",), map_of)


def _npz_member(file: Path, name: str, limits: Limits) -> NDArray[Any]:
    return np.squeeze(read_npz(file, [name], limits)[0])


def _is_mvtec_tree(files: Sequence[Path]) -> bool:
    first = first_of(files, ".tif", ".tiff")
    return first is not None and first.parent.parent.name == "test" and first_of(files, *_EXACTEST[0]) is None


def _find_tree(path: Path, limits: Limits, *, suffixes: tuple[str, ...]) -> Found:
    """One file per image, named like it."""
    root = path if path.is_dir() else path.parent

    def map_of(file: Path) -> list[FoundMap]:
        ending = file.suffix.lower()
        loss = next((loss for loss, endings in enumerate(_EXACTEST) if ending in endings), len(_EXACTEST))
        return [FoundMap(file, partial(_read_plain, file, limits), file.relative_to(root).as_posix(), loss=loss)]

    return found_in(path, suffixes, map_of)


def _read_plain(file: Path, limits: Limits) -> NDArray[Any]:
    if file.suffix.lower() == ".npy":
        return read_npy(file, limits)
    if file.suffix.lower() == ".csv":
        return read_table(file, limits)
    if file.suffix.lower() == ".npz":
        members = npz_members(file)
        if len(members) != 1:
            raise InputError(f"{file} has the members {first_few(members)}; an npz in a plain folder holds one map")
        return read_npz(file, members, limits)[0]
    values = read_picture(file, limits)
    if values.ndim == 3 and not (values == values[..., :1]).all():
        raise InputError(
            f"{file} is a colour picture, not a map of scores; those cannot be read back from the colours of a heat "
            "map, so write the numbers themselves, as npy or floating-point TIFF"
        )
    return values[..., 0] if values.ndim == 3 else values


def _find_adeval(path: Path, limits: Limits) -> Found:
    """One pickle per category: image path -> (map, image score, path of the mask or None)."""

    @lru_cache(maxsize=1)
    def content_of(file: Path) -> dict[Any, tuple[Any, Any, Any]]:
        content = read_pickle(file, limits)
        is_right = isinstance(content, dict) and all(
            isinstance(place, str | bytes | PurePath)
            and isinstance(entry, tuple)
            and len(entry) == 3
            and isinstance(entry[0], np.ndarray)
            for place, entry in content.items()
        )
        if not is_right:
            raise InputError(f"{file} is not an ADEval pickle: a dict of image path -> (map, image score, mask path)")
        return content  # type: ignore[no-any-return]

    def maps_of(file: Path) -> list[FoundMap]:
        return [FoundMap(file, partial(_entry, file, place), as_text(place)) for place in content_of(file)]

    def _entry(file: Path, place: Any) -> Any:
        return content_of(file)[place][0]

    return found_in(path, (".pkl", ".pickle"), maps_of)


def _find_aupimo(path: Path, limits: Limits) -> Found:
    """``asmaps.pt`` of each category: a tensor of maps and the images' paths."""

    def maps_of(file: Path) -> list[FoundMap]:
        content = read_torch(file, limits)
        if not isinstance(content, dict) or not {"asmaps", "paths"} <= set(content):
            raise InputError(f"{file} is not an asmaps.pt: a dict of asmaps and paths")
        return paired(file, content["asmaps"], content["paths"])

    return found_in(path, (".pt",), maps_of)


class _Fields:
    """Stands in for anomalib's batch classes: keeps the fields and runs nothing."""


def _find_anomalib(path: Path, limits: Limits) -> Found:
    """What ``torch.save`` wrote of ``Engine.predict``, or an npz of the batches' fields."""
    if first_of(files_below(path), ".npz") is not None:
        return find_stacks(path, limits, maps=["anomaly_map"], places=["image_path"])

    def maps_of(file: Path) -> list[FoundMap]:
        batches = [_fields_of(batch) for batch in flattened([read_torch(file, limits, _anomalib_classes())])]
        if not all(map(_is_batch, batches)):
            raise InputError(f"{file} holds a batch without anomaly_map or image_path; save Engine.predict's result")
        return _maps_of_batches(file, batches)

    return found_in(path, _SAVED, maps_of)


def _fields_of(batch: Any) -> dict[Any, Any]:
    return batch if isinstance(batch, dict) else getattr(batch, "__dict__", {})


def _is_batch(fields: dict[Any, Any]) -> bool:
    return fields.get("anomaly_map") is not None and fields.get("image_path") is not None


def _maps_of_batches(file: Path, batches: Sequence[dict[Any, Any]]) -> list[FoundMap]:
    maps = []
    for fields in batches:
        stack = fields["anomaly_map"]
        if hasattr(stack, "reshape"):
            stack = stack.reshape(-1, *stack.shape[-2:])
        maps += paired(file, stack, list(flattened([fields["image_path"]])))
    return maps


def _are_batches_of_anomalib(files: Sequence[Path]) -> bool:
    saved = first_of(files, *_SAVED) if first_of(files, *_NUMBERS) is None else None
    return saved is not None and mentions(saved, b"anomaly_map", b"image_path")


def _find_torch(path: Path, limits: Limits) -> Found:
    """Maps by the paths of their images, batches, a stack per category, or a file per image, named like it."""
    root = path if path.is_dir() else path.parent

    def maps_of(file: Path) -> list[FoundMap]:
        content = read_torch(file, limits, _anomalib_classes())
        batches = [_fields_of(batch) for batch in flattened([content])]
        if batches and all(map(_is_batch, batches)):
            return _maps_of_batches(file, batches)
        if isinstance(content, dict) and content and all(map(_is_one_map, content.values())):
            return [FoundMap(file, partial(content.__getitem__, key), as_text(key), file.stem) for key in content]
        if _is_one_map(content):
            return [FoundMap(file, partial(read_torch, file, limits), file.relative_to(root).as_posix())]
        if stacked := maps_of_tensors(file, content):
            return stacked
        shape = f" of shape {tuple(content.shape)}" if hasattr(content, "shape") else ""
        raise InputError(
            f"{file} holds a {type(content).__name__}{shape}, which does not say which map is of which image; "
            "torch.save a dict of image path -> map, a list of dicts of anomaly_map and image_path, or a file per image"
        )

    return replace(found_in(path, _SAVED, maps_of, by_glob), is_order_assumed=True)


def _is_one_map(value: Any) -> bool:
    shape = getattr(value, "shape", ())
    return len(shape) >= 2 and sum(length != 1 for length in shape) <= 2


def _is_torch(files: Sequence[Path]) -> bool:
    """Whether there are files of torch, and no maps of numbers; pictures beside them may be maps and those a model."""
    saved = first_of(files, *_SAVED) if first_of(files, *_NUMBERS) is None else None
    if saved is None:
        return False
    return first_of(files, ".png") is None or any(mentions(saved, ending.encode()) for ending in IMAGE_SUFFIXES)


def _anomalib_classes() -> list[tuple[type, str]]:
    import torch

    names = ("anomalib.data.dataclasses.torch.image.ImageBatch", "anomalib.data.dataclasses.torch.image.ImageItem")
    tensors = ("torchvision.tv_tensors._mask.Mask", "torchvision.tv_tensors._image.Image")
    return [*((_Fields, name) for name in names), *((torch.Tensor, name) for name in tensors)]


def _named(name: str) -> Callable[[Sequence[Path]], bool]:
    return lambda files: any(file.name.lower() == name for file in files)


def _ends(*suffixes: str) -> Callable[[Sequence[Path]], bool]:
    return lambda files: first_of(files, *suffixes) is not None


PLAIN = Reader(
    key="plain",
    summary="npy, npz, tiff, csv or grey png files named like the images, in folders or with underscores",
    recognises=_ends(*_PLAIN),
    find=partial(_find_tree, suffixes=_PLAIN),
)
TORCH = Reader(
    key="torch",
    summary="torch.save of a dict of image path -> map, a stack per category, or a map per file named like its image",
    recognises=_is_torch,
    find=_find_torch,
)
STACK = Reader(
    key="stack",
    summary="npy or npz per category, named like it: (images, height, width), in sorted order or with paths",
    recognises=holds_stacks,
    find=find_bare_stacks,
)
_LAST = (STACK, TORCH, PLAIN)  # taken where no other fits
_OURS = (
    Reader(
        "uniad",
        "npz per image: filename, clsname, pred, mask (UniAD, HVQ-Trans, UniAS, DiAD)",
        holds_members("filename", "pred", "clsname"),
        _find_uniad,
    ),
    Reader(
        "mvtec_tiff",
        "MVTec's evaluation layout: <category>/test/<defect>/<image>.tiff",
        _is_mvtec_tree,
        partial(_find_tree, suffixes=(".tif", ".tiff")),
    ),
    Reader(
        "anomalib",
        "torch.save of Engine.predict's batches, or npz: anomaly_map, image_path",
        lambda files: holds_members("anomaly_map", "image_path")(files) or _are_batches_of_anomalib(files),
        _find_anomalib,
        is_clamped=True,
    ),
    Reader(
        "adeval", "pickle per category: image path -> (map, score, mask path)", _ends(".pkl", ".pickle"), _find_adeval
    ),
    Reader("aupimo", "asmaps.pt per category: asmaps, paths", _named("asmaps.pt"), _find_aupimo),
    STACK,
    TORCH,
    PLAIN,
)
