"""What the server of MVTec AD 2 takes, by the rules of MVTec's code for submissions: names, numbers, types and values.

<folder>/anomaly_images/<object>/<split>/<stem>.tiff              float16, one channel
<folder>/anomaly_images_thresholded/<object>/<split>/<stem>.png   one channel, 255 where anomalous, else 0
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from aseg_bench.errors import InputError, first_few
from aseg_bench.files import in_threads, reading

SCORES, CALLED = "anomaly_images", "anomaly_images_thresholded"
ENDINGS = {SCORES: ".tiff", CALLED: ".png"}
SPLITS = {"test_private": "regular", "test_private_mixed": "mixed"}  # with what the stems of their images end
N_IMAGES: Mapping[str, int] = {  # of each object, in either split
    "can": 321,
    "fabric": 314,
    "fruit_jelly": 255,
    "rice": 277,
    "sheet_metal": 142,
    "vial": 276,
    "wallplugs": 232,
    "walnuts": 228,
}
Sizes = Mapping[tuple[str, str, str], tuple[int, int]]  # height and width of an image by object, split and stem


def stems_of(n_images: int, split: str) -> list[str]:
    """The stems of the images of a split, for instance ``000_regular``."""
    return [f"{number:03}_{SPLITS[split]}" for number in range(n_images)]


def check_submission(folder: Path, n_images: Mapping[str, int] = N_IMAGES, sizes: Sizes | None = None) -> list[str]:
    """All that the server would refuse of a folder, one sentence for each kind and place; empty where it is fine.

    Args:
        folder: of the submission.
        n_images: images of each object, in either split; those of the published set by default.
        sizes: of the images, where they are at hand: what is submitted must have them.

    Raises:
        InputError: the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; write one with `aseg-bench submit mvtec_ad_2 RUN --out FOLDER`")
    problems = _differing(folder, set(ENDINGS), "folders")
    files: list[tuple[Path, tuple[str, str, str]]] = []
    for kind, ending in ENDINGS.items():
        if not (folder / kind).is_dir():
            continue
        problems += _differing(folder / kind, set(n_images), "objects")
        for name, n in n_images.items():
            if not (folder / kind / name).is_dir():
                continue
            problems += _differing(folder / kind / name, set(SPLITS), "splits")
            for split in SPLITS:
                place = folder / kind / name / split
                if place.is_dir():
                    stems = stems_of(n, split)
                    problems += _differing(place, {stem + ending for stem in stems}, "images")
                    files += [(place / (stem + ending), (name, split, stem)) for stem in stems]
    there = [(file, key) for file, key in files if file.is_file()]
    faults = in_threads(lambda one: _fault(one[0], one[1], sizes), there)
    by_fault: dict[str, list[str]] = {}
    for (file, _), fault in zip(there, faults, strict=True):
        if fault:
            by_fault.setdefault(fault, []).append(str(file.relative_to(folder)))
    return [*problems, *(f"{len(names)} files {fault}, first {names[0]}" for fault, names in by_fault.items())]


def _differing(folder: Path, wanted: set[str], what: str) -> list[str]:
    found = {path.name for path in folder.iterdir()}
    return [
        f"{folder} {verb} {len(names)} {of}: {first_few(sorted(names))}"
        for verb, names, of in (
            ("lacks", wanted - found, what),
            ("has", found - wanted, "files or folders too many"),
        )
        if names
    ]


def _fault(file: Path, key: tuple[str, str, str], sizes: Sizes | None) -> str:
    if sizes is not None and key not in sizes:
        return "are of no image of the data set"
    try:
        with reading(file):
            if file.suffix == ENDINGS[SCORES]:
                image = tifffile.imread(file)
                if image.dtype != np.float16:
                    return f"are {image.dtype}, not float16"
            else:
                image = np.asarray(Image.open(file))
    except InputError:
        return "cannot be read"
    if image.ndim != 2:
        return "have several channels, not one"
    if image.dtype == np.float16 and not np.isfinite(image).all():
        return "hold scores that are not finite"
    if file.suffix == ENDINGS[CALLED] and not np.isin(image, (0, 255)).all():
        return "hold other values than 0 and 255"
    return "have another size than their image" if sizes is not None and image.shape != sizes[key] else ""
