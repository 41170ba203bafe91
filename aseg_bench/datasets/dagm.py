"""DAGM 2007: drawn textures, of which an image shows a defect if it has a mask."""

from collections.abc import Sequence
from pathlib import Path

from aseg_bench.datasets.layout import existing_root, finished, folders_in, images_by_stem, select_categories
from aseg_bench.datasets.records import AS_USUAL, SPLITS, CategoryCounts, Dataset, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import same_text
from aseg_bench.records import GOOD, Sample

_DEFECT, _SUFFIX = "defect", "_label"


def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images but the training images with a defect, which nobody trains on here.

    Args:
        root: folder that holds ``Class1`` to ``Class10``.
        categories: those wanted; None takes all.
        reading: what is read, and how.

    Raises:
        InputError: there are no such folders, a mask has no image, a mask is missing that ``Label/Labels.txt`` names,
            or a category has no images of a split that is to be read.
    """
    root = existing_root("dagm", root)
    problems: list[str] = []
    found = {
        same_text(folder.name): folder
        for folder in folders_in(root)
        if any((folder / split.capitalize()).is_dir() for split in SPLITS)
    }
    if not found:
        raise InputError(f"{root} holds no folders Class1, Class2, ... with Train and Test inside; give their folder")
    samples = []
    for category in select_categories(root, sorted(found), categories):
        for split in SPLITS:
            folder = found[category] / split.capitalize()
            images, labels = images_by_stem([folder], problems), images_by_stem([folder / "Label"], problems)
            masks = {stem.removesuffix(_SUFFIX): path for stem, path in labels.items() if stem.endswith(_SUFFIX)}
            problems += [f"{mask} has no image in {folder}" for stem, mask in masks.items() if stem not in images]
            problems += [
                f"{folder / stem} has no mask; expected {folder / 'Label' / stem}{_SUFFIX}.PNG, as Labels.txt says"
                for stem in sorted(_listed(folder / "Label" / "Labels.txt") - masks.keys())
            ]
            samples += [
                Sample(
                    "dagm",
                    category,
                    split,
                    _DEFECT if stem in masks else GOOD,
                    stem,
                    image,
                    masks.get(stem),
                    reading.bit_depth,
                )
                for stem, image in images.items()
                if split == "test" or stem not in masks
            ]
    return finished(root, samples, problems, reading.splits)


def _listed(file: Path) -> set[str]:
    """Stems of the images whose masks a list of labels names."""
    if not file.is_file():
        return set()
    words = (Path(word).stem for word in file.read_text(encoding="utf-8", errors="replace").split())
    return {word.removesuffix(_SUFFIX) for word in words if word.endswith(_SUFFIX)}


DAGM = Dataset(
    key="dagm",
    label="DAGM 2007",
    summary="Ten drawn textures with defects, whose masks are ellipses about them. The split is its authors' without "
    "the 1,046 training images that show a defect.",
    needs_root=True,
    find=find,
    homepage="https://hci.iwr.uni-heidelberg.de/node/3616",
    citation="Wieler, Hahn and Hamprecht, Weakly Supervised Learning for Industrial Optical Inspection, 2007, "
    "https://zenodo.org/records/12750201",
    tree="Class<n>/<Train or Test>/<stem>.PNG\nClass<n>/<Train or Test>/Label/<stem>_label.PNG",
    marks=("Class1/Train/Label",),
    counts={
        "Class1": CategoryCounts(496, 504, 71),
        "Class2": CategoryCounts(509, 491, 84),
        "Class3": CategoryCounts(509, 491, 84),
        "Class4": CategoryCounts(493, 507, 68),
        "Class5": CategoryCounts(505, 495, 80),
        "Class6": CategoryCounts(492, 508, 67),
        "Class7": CategoryCounts(1000, 1000, 150),
        "Class8": CategoryCounts(1000, 1000, 150),
        "Class9": CategoryCounts(1000, 1000, 150),
        "Class10": CategoryCounts(1000, 1000, 150),
    },
)
