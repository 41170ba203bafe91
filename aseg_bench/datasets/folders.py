"""Images of your own in folders: one of normal images, one of masks, and one for each kind of defect."""

from collections.abc import Sequence
from pathlib import Path

from aseg_bench.datasets.layout import existing_root, finished, folders_in, images_by_stem, images_in, select_categories
from aseg_bench.datasets.records import AS_USUAL, Dataset, Reading
from aseg_bench.datasets.unsplit import tested
from aseg_bench.errors import InputError
from aseg_bench.files import same_text
from aseg_bench.records import GOOD, NORMAL_NAMES, Sample

_MASKS = ("mask", "masks", "ground_truth", "gt", "label", "labels")
_SUFFIXES = ("_mask", "")


def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
    """All images: those with a defect and every fifth of the normal ones for the test, the rest to train on.

    Args:
        root: folder of the folders of a category, or of such folders.
        categories: those wanted; None takes all.
        reading: what is read, and how; its normal folder counts besides ``good``, ``normal``, ``ok`` and the like.

    Raises:
        InputError: there is no folder of normal images, an image has no mask, or a mask has no image.
    """
    root = existing_root("folders", root)
    here = [root] if _normal(root, reading) else [one for one in folders_in(root) if _normal(one, reading)]
    if not here:
        raise InputError(
            f"{root} holds no folder of normal images, named good, normal or ok; --normal-folder names one"
        )
    found = {same_text(folder.absolute().name): folder for folder in here}
    problems: list[str] = []
    samples: list[Sample] = []
    for category in select_categories(root, sorted(found), categories):
        samples += _samples(category, found[category], reading, problems)
    return finished(root, samples, problems, reading.splits)


def _normal(folder: Path, reading: Reading) -> list[Path]:
    names = {*NORMAL_NAMES, same_text(reading.normal_folder).casefold()}
    return [one for one in folders_in(folder) if same_text(one.name).casefold() in names]


def _samples(category: str, folder: Path, reading: Reading, problems: list[str]) -> list[Sample]:
    normal = _normal(folder, reading)
    truths = [one for one in folders_in(folder) if one.name.casefold() in _MASKS]
    images = images_by_stem(normal, problems)
    held = tested(images)
    samples = [
        Sample("folders", category, "test" if stem in held else "train", GOOD, stem, image, None, reading.bit_depth)
        for stem, image in images.items()
    ]
    for defect in (one for one in folders_in(folder) if one not in {*normal, *truths} and any(images_in(one))):
        masks = images_by_stem([one / defect.name for one in truths], problems)
        masks = masks or images_by_stem(truths, problems)
        for stem, image in images_by_stem([defect], problems).items():
            mask = next((masks[stem + suffix] for suffix in _SUFFIXES if stem + suffix in masks), None)
            if mask is None and not reading.image_level:
                expected = folder / (truths[0].name if truths else _MASKS[0]) / defect.name / f"{stem}_mask.png"
                problems.append(f"{image} has no mask; expected {expected} (--image-level takes it for image metrics)")
            samples.append(
                Sample(
                    "folders",
                    category,
                    "test",
                    same_text(defect.name),
                    stem,
                    image,
                    mask,
                    reading.bit_depth,
                    is_image_level=mask is None,
                )
            )
    used = {sample.mask_path for sample in samples}
    named = {path.name for path in normal}
    for place in truths:
        for inner in (place, *(one for one in folders_in(place) if one.name not in named)):
            problems += [f"{mask} has no image" for mask in sorted(images_in(inner)) if mask not in used]
    return samples


FOLDERS = Dataset(
    key="folders",
    label="Own images",
    summary="Images of your own without a split: a folder of normal images (good, normal, ok or --normal-folder), one "
    "of masks (mask, ground_truth, label), one for each kind of defect. Every fifth normal image, by the order of "
    "names, is a test image.",
    needs_root=True,
    find=find,
    tree="good/<stem>.<ending>\n<defect>/<stem>.<ending>\nmask/<defect>/<stem>_mask.<ending>",
)
