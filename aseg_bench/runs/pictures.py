"""A trained model on any folder of pictures: maps, what of them is anomalous, and overlays to look at.

<out>/predictions.csv                one row per picture
<out>/maps/<picture>.tiff            the map, in the picture's own size
<out>/overlays/<picture>.png         the map over the picture, one scale for all pictures
<out>/level_<n>/<picture>.tiff       the maps of the levels, on request
<out>/masks/<picture>.png            255 where the score is above the threshold, else 0; this and the next, with one
<out>/regions.csv                    one row per region of the masks
<out>/predictions.json               the regions as COCO has them
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.datasets.layout import raise_problems
from aseg_bench.errors import InputError
from aseg_bench.files import files_below, is_utf8, written_whole
from aseg_bench.images import HEAT, IMAGE_SUFFIXES, check_complete, image_size, read_image
from aseg_bench.methods import Segmenter
from aseg_bench.metrics.thresholds import ThresholdRule, threshold_of
from aseg_bench.progress import track
from aseg_bench.remote import here
from aseg_bench.runs.lock import holding
from aseg_bench.runs.normal import bit_depth_of, check_not_trained_on, kept_threshold, normal_images, rule_named
from aseg_bench.runs.regions import Region, coco, regions_of

PASSED_OVER = "passed_over"  # in the attrs of the table
_OPACITY = 0.6
_COLUMNS = ("image", "map", "image_score", "threshold", "anomalous_pixels", "anomalous_area", "n_regions")
_REGION_COLUMNS = ("image", "x", "y", "width", "height", "area", "highest_score")


def find_pictures(paths: Sequence[Path], out: Path | None = None) -> tuple[dict[Path, Path], list[Path]]:
    """Pictures in files and folders, by the name that their results will have; and what is not one.

    The name is without ending, unless two pictures of a folder differ in nothing else: then theirs keep it.

    Args:
        paths: files and folders, or their URLs.
        out: folder of results, from which none is taken for a picture.

    Raises:
        InputError: a path does not exist, there is no picture, or two would have one name.
    """
    pictures: list[tuple[Path, Path]] = []
    others: list[Path] = []
    for root in map(here, paths):
        for path in files_below(root):
            if out is not None and root.is_dir() and _is_result(path, out):
                continue
            if root.is_dir() and path.suffix.lower() not in IMAGE_SUFFIXES:
                others.append(path)
            else:
                pictures.append((path.relative_to(root if root.is_dir() else root.parent), path))
    n_named = Counter(name.with_suffix("") for name, _ in pictures)
    found: dict[Path, Path] = {}
    for name, path in pictures:
        of_results = name if n_named[name.with_suffix("")] > 1 else name.with_suffix("")
        if of_results in found:
            raise InputError(f"{found[of_results]} and {path} would both become {of_results}.tiff; rename one")
        found[of_results] = path
    if not found:
        raise InputError(f"there is no picture in {', '.join(str(path) for path in paths)}")
    return found, others


def _is_result(path: Path, out: Path) -> bool:
    """Whether a picture is one that an earlier ``predict`` has written there."""
    if not path.resolve().is_relative_to(out.resolve()):
        return False
    folder = path.resolve().relative_to(out.resolve()).parts[0]
    return folder in {"maps", "overlays", "masks"} or folder.startswith("level_")


@holding
def predict(
    checkpoint: Path,
    images: Sequence[Path],
    out: Path,
    *,
    threshold: float | None = None,
    threshold_from: str | None = None,
    normal: Sequence[Path] = (),
    bit_depth: int | None = None,
    levels: bool = False,
    device: str = "auto",
    quiet: bool = True,
) -> pd.DataFrame:
    """Write maps and overlays of pictures with a trained model; ``aseg-bench predict`` is this function.

    With a threshold, pixels that score above it are anomalous, and masks and regions are written as well.

    Args:
        checkpoint: of a training: ``RUN/training/METHOD/DATASET/checkpoint.pt``.
        images: pictures, or folders of them, or their URLs.
        out: folder of the results.
        threshold: of the scores.
        threshold_from: ``run`` takes the threshold that the checkpoint's run has found for all categories together, as
            nobody says what a picture shows, ``run:CATEGORY`` that of one; ``normal:RULE``, with a key of
            ``THRESHOLDS``, or ``normal:0.999``, this quantile, finds it on normal pictures. None takes that of the
            run where it has one.
        normal: these, or folders of them, none of which the model was trained on; without any, the normal test images
            of the run in which the checkpoint lies.
        bit_depth: of the camera, where pictures of 16 bits hold fewer; None takes that of the checkpoint's run.
        levels: write the maps of the levels, too.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        quiet: no progress bars.

    Returns:
        What ``predictions.csv`` has, one row per picture, with ``image``, ``map`` (files), ``image_score`` (the
        highest), ``threshold``, ``anomalous_pixels``, ``anomalous_area`` (their share) and ``n_regions``; the last four
        are None without a threshold. ``attrs["passed_over"]`` lists the files in the folders that are not pictures.

    Raises:
        InputError: there is no picture, some are unreadable (all are named, before the work as far as their headers
            tell; else the results of the others are written first), the model has no levels, or the threshold cannot
            be used.
        TrainingError: the checkpoint cannot be used, or there is no such device.
    """
    from aseg_bench.training.trained import TrainedModel  # torch loads when a model is used

    rule, threshold = _chosen(checkpoint, threshold, threshold_from, normal)
    model: Segmenter = TrainedModel.from_checkpoint(checkpoint, device)
    pictures, others = find_pictures(images, out)
    known = [*find_pictures(normal)[0].values()] if normal else normal_images(checkpoint) if rule is not None else []
    if normal:
        check_not_trained_on(checkpoint, known)
    _check([*pictures.values(), *known])
    depth = bit_depth_of(checkpoint) if bit_depth is None else bit_depth
    if rule is not None:
        maps = (model.predict([read_image(path, depth)])[0] for path in known)
        n_scores = sum(math.prod(image_size(path)) for path in known)
        threshold = threshold_of(track(maps, "normal pictures", len(known), quiet), n_scores, rule)
    rows: list[dict[str, Any]] = []
    regions: dict[str, tuple[tuple[int, int], list[Region]]] = {}
    problems = []
    for name, path in track(pictures.items(), "maps", len(pictures), quiet):
        try:
            image = read_image(path, depth)
        except InputError as error:  # in spite of its header; the others are not lost
            problems.append(str(error))
            continue
        by_level = model.level_maps([image])[0] if levels else ()  # first, as a model without levels refuses
        (scores,) = model.predict([image])
        row = {"image": str(path), "map": str(_write(out / "maps", name, scores)), "image_score": float(scores.max())}
        for level, own in enumerate(by_level, start=1):
            _write(out / f"level_{level}", name, own)
        if threshold is not None:
            mask = scores.astype(np.float64) > threshold
            _write_picture(out / "masks", name, mask.astype(np.uint8) * 255)
            found = regions_of(scores, mask)
            regions[str(path)] = (scores.shape[0], scores.shape[1]), found
            row |= {"threshold": threshold, "anomalous_pixels": int(mask.sum()), "anomalous_area": float(mask.mean())}
            row["n_regions"] = len(found)
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(object).where(lambda cells: cells.notna(), None)
    _write_tables(out, table, regions if threshold is not None else None)
    _draw(out, depth, {name: path for name, path in pictures.items() if str(path) in set(table["image"])}, table, quiet)
    raise_problems("the pictures; the results of all others are written", problems)
    table.attrs[PASSED_OVER] = [str(path) for path in others]
    return table


def _chosen(
    checkpoint: Path, threshold: float | None, threshold_from: str | None, normal: Sequence[Path]
) -> tuple[ThresholdRule | None, float | None]:
    """The rule by which normal pictures will give the threshold, or the threshold; neither where there is none."""
    if threshold is not None and threshold_from is not None:
        raise InputError(f"--threshold {threshold} and --threshold-from {threshold_from} exclude each other; give one")
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"--threshold {threshold} is not a score; give a finite number")
    kind, _, category = (threshold_from or "run").partition(":")
    if normal and (threshold_from is None or kind == "run"):
        raise InputError("--normal is for --threshold-from; give --threshold-from normal:0.999, too, or leave it out")
    if threshold is not None:
        return None, threshold
    if threshold_from is not None and kind != "run":
        return rule_named(threshold_from), None
    kept = kept_threshold(checkpoint, category)
    if kept is None and threshold_from is not None:
        raise InputError(
            f"the run of {checkpoint} has found no threshold: run it again with --threshold RULE, or give normal "
            "pictures with --threshold-from normal:RULE --normal FOLDER"
        )
    return None, kept


def _check(paths: Sequence[Path]) -> None:
    """Find all pictures that will not be readable, as far as their headers tell."""

    def problem(path: Path) -> str | None:
        if not is_utf8(str(path)):
            return f"the name of {path} is not UTF-8; rename it"
        try:
            check_complete(path)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        raise_problems("the pictures", [found for found in pool.map(problem, paths) if found])


def overlay(image: NDArray[np.uint8], scores: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour an image (height, width, 3) by scores (height, width) in [0, 1]; at zero the image shows unchanged."""
    heat = matplotlib.colormaps[HEAT](scores)[..., :3] * 255
    opacity = _OPACITY * np.sqrt(scores)[..., None]  # products of levels crowd near zero
    blended: NDArray[np.floating] = (1 - opacity) * image + opacity * heat
    return np.round(blended).astype(np.uint8)


