"""VisA, as published (with ``split_csv/1cls.csv``) or reorganised into the MVTec-AD layout.

Both give the same sample names: normal images are ``good``, anomalous ones ``bad``. The masks of the published form
hold class indices from 1 up; those of the reorganised form hold 255.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from aseg_bench.datasets.layout import (
    MVTEC_LAYOUT,
    existing_root,
    find_in_layout,
    raise_problems,
    sample_order,
    select_categories,
)
from aseg_bench.datasets.records import AS_USUAL, CategoryCounts, Dataset, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name, same_text
from aseg_bench.records import GOOD, Sample

BAD = "bad"
SPLIT_FILE = Path("split_csv") / "1cls.csv"
_COLUMNS = ("object", "split", "label", "image", "mask")


def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images of VisA's one-class split.

    Args:
        root: the unpacked archive, with ``split_csv/1cls.csv`` in it, or a folder in the MVTec-AD layout.
        categories: those wanted; None takes all.
        reading: what is read, and how; the published form names its normal images itself.

    Returns:
        Train and test samples, sorted by category, split, defect and stem.

    Raises:
        InputError: the root, the split file, a category or a file that the split file names is missing, or the split
            file has a row with unknown words, without its mask, or twice.
    """
    root = existing_root("visa", root)
    split_file = root / SPLIT_FILE
    if not split_file.is_file():
        if any(root.glob("*/Data/Images")):
            raise InputError(f"{root} is VisA as published but {split_file} is missing; take it from VisA's repository")
        return find_in_layout("visa", root, categories, reading)
    with split_file.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        if not set(_COLUMNS) <= set(reader.fieldnames or ()):
            raise InputError(f"{split_file} must have the columns {', '.join(_COLUMNS)}; it has {reader.fieldnames}")
        rows = list(reader)
    objects = sorted({row["object"] for row in rows})
    strange = [name for name in objects if not is_folder_name(name)]
    raise_problems(split_file, [f"the object {name!r} is not a folder name; correct that column" for name in strange])
    chosen = select_categories(root, objects, categories)
    problems: list[str] = []
    samples = list(_samples(root, (row for row in rows if row["object"] in chosen), reading, problems))
    raise_problems(split_file, problems)
    return sorted(samples, key=sample_order)


def _samples(root: Path, rows: Iterator[Mapping[str, str]], reading: Reading, problems: list[str]) -> Iterator[Sample]:
    seen: set[str] = set()
    for row in rows:
        image = root / PurePosixPath(row["image"])
        mask = root / PurePosixPath(row["mask"]) if row["mask"] else None
        defect = GOOD if row["label"] == "normal" else BAD
        sample = Sample(
            "visa",
            row["object"],
            row["split"],
            defect,
            same_text(image.stem),
            image,
            None if defect == GOOD else mask,
            reading.bit_depth,
            is_image_level=defect == BAD and mask is None and reading.image_level,
        )
        if row["split"] not in {"train", "test"} or row["label"] not in {"normal", "anomaly"}:
            problems.append(f"{row['image']}: split {row['split']} or label {row['label']} is unknown")
        elif sample.is_anomalous and ((mask is None and not reading.image_level) or sample.split == "train"):
            problems.append(
                f"{row['image']} is anomalous but {'in train' if sample.split == 'train' else 'names no mask'}"
            )
        elif sample.name in seen:
            problems.append(f"{row['image']} is listed twice as {sample.name}")
        else:
            absent = [path for path in (image, sample.mask_path) if path is not None and not path.is_file()]
            problems += [f"{path} is listed but missing" for path in absent]
            seen.add(sample.name)
            yield sample


VISA = Dataset(
    key="visa",
    label="VisA",
    summary="VisA's one-class split, as published (split_csv/1cls.csv) or reorganised into the MVTec-AD layout.",
    needs_root=True,
    find=find,
    homepage="https://github.com/amazon-science/spot-diff",
    licence="CC BY 4.0",
    citation="Zou et al., SPot-the-Difference Self-supervised Pre-training for Anomaly Detection and Segmentation, "
    "ECCV 2022, https://arxiv.org/abs/2207.14315",
    tree="""\
split_csv/1cls.csv
<category>/Data/Images/Normal/<stem>.JPG
<category>/Data/Images/Anomaly/<stem>.JPG
<category>/Data/Masks/Anomaly/<stem>.png""",
    layout=MVTEC_LAYOUT,
    marks=("*/Data/Images",),
    counts={
        "candle": CategoryCounts(900, 100, 100),
        "capsules": CategoryCounts(542, 60, 100),
        "cashew": CategoryCounts(450, 50, 100),
        "chewinggum": CategoryCounts(453, 50, 100),
        "fryum": CategoryCounts(450, 50, 100),
        "macaroni1": CategoryCounts(900, 100, 100),
        "macaroni2": CategoryCounts(900, 100, 100),
        "pcb1": CategoryCounts(904, 100, 100),
        "pcb2": CategoryCounts(901, 100, 100),
        "pcb3": CategoryCounts(905, 101, 100),
        "pcb4": CategoryCounts(904, 101, 100),
        "pipe_fryum": CategoryCounts(450, 50, 100),
    },
)
