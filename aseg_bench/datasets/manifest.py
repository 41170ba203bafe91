"""Any images that a file lists: a CSV file or JSON lines, one row an image, with paths seen from the file."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aseg_bench.datasets.layout import finished, raise_problems, select_categories
from aseg_bench.datasets.records import AS_USUAL, SPLITS, VALIDATION, Dataset, Reading
from aseg_bench.errors import InputError, listed, near_matches
from aseg_bench.files import is_folder_name, same_text
from aseg_bench.records import GOOD, NORMAL_NAMES, Sample

COLUMNS = ("image", "mask", "category", "split", "defect", "label", "name")
# what UniAD's train.json and test.json call them
_OF_UNIAD = {"filename": "image", "maskname": "mask", "clsname": "category", "label_name": "defect"}
_SPLITS = (*SPLITS, VALIDATION)
_LABELS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}  # whether anomalous
_CATEGORY, _DEFECT = "images", "defect"  # where a file does not say
_LINES = frozenset({".json", ".jsonl", ".ndjson"})


def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images that a manifest lists.

    Args:
        root: the file, ``.csv`` or JSON lines.
        categories: those wanted; None takes all.
        reading: what is read, and how.

    Raises:
        InputError: the file cannot be read or has no column of images; or, all at once: columns are unknown, and rows
            name files that are missing, no split, a defect without a mask or in training, or an image twice.
    """
    if root is None or not root.is_file():
        what = f"{root} is not a file" if root else "a manifest is a file"
        raise InputError(f"{what}; name one with --data-root FILE: a CSV with a column image, or JSON lines")
    problems: list[str] = []
    rows = list(_rows(root, problems))
    keys = list(dict.fromkeys(key for _, row in rows for key in row))
    problems += [
        f"unknown column {key}; {near_matches(str(key), COLUMNS)}" for key in keys if key not in {*COLUMNS, *_OF_UNIAD}
    ]
    named = [(number, _renamed(row)) for number, row in rows]
    found = {row.get("category") or _CATEGORY for _, row in named}
    problems += [f"the category {name!r} is not the name of a folder" for name in found if not is_folder_name(name)]
    if not named and not problems:
        problems.append("no image is listed")
    if problems and not any(row.get("image") for _, row in named):
        raise_problems(root, problems)
    chosen = set(select_categories(root, sorted(map(same_text, found)), categories))
    samples = [
        sample
        for number, row in named
        if same_text(row.get("category") or _CATEGORY) in chosen
        for sample in _sample(root, number, row, reading, problems)
    ]
    seen: dict[Path, Sample] = {}
    for sample in samples:
        if sample.image_path in seen:
            problems.append(f"{sample.image_path} is listed twice")
        seen[sample.image_path] = sample
    read = {*SPLITS, *reading.splits}
    return [one for one in finished(root, [*seen.values()], problems, reading.splits) if one.split in read]


def _rows(file: Path, problems: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with the numbers of their lines."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file} ({error}); a manifest is a text in UTF-8") from error
    if file.suffix.lower() not in _LINES:
        yield from _cells(file, text, problems)
        return
    for number, line in enumerate(io.StringIO(text), 1):
        try:
            described = json.loads(line) if line.strip() else {}
        except ValueError:
            described = None
        if not isinstance(described, dict):
            problems.append(f"line {number} is not a JSON object; each line describes an image")
        elif described:
            yield number, described


def _cells(file: Path, text: str, problems: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restval="")
    try:
        for row in reader:
            if None in row:
                problems.append(f"line {reader.line_num} has more cells than the heading; put a comma in quotes")
            yield reader.line_num, {key: value for key, value in row.items() if key is not None}
    except csv.Error as error:
        raise InputError(f"cannot read {file}, line {reader.line_num} ({error}); a manifest is a CSV file") from error


def _renamed(row: Mapping[str, Any]) -> dict[str, str]:
    """A row with our names of columns, and without its empty cells."""
    texts = {_OF_UNIAD.get(key, key): str(value).strip() for key, value in row.items() if value is not None}
    return {key: value for key, value in texts.items() if value}


def _sample(file: Path, number: int, row: Mapping[str, str], reading: Reading, problems: list[str]) -> Iterator[Sample]:
    """The sample of a row, unless something is wrong with it."""
    if "image" not in row:
        problems.append(f"line {number} names no image")
        return
    image, mask = file.parent / row["image"], file.parent / row["mask"] if "mask" in row else None
    split = row.get("split", file.stem)  # train.json and test.json of UniAD
    split = VALIDATION if split == "val" else split
    is_bad = _LABELS.get(row["label"].casefold(), False) if "label" in row else mask is not None
    said = row.get("defect", _DEFECT if is_bad else GOOD)
    is_normal = said.casefold() in NORMAL_NAMES or same_text(said) == same_text(reading.normal_folder)
    defect = GOOD if is_normal else same_text(said)
    stem = same_text(row.get("name", image.stem))
    wrong = []
    if "label" in row and row["label"].casefold() not in _LABELS:
        wrong.append(f"the label {row['label']}, which is not 0 or 1, or false or true")
    elif "label" in row and is_bad == (defect == GOOD):
        wrong.append(f"the label {row['label']} with the defect {said}")
    if split not in _SPLITS:
        wrong.append(f"the split {split}; known: {', '.join(_SPLITS)}" if "split" in row else "no split")
    if defect != GOOD and split != "test":
        wrong.append(f"{defect} in {split}, which holds normal images alone")
    if defect != GOOD and mask is None and not reading.image_level:
        wrong.append(f"{defect} without a mask (--image-level takes it for image metrics)")
    wrong += [f"{text!r}, which is not the name of a file" for text in (defect, stem) if not is_folder_name(text)]
    problems += [f"line {number}, {row['image']}: {what}" for what in wrong]
    used = [image] if defect == GOOD or mask is None else [image, mask]
    problems += [f"line {number}: {path} is missing" for path in used if not path.exists()]
    category = same_text(row.get("category") or _CATEGORY)
    truth = None if defect == GOOD else mask
    if not wrong:
        yield Sample(
            "manifest",
            category,
            split,
            defect,
            stem,
            image,
            truth,
            reading.bit_depth,
            is_image_level=defect != GOOD and mask is None,
        )


MANIFEST = Dataset(
    key="manifest",
    label="Own images",
    summary=f"Images that a CSV file or JSON lines list in the columns {listed(COLUMNS)}, of which image and split "
    "must be there; also UniAD's train.json and test.json, which are splits by their names.",
    needs_root=True,
    find=find,
)
