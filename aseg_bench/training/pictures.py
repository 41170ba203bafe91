"""A trained model on any folder of pictures: maps as TIFF, and overlays to look at.

<out>/maps/<picture>.tiff            the map, in the picture's own size
<out>/overlays/<picture>.png         the map over the picture, one scale for all pictures
<out>/level_<n>/<picture>.tiff       the maps of the levels, on request
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.files import make_folder, written_whole
from aseg_bench.images import HEAT, IMAGE_SUFFIXES, read_image
from aseg_bench.methods import Segmenter
from aseg_bench.progress import track
from aseg_bench.training.trained import TrainedModel

_OPACITY = 0.6


def find_pictures(paths: Sequence[Path]) -> dict[Path, Path]:
    """Pictures in files and folders, sorted, by the name that their results will have (without ending).

    Raises:
        InputError: a path does not exist, there is no picture, or two would have one name.
    """
    found: dict[Path, Path] = {}
    for root in paths:
        if not root.exists():
            raise InputError(f"there is no file or folder {root}")
        inside = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        for path in [root] if root.is_file() else inside:
            name = path.with_suffix("").relative_to(root.parent if root.is_file() else root)
            if name in found:
                raise InputError(f"{found[name]} and {path} would both become {name}.tiff; rename one")
            found[name] = path
    if not found:
        raise InputError(f"there is no picture in {', '.join(str(path) for path in paths)}")
    return found


def predict(
    checkpoint: Path,
    images: Sequence[Path],
    out: Path,
    *,
    levels: bool = False,
    device: str = "auto",
    quiet: bool = True,
) -> pd.DataFrame:
    """Write maps and overlays of pictures with a trained model; ``aseg-bench predict`` is this function.

    Args:
        checkpoint: of a training: ``RUN/training/METHOD/DATASET/checkpoint.pt``.
        images: pictures, or folders of them.
        out: folder of the results.
        levels: write the maps of the levels, too.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        quiet: no progress bars.

    Returns:
        One row per picture: ``image``, ``map`` (files) and ``highest_score``.

    Raises:
        InputError: there is no picture, one is unreadable, or the model has no levels.
        TrainingError: the checkpoint cannot be used, or there is no such device.
    """
    model: Segmenter = TrainedModel.from_checkpoint(checkpoint, device)
    pictures = find_pictures(images)
    make_folder(out)
    rows = []
    largest = 0.0
    for name, path in track(pictures.items(), "maps", len(pictures), quiet):
        image = read_image(path)
        by_level = model.level_maps([image])[0] if levels else ()  # first, as a model without levels refuses
        (scores,) = model.predict([image])
        _write(out / "maps" / f"{name}.tiff", scores)
        largest = max(largest, float(scores.max()))
        rows.append({"image": str(path), "map": str(out / "maps" / f"{name}.tiff"), "highest_score": scores.max()})
        for level, own in enumerate(by_level, start=1):
            _write(out / f"level_{level}" / f"{name}.tiff", own)
    for name, path in track(pictures.items(), "overlays", len(pictures), quiet):
        shares = tifffile.imread(out / "maps" / f"{name}.tiff") / (largest or 1)
        with written_whole(out / "overlays" / f"{name}.png") as temporary:
            Image.fromarray(overlay(read_image(path), shares)).save(temporary)
    return pd.DataFrame(rows)


def overlay(image: NDArray[np.uint8], scores: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour an image (height, width, 3) by scores (height, width) in [0, 1]; at zero the image shows unchanged."""
    heat = matplotlib.colormaps[HEAT](scores)[..., :3] * 255
    opacity = _OPACITY * np.sqrt(scores)[..., None]  # products of levels crowd near zero
    blended: NDArray[np.floating] = (1 - opacity) * image + opacity * heat
    return np.round(blended).astype(np.uint8)


def _write(path: Path, scores: NDArray[np.float32]) -> None:
    with written_whole(path) as temporary:
        tifffile.imwrite(temporary, scores)
