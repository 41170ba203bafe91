"""A trained model on any folder of pictures: maps as TIFF, and overlays to look at.

<out>/maps/<picture>.tiff            the map, in the picture's own size
<out>/overlays/<picture>.png         the map over the picture, one scale for all pictures
<out>/level_<n>/<picture>.tiff       the maps of the levels, on request
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.files import written_whole
from aseg_bench.images import IMAGE_SUFFIXES, read_image
from aseg_bench.methods import Segmenter
from aseg_bench.progress import track
from aseg_bench.reporting.figures.style import HEAT

_OPACITY = 0.6


def find_pictures(paths: Sequence[Path]) -> dict[Path, Path]:
    """Pictures in files and folders, sorted, by the name that their results shall have (without ending).

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
        raise InputError(f"no picture in {', '.join(str(path) for path in paths)}")
    return found


def picture_maps(model: Segmenter, paths: Sequence[Path], out: Path, levels: bool = False, quiet: bool = False) -> int:
    """Write maps and overlays of all pictures; with ``levels`` also the maps of the levels.

    Returns:
        How many pictures there were.

    Raises:
        InputError: no picture, an unreadable one, or a model without levels.
    """
    pictures = find_pictures(paths)
    largest = 0.0
    for name, path in track(pictures.items(), "maps", len(pictures), quiet):
        image = read_image(path)
        by_level = model.level_maps([image])[0] if levels else ()  # first, as a model without levels refuses
        (scores,) = model.predict([image])
        _write(out / "maps" / f"{name}.tiff", scores)
        largest = max(largest, float(scores.max()))
        for level, own in enumerate(by_level, start=1):
            _write(out / f"level_{level}" / f"{name}.tiff", own)
    for name, path in track(pictures.items(), "overlays", len(pictures), quiet):
        shares = tifffile.imread(out / "maps" / f"{name}.tiff") / (largest or 1)
        with written_whole(out / "overlays" / f"{name}.png") as temporary:
            Image.fromarray(overlay(read_image(path), shares)).save(temporary)
    return len(pictures)


def overlay(image: NDArray[np.uint8], scores: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour an image (height, width, 3) by scores (height, width) in [0, 1]; at nought the image shows unchanged."""
    heat = matplotlib.colormaps[HEAT](scores)[..., :3] * 255
    opacity = _OPACITY * np.sqrt(scores)[..., None]  # products of levels crowd near nought
    blended: NDArray[np.floating] = (1 - opacity) * image + opacity * heat
    return np.round(blended).astype(np.uint8)


def _write(path: Path, scores: NDArray[np.float32]) -> None:
    with written_whole(path) as temporary:
        tifffile.imwrite(temporary, scores)