def _draw(out: Path, depth: int, pictures: dict[Path, Path], table: pd.DataFrame, quiet: bool) -> None:
    largest = max(table["image_score"], default=0)
    for name, path in track(pictures.items(), "overlays", len(pictures), quiet):
        shares = tifffile.imread(out / "maps" / f"{name}.tiff") / (largest or 1)
        _write_picture(out / "overlays", name, overlay(read_image(path, depth), shares))


def _write(folder: Path, name: Path, scores: NDArray[np.float32]) -> Path:
    path = folder / f"{name}.tiff"
    with written_whole(path) as temporary:
        tifffile.imwrite(temporary, scores)
    return path


def _write_picture(folder: Path, name: Path, pixels: NDArray[np.uint8]) -> None:
    with written_whole(folder / f"{name}.png") as temporary:
        Image.fromarray(pixels).save(temporary)


def _write_tables(
    out: Path, table: pd.DataFrame, regions: dict[str, tuple[tuple[int, int], list[Region]]] | None
) -> None:
    with written_whole(out / "predictions.csv") as temporary:
        table.to_csv(temporary, index=False)
    if regions is None:  # an older table would pass for one of these pictures
        (out / "regions.csv").unlink(missing_ok=True)
        (out / "predictions.json").unlink(missing_ok=True)
        return
    rows = chain.from_iterable(
        ({"image": name, **vars(region)} for region in found) for name, (_, found) in regions.items()
    )
    with written_whole(out / "regions.csv") as temporary:
        pd.DataFrame(list(rows), columns=list(_REGION_COLUMNS)).to_csv(temporary, index=False)
    with written_whole(out / "predictions.json") as temporary:
        temporary.write_text(json.dumps(coco(regions)) + "\n", encoding="utf-8")
