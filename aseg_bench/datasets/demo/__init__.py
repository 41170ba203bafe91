"""The embedded data set: real textures and drawn objects with injected defects, whose masks are exact by construction.

It is drawn once, in seconds, into a cache folder in the MVTec-AD layout, so that everybody can look at it.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from aseg_bench.datasets.demo.photographs import Split
from aseg_bench.datasets.demo.recipe import draw_picture, planned
from aseg_bench.datasets.layout import MVTEC_LAYOUT, find_in_layout
from aseg_bench.datasets.records import AS_USUAL, Dataset, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import CACHE_VARIABLE, cache_folder, written_whole
from aseg_bench.progress import track
from aseg_bench.records import GOOD, Sample

VERSION = "1"  # any changed picture needs a new version, and changes scores

_README = """\
The demo set of aseg-bench, version {version}: drawn by aseg_bench.datasets.demo, seed {seed}. Remove the folder and it
is drawn again. Layout: <category>/train/good, <category>/test/<defect or good>, <category>/ground_truth/<defect>;
a mask is 255 in exactly those pixels that the defect changed.

blister, circuit, gear and screw are drawn. The others are crops of photographs that scikit-image ships, all CC0 1.0:
  brick   https://cc0textures.com/view.php?tex=Bricks25
  grass   https://www.deviantart.com/linolafett/art/Grass-01-434853879
  gravel  https://cc0textures.com/view.php?tex=Gravel04
  retina  https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg (Mikael Häggström, 2014)
The set as a whole may be used under the same terms, CC0 1.0.
"""


def find(
    root: Path | None = None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL
) -> list[Sample]:
    """All images of the demo set, which is drawn first if it is not there yet.

    Args:
        root: must be None, as the set has its own place, ``demo_folder()``.
        categories: those wanted; None takes all.
        reading: what is read, and how.

    Returns:
        Train and test samples, sorted by category, split, defect and stem.

    Raises:
        InputError: a root is given, a category is unknown, the cache cannot be written, or files of it are missing.
    """
    if root is not None:
        raise InputError(f"the demo set takes no data root; to read {root}, choose the data set mvtec_ad or visa")
    folder = demo_folder()
    if not folder.is_dir():
        try:
            write_demo(folder)
        except OSError as error:
            raise InputError(f"cannot write the demo set to {folder} ({error}); set {CACHE_VARIABLE}") from error
    gone = [path for picture in planned() for path in _files(folder, *picture) if not path.is_file()]
    if gone:
        raise InputError(
            f"{len(gone)} files of the demo set are missing, the first is {gone[0]}; remove {folder} to draw it again"
        )
    return find_in_layout("demo", folder, categories, reading)


def demo_folder() -> Path:
    """Where the demo set is, in ``cache_folder()``."""
    return cache_folder() / f"demo-{VERSION}"


def write_demo(folder: Path, seed: int = 0) -> None:
    """Draw the whole set into a folder that does not exist yet.

    The folder appears complete or not at all. If another process is faster, its folder is kept.
    """
    try:
        with written_whole(folder) as temporary, ThreadPoolExecutor() as pool:
            pictures = list(planned())
            written = pool.map(lambda picture: _write_picture(temporary, seed, *picture), pictures)
            for _ in track(written, "drawing the demo set", len(pictures), quiet=not sys.stderr.isatty()):
                pass
            (temporary / "README.txt").write_text(_README.format(version=VERSION, seed=seed), encoding="utf-8")
    except OSError:
        if not folder.is_dir():
            raise


def _write_picture(folder: Path, seed: int, category: str, split: Split, defect: str, index: int) -> None:
    picture = draw_picture(category, split, defect, index, seed)
    layers = (picture.image, picture.mask.astype(np.uint8) * 255)
    for path, layer in zip(_files(folder, category, split, defect, index), layers, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(layer).save(path, compress_level=3)


def _files(folder: Path, category: str, split: Split, defect: str, index: int) -> Iterator[Path]:
    yield folder / category / split / defect / f"{index:03}.png"
    if defect != GOOD:
        yield folder / category / "ground_truth" / defect / f"{index:03}_mask.png"


DEMO = Dataset(
    key="demo",
    label="demo",
    summary="The embedded set: four textures from photographs and four drawn objects, 400 images with exact masks.",
    needs_root=False,
    find=find,
    licence="CC0 1.0, as the photographs have that scikit-image ships",
    layout=MVTEC_LAYOUT,
)
