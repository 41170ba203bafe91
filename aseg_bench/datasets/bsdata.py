"""BSData, ball screw drives of Schlagenhauf et al.: a list of images, and polygons of those that show pitting."""

import json
from collections.abc import Sequence
from pathlib import Path

from aseg_bench.datasets.layout import existing_root, finished, select_categories
from aseg_bench.datasets.records import AS_USUAL, CategoryCounts, Dataset, Reading
from aseg_bench.datasets.unsplit import tested
from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name, same_text
from aseg_bench.records import GOOD, Sample

_LIST, _DEFECT = "image_data.json", "pitting"


def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images: those with polygons and every fifth of the others for the test, the rest to train on.

    Args:
        root: folder that holds ``image_data.json``, ``data`` and ``label``.
        categories: ``bsdata`` or None.
        reading: what is read, and how.

    Raises:
        InputError: the list is missing or damaged, or names a file that is not there.
    """
    root = existing_root("bsdata", root)
    select_categories(root, ["bsdata"], categories)
    file, problems = root / _LIST, list[str]()
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["images"]
        listed = {str(one["filename"]): one["annotations"] and str(one["annotations"]) for one in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {file} ({error}); it comes with the data set, and lists its images") from error
    if odd := [name for name in (*listed, *filter(None, listed.values())) if not is_folder_name(name)]:
        raise InputError(f"{file} lists {odd[0]!r}, which is not the name of a file")
    held = tested([name for name, label in listed.items() if label is None])
    samples = []
    for name, label in listed.items():
        image, truth = root / "data" / name, root / "label" / label if label else None
        problems += [
            f"{path} is listed in {_LIST} but missing" for path in (image, truth) if path and not path.is_file()
        ]
        split = "test" if truth or name in held else "train"
        defect, stem = _DEFECT if truth else GOOD, same_text(image.stem)
        samples.append(Sample("bsdata", "bsdata", split, defect, stem, image, truth, reading.bit_depth))
    return finished(root, samples, problems, reading.splits)


BSDATA = Dataset(
    key="bsdata",
    label="BSData",
    summary="Ball screw drives, photographed as they wear; polygons about their pitting are drawn as masks. It has no "
    "split for anomaly detection: all with pitting and every fifth of the 710 without a polygon, in the order of their "
    "names, are test images.",
    needs_root=True,
    find=find,
    homepage="https://github.com/2Obe/BSData",
    licence="CC BY-SA 4.0",
    citation="Schlagenhauf et al., Industrial Machine Tool Element Surface Defect Dataset, 2021, "
    "https://arxiv.org/abs/2103.13003",
    tree=f"{_LIST}\ndata/<stem>.jpg\nlabel/<stem>.json",
    marks=(_LIST, "label"),
    counts={"bsdata": CategoryCounts(568, 142, 394)},
)
