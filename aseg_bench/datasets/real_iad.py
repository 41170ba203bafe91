"""Real-IAD: files in JSON, one for each category, say what every image shows and how the set is split."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aseg_bench.datasets.layout import existing_root, finished, folders_in, select_categories
from aseg_bench.datasets.records import AS_USUAL, SPLITS, Dataset, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name, same_text
from aseg_bench.records import GOOD, Sample

_JSONS, _IMAGES = "realiad_jsons", "realiad_"


def find(
    dataset: str, lists: str, root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL
) -> list[Sample]:
    """All images that the lists name.

    Args:
        dataset: key that the samples carry.
        lists: name of the folder of lists.
        root: folder that holds the lists and the images at one size, or the folder of images beside the lists.
        categories: those wanted; None takes all that have a list.
        reading: what is read, and how.

    Raises:
        InputError: there are no lists or no images, or images at several sizes; a list is damaged; or what it names is
            missing, shows a defect and has no mask or is to be trained on, or is named twice.
    """
    root = existing_root(dataset, root)
    folder, images = _places(root, lists)
    found = {same_text(file.stem): file for file in sorted(folder.glob("*.json"))}
    problems: list[str] = []
    samples: list[Sample] = []
    for category in select_categories(folder, sorted(found), categories):
        samples += _samples(dataset, category, found[category], images / category, reading, problems)
    return finished(root, samples, problems, reading.splits)


def _places(root: Path, lists: str) -> tuple[Path, Path]:
    """The folder of lists, which some archives have twice, one in the other; and that of the images."""
    sizes = [one for one in folders_in(root) if one.name.startswith(_IMAGES) and not one.name.startswith(_JSONS)]
    parent, images = (root.parent, root) if root.name.startswith(_IMAGES) else (root, sizes[0] if sizes else root)
    for folder in (parent / lists, parent / _JSONS / lists):
        if any(folder.glob("*.json")):
            if images == parent or len(sizes) > 1:
                names = ", ".join(one.name for one in sizes) or f"no folder {_IMAGES}<size>"
                raise InputError(
                    f"{root} holds {names}; give the one folder of images that is to be read, beside {_JSONS}"
                )
            return folder, images
    raise InputError(f"{parent} holds no folder {lists} with a list for each category; it comes with the data set")


def _samples(
    dataset: str, category: str, file: Path, folder: Path, reading: Reading, problems: list[str]
) -> Iterator[Sample]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        normal = content.get("meta", {}).get("normal_class", "OK")
        entries: list[tuple[str, Any]] = [(split, entry) for split in SPLITS for entry in content[split]]
        rows = [(split, one["image_path"], one.get("mask_path"), one["anomaly_class"]) for split, one in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"cannot read {file} ({type(error).__name__}: {error}); it lists train and test")
        return
    for split, image_path, mask_path, kind in rows:
        image, mask = folder / image_path, folder / mask_path if mask_path else None
        defect = GOOD if kind == normal else str(kind)
        if not is_folder_name(defect):
            problems.append(f"{file.name}: {image_path} shows {kind!r}, which is not the name of a folder")
        elif defect != GOOD and split == "train":
            problems.append(f"{file.name}: {image_path} is anomalous but in train")
        elif defect != GOOD and mask is None and not reading.image_level:
            problems.append(f"{file.name}: {image_path} is anomalous but names no mask")
        else:
            mask = None if defect == GOOD else mask
            problems += [
                f"{path} is listed but missing" for path in (image, mask) if path is not None and not path.is_file()
            ]
            yield Sample(
                dataset,
                category,
                split,
                defect,
                same_text(image.stem),
                image,
                mask,
                reading.bit_depth,
                is_image_level=defect != GOOD and mask is None,
            )


def _dataset(key: str, label: str, lists: str, summary: str) -> Dataset:
    return Dataset(
        key=key,
        label=label,
        summary=f"{summary} The split is its authors'.",
        needs_root=True,
        find=partial(find, key, lists),
        homepage="https://realiad4ad.github.io/Real-IAD/",
        licence="CC BY-NC-SA 4.0",
        citation="Wang et al., Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial Anomaly "
        "Detection, CVPR 2024, https://arxiv.org/abs/2403.12580",
        tree=f"{lists}/<category>.json\nrealiad_<size>/<category>/OK/<item>/<stem>.jpg\n"
        "realiad_<size>/<category>/NG/<defect>/<item>/<stem>.jpg\n"
        "realiad_<size>/<category>/NG/<defect>/<item>/<stem>_mask.png",
        marks=(f"{_JSONS}*",),
    )


REAL_IAD = _dataset("real_iad", "Real-IAD", _JSONS, "Thirty objects from five sides, each side an image of its own.")
REAL_IAD_SV = _dataset("real_iad_sv", "Real-IAD, single view", f"{_JSONS}_sv", "Thirty objects from one of five sides.")
