"""KolektorSDD and KolektorSDD2: every image has a mask beside it, which is black where the surface is sound."""

import re
from collections.abc import Sequence
from pathlib import Path

from aseg_bench.datasets.layout import existing_root, finished, folders_in, images_by_stem, select_categories
from aseg_bench.datasets.records import AS_USUAL, SPLITS, CategoryCounts, Dataset, Reading
from aseg_bench.datasets.unsplit import marked, paired, tested
from aseg_bench.errors import InputError
from aseg_bench.files import same_text
from aseg_bench.records import GOOD, Sample

_DEFECT = "defect"
_MASK_1, _MASK_2 = re.compile(r"(.+)_label"), re.compile(r"(.+)_GT")
_COPY = re.compile(r".+_GT\(\d+\)")  # a mask that a browser has saved twice


def find_1(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images of KolektorSDD: those with a defect and every fifth of the others for the test, the rest to train on.

    Args:
        root: folder of the items' folders, ``kos01`` to ``kos50``.
        categories: ``kolektor_sdd`` or None.
        reading: what is read, and how.

    Raises:
        InputError: there are no such folders, or an image has no mask, a mask no image, or a mask cannot be read.
    """
    root = existing_root("kolektor_sdd", root)
    problems: list[str] = []
    select_categories(root, ["kolektor_sdd"], categories)
    items = [folder for folder in folders_in(root) if re.fullmatch(r"kos\d+", folder.name)]
    if not items:
        raise InputError(f"{root} holds no folders kos01, kos02, ...; give the folder that holds them")
    pairs = {
        f"{item.name}_{stem}": pair
        for item in items
        for stem, pair in _pairs(item, _MASK_1, "{stem}_label.bmp", problems).items()
    }
    is_marked = marked([mask for _, mask in pairs.values()], problems)
    held = tested([stem for stem, (_, mask) in pairs.items() if not is_marked[mask]])
    samples = [
        _sample(
            "kolektor_sdd",
            "test" if is_marked[mask] or stem in held else "train",
            stem,
            image,
            mask,
            is_marked[mask],
            reading,
        )
        for stem, (image, mask) in pairs.items()
    ]
    return finished(root, samples, problems, reading.splits)


def find_2(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images of KolektorSDD2 but the training images with a defect, which nobody trains on here.

    Args:
        root: folder that holds ``train`` and ``test``.
        categories: ``kolektor_sdd2`` or None.
        reading: what is read, and how.

    Raises:
        InputError: the folders are not there, or an image has no mask, a mask no image, or a mask cannot be read.
    """
    root = existing_root("kolektor_sdd2", root)
    problems: list[str] = []
    select_categories(root, ["kolektor_sdd2"], categories)
    samples = []
    for split in SPLITS:
        pairs = _pairs(root / split, _MASK_2, "{stem}_GT.png", problems)
        is_marked = marked([mask for _, mask in pairs.values()], problems)
        samples += [
            _sample("kolektor_sdd2", split, stem, image, mask, is_marked[mask], reading)
            for stem, (image, mask) in pairs.items()
            if split == "test" or not is_marked[mask]
        ]
    if not samples and not problems:
        raise InputError(f"{root} holds no images in train and test; give the folder that holds them")
    return finished(root, samples, problems, reading.splits)


def _pairs(folder: Path, name: re.Pattern[str], expected: str, problems: list[str]) -> dict[str, tuple[Path, Path]]:
    found = images_by_stem([folder], problems)
    masks = {match[1]: path for stem, path in found.items() if (match := name.fullmatch(stem))}
    images = {stem: path for stem, path in found.items() if not name.fullmatch(stem) and not _COPY.fullmatch(stem)}
    return paired(images, masks, expected, problems)


def _sample(dataset: str, split: str, stem: str, image: Path, mask: Path, is_marked: bool, reading: Reading) -> Sample:
    defect, truth = (_DEFECT, mask) if is_marked else (GOOD, None)
    return Sample(dataset, dataset, split, defect, same_text(stem), image, truth, reading.bit_depth)


KOLEKTOR_SDD = Dataset(
    key="kolektor_sdd",
    label="KolektorSDD",
    summary="399 surfaces of 50 commutators, 52 with a crack. It has no split for anomaly detection: all with a crack "
    "and every fifth of the others, in the order of their names, are test images.",
    needs_root=True,
    find=find_1,
    homepage="https://www.vicos.si/resources/kolektorsdd/",
    licence="CC BY-NC-SA 4.0",
    citation="Tabernik et al., Segmentation-based deep-learning approach for surface-defect detection, Journal of "
    "Intelligent Manufacturing 2020, https://doi.org/10.1007/s10845-019-01476-x",
    tree="kos<item>/<stem>.jpg\nkos<item>/<stem>_label.bmp",
    marks=("kos01",),
)

KOLEKTOR_SDD2 = Dataset(
    key="kolektor_sdd2",
    label="KolektorSDD2",
    summary="Surfaces of one product. The split is its authors' without the 246 training images that show a defect, "
    "as in DSR (https://arxiv.org/abs/2208.01521).",
    needs_root=True,
    find=find_2,
    homepage="https://www.vicos.si/resources/kolektorsdd2/",
    licence="CC BY-NC-SA 4.0",
    citation="Bozic et al., Mixed supervision for surface-defect detection: from weakly to fully supervised learning, "
    "Computers in Industry 2021, https://doi.org/10.1016/j.compind.2021.103459",
    tree="train/<stem>.png\ntrain/<stem>_GT.png\ntest/<stem>.png\ntest/<stem>_GT.png",
    marks=("test/*_GT.png",),
    counts={"kolektor_sdd2": CategoryCounts(2085, 894, 110)},
)
