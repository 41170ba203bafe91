"""ViTAD (Zhang et al., CVIU 2025): a plain ViT decoder rebuilds a plain ViT's features; and the maps of all of ADer.

ADer writes ``tmp/<i>/<rank>.pth`` when it runs distributed, without the images' paths. To name them, add to the
trainer's ``test`` ``img_paths.append(self.img_path)`` and to its results ``img_paths=img_paths``. On a single device
save the concatenated results instead::

    np.savez("ader.npz", img_paths=np.concatenate(img_paths), **results)

Without paths the maps are scored with the masks in the same file, and no data set may be named.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from aseg_bench.errors import InputError
from aseg_bench.files import files_below
from aseg_bench.methods import MethodFacts, call
from aseg_bench.predictions.loading import as_text, check_count, flattened, mentions, read_torch
from aseg_bench.predictions.records import Found, FoundMap, Limits, Reader
from aseg_bench.predictions.stacks import find_stacks, first_of, found_in, holds_members

_BIBTEX = """\
@article{zhang2025vitad,
  title = {Exploring Plain {ViT} Features for Multi-class Unsupervised Visual Anomaly Detection},
  author = {Zhang, Jiangning and Chen, Xuhai and Wang, Yabiao and Wang, Chengjie and Liu, Yong and Li, Xiangtai
    and Yang, Ming-Hsuan and Tao, Dacheng},
  journal = {Computer Vision and Image Understanding},
  doi = {10.1016/j.cviu.2025.104308},
  year = {2025},
}
"""

METHOD = MethodFacts(
    name="vitad",
    label="ViTAD",
    venue="CVIU 2025",
    summary="a plain ViT teacher, and a ViT decoder that rebuilds its features",
    paper="https://arxiv.org/abs/2312.07495",
    licence="no licence file",
    bibtex=_BIBTEX,
    protocol="ader",
    reader="ader",
    published="ViTAD",
    dump=__doc__ or "",
    presets=partial(resolve_name, "baselines.vitad.settings:PRESETS"),
    build=partial(call, "baselines.vitad.model:make_method"),
    model=partial(call, "baselines.vitad.model:build_vitad", pretrained=False),
    official=partial(call, "baselines.vitad.model:load_official"),
    official_file="ADer's net.pth or ckpt.pth, with --preset paper",
)


def _recognises(files: Sequence[Path]) -> bool:
    ranks = [file for file in files if file.stem.isdecimal() and file.suffix.lower() == ".pth"]
    return (bool(ranks) and mentions(ranks[0], b"cls_names")) or holds_members("anomaly_maps", "cls_names")(files)


def _find(path: Path, limits: Limits) -> Found:
    if first_of(files_below(path), ".pth") is None:
        return find_stacks(
            path,
            limits,
            maps=["anomaly_maps"],
            places=["img_paths", "img_path"],
            categories=["cls_names"],
            masks=["imgs_masks"],
        )
    return found_in(path, (".pth",), lambda file: _maps_of(file, read_torch(file, limits)))


def _maps_of(file: Path, results: Any) -> list[FoundMap]:
    if not isinstance(results, dict) or not {"anomaly_maps", "cls_names", "imgs_masks"} <= set(results):
        raise InputError(f"{file} is not a result of ADer: a dict of anomaly_maps, cls_names and imgs_masks")
    maps, masks = _pictures(results["anomaly_maps"]), _pictures(results["imgs_masks"])
    names = [as_text(name) for name in _items(results["cls_names"])]
    paths = [as_text(name) for name in _items(results.get("img_paths", []))]
    if not len(maps) == len(masks) == len(names) or len(paths) not in (0, len(maps)):
        raise InputError(
            f"{file} has {len(maps)} maps, {len(masks)} masks, {len(names)} categories and {len(paths)} paths"
        )
    return [
        FoundMap(
            origin=file,
            read=partial(maps.__getitem__, index),
            place=paths[index] if paths else None,
            category=names[index],
            read_mask=partial(masks.__getitem__, index),
        )
        for index in range(len(maps))
    ]


def _pictures(batches: Any) -> list[Any]:
    """The pictures (height, width) of all batches, still as the file has them."""
    parts = batches if isinstance(batches, list | tuple) else [batches]
    if not all(hasattr(part, "reshape") for part in parts):
        raise InputError("maps or masks of a result of ADer are not arrays; write it again")
    check_count("a result of ADer", sum(prod(part.shape[:-2]) for part in parts))
    return [picture for part in parts for picture in part.reshape(-1, *part.shape[-2:])]


def _items(batches: Any) -> list[Any]:
    return list(flattened([batch.tolist() if hasattr(batch, "tolist") else batch for batch in batches]))


READER = Reader(
    key="ader",
    summary="rank .pth files or npz of the results: anomaly_maps, cls_names, imgs_masks, img_paths if added",
    recognises=_recognises,
    find=_find,
)
