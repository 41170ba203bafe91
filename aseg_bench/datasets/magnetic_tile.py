"""The magnetic tile set of Huang et al.: a folder for each kind of defect, and masks beside the images."""

from collections.abc import Sequence
from pathlib import Path

from aseg_bench.datasets.layout import existing_root, finished, folders_in, images_in, select_categories
from aseg_bench.datasets.records import AS_USUAL, CategoryCounts, Dataset, Reading
from aseg_bench.datasets.unsplit import paired, tested
from aseg_bench.errors import InputError
from aseg_bench.files import same_text
from aseg_bench.records import GOOD, Sample

_PREFIX, _FREE = "MT_", "MT_Free"


def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images: those with a defect and every fifth of the others for the test, the rest to train on.

    Args:
        root: folder that holds ``MT_Free``, ``MT_Crack`` and others.
        categories: ``magnetic_tile`` or None.
        reading: what is read, and how.

    Raises:
        InputError: there are no such folders, or an image has no mask, or a mask no image.
    """
    root = existing_root("magnetic_tile", root)
    problems: list[str] = []
    select_categories(root, ["magnetic_tile"], categories)
    folders = [folder for folder in folders_in(root) if folder.name.startswith(_PREFIX)]
    if not folders:
        raise InputError(f"{root} holds no folders MT_Free, MT_Crack, ...; give the folder that holds them")
    samples = []
    for folder in folders:
        files = sorted(images_in(folder / "Imgs"))
        masks = {same_text(file.stem): file for file in files if file.suffix.lower() == ".png"}
        images = {same_text(file.stem): file for file in files if file.suffix.lower() != ".png"}
        is_free = folder.name == _FREE
        held = tested(images) if is_free else set()
        samples += [
            Sample(
                "magnetic_tile",
                "magnetic_tile",
                "train" if is_free and stem not in held else "test",
                GOOD if is_free else same_text(folder.name.removeprefix(_PREFIX).lower()),
                stem,
                image,
                None if is_free else mask,
                reading.bit_depth,
            )
            for stem, (image, mask) in paired(images, masks, "{stem}.png", problems).items()
        ]
    return finished(root, samples, problems, reading.splits)


MAGNETIC_TILE = Dataset(
    key="magnetic_tile",
    label="Magnetic tile",
    summary="Magnetic tiles with defects of five kinds. It has no split for anomaly detection: all with a defect and "
    "every fifth of the 952 others, in the order of their names, are test images.",
    needs_root=True,
    find=find,
    homepage="https://github.com/abin24/Magnetic-tile-defect-datasets.",
    citation="Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020, "
    "https://doi.org/10.1007/s00371-018-1588-5",
    tree="MT_<defect or Free>/Imgs/<stem>.jpg\nMT_<defect or Free>/Imgs/<stem>.png",
    marks=("MT_Free/Imgs",),
    counts={"magnetic_tile": CategoryCounts(762, 190, 392)},
)
