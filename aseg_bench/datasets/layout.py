"""The MVTec-AD layout: that of MVTec-AD itself, of reorganised VisA and of most custom sets.

    <root>/<category>/train/good/<stem>.<ending>
    <root>/<category>/test/<defect or good>/<stem>.<ending>
    <root>/<category>/ground_truth/<defect>/<stem>_mask.<ending>      (or without _mask)

Files are paired by name, in any form of Unicode. What is hidden, or left there by systems and viewers, does not count.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from aseg_bench.datasets.records import AS_USUAL, Reading
from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import is_left_by_others, is_utf8, same_text
from aseg_bench.images import IMAGE_SUFFIXES
from aseg_bench.records import GOOD, MEAN, NORMAL_NAMES, Sample

_N_SHOWN = 5


def find_in_layout(
    dataset: str, root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL
) -> list[Sample]:
    """All images below a root in the MVTec-AD layout.

    Args:
        dataset: key that the samples carry.
        root: folder of category folders.
        categories: those wanted, in any order; None takes all that are there.
        reading: what is read, and how.

    Returns:
        Train and test samples, sorted by category, split, defect and stem.

    Raises:
        InputError: the root or a category does not exist, an image has no mask, a mask has no image, two files have
            one stem, a name is not UTF-8, or a category has no images of a split that is to be read; all such problems
            at once.
    """
    root = existing_root(dataset, root)
    problems: list[str] = []
    found = _by_name([folder for folder in folders_in(root) if _is_category(folder)], problems)
    if not found:
        raise InputError(f"{root} holds no category folders with train/good and test inside; {_what_it_may_be(root)}")
    samples: list[Sample] = []
    for category in select_categories(root, sorted(found), categories):
        samples += _category_samples(dataset, found[category], reading, problems)
    strange = [sample.image_path for sample in samples if not is_utf8(sample.name)]
    problems += [f"the name of {path} is not UTF-8; rename it" for path in strange]
    named = {same_text(sample.image_path.parent.name) for sample in samples if not sample.is_anomalous}
    if same_text(reading.normal_folder) not in {GOOD, *named} and not problems:
        problems.append(f"no normal image lies in a folder {reading.normal_folder}, which --normal-folder names")
    raise_problems(root, problems)
    return sorted(samples, key=sample_order)


def sample_order(sample: Sample) -> tuple[str, str, str, str]:
    """The key by which every data set is sorted."""
    return sample.category, sample.split, sample.defect, sample.stem


def existing_root(dataset: str, root: Path | None) -> Path:
    """The root, if it is a folder.

    Raises:
        InputError: no root is given, or the root is not a folder.
    """
    if root is None:
        raise InputError(f"the data set {dataset} needs a data root: the folder that holds its category folders")
    if not root.is_dir():
        raise InputError(f"the data root {root} {'is a file' if root.exists() else 'does not exist'}; name a folder")
    return root


def select_categories(root: Path, found: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """The wanted categories among those found, sorted; None wants all.

    Raises:
        InputError: a wanted category does not exist, the list is empty, or a category is named ``mean``.
    """
    if MEAN in found and (wanted is None or MEAN in wanted):
        raise InputError(
            f"a category of {root} is named {MEAN}, which is the name of the mean over all categories; rename it"
        )
    if wanted is None:
        return sorted(found)
    wanted = [same_text(category) for category in wanted]
    for category in wanted:
        if category not in found:
            raise InputError(f"no category {category} in {root}; {near_matches(category, found)}")
    if not wanted:
        raise InputError(f"no category chosen; {root} holds {', '.join(found)}")
    return sorted(set(wanted))


def raise_problems(where: Path | str, problems: Sequence[str]) -> None:
    """Raise one InputError with the count and the first few of the problems; return if there are none."""
    if not problems:
        return
    shown = "".join(f"\n  {problem}" for problem in problems[:_N_SHOWN])
    rest = len(problems) - _N_SHOWN
    more = f"\n  and {rest} more" if rest > 0 else ""
    raise InputError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {where}:{shown}{more}")


def _category_samples(dataset: str, folder: Path, reading: Reading, problems: list[str]) -> Iterator[Sample]:
    normal = {GOOD, same_text(reading.normal_folder)}
    in_train, in_test, in_truth = (
        _by_name(folders_in(folder / part), problems) for part in ("train", "test", "ground_truth")
    )
    sample = partial(Sample, dataset, same_text(folder.name), bit_depth=reading.bit_depth)
    train, test = (
        _images_by_stem([of_split[name] for name in of_split.keys() & normal], problems)
        for of_split in (in_train, in_test)
    )
    for stem, image in train.items():
        yield sample("train", GOOD, stem, image)
    for stem, image in test.items():
        yield sample("test", GOOD, stem, image)
    problems += [
        f"{other} is not training data; train may hold only {GOOD}{_or_normal(other)}"
        for name, other in in_train.items()
        if name not in normal and any(images_in(other))
    ]
    if not train and "train" in reading.splits:
        problems.append(f"{folder / 'train' / GOOD} holds no images; training needs normal images there")
    defects, truths = ({name: of[name] for name in of if name not in normal} for of in (in_test, in_truth))
    if not test and (others := [path for path in defects.values() if _or_normal(path)]):
        problems += [f"{folder / 'test'} has no folder {GOOD}{_or_normal(path)}" for path in others]
        return
    if not test and not any(map(any, map(images_in, defects.values()))) and "test" in reading.splits:
        problems.append(f"{folder / 'test'} holds no images; there is nothing to score")
    for defect in sorted(defects.keys() | truths.keys()):
        images = _images_by_stem([defects[defect]] if defect in defects else [], problems)
        masks = _images_by_stem([truths[defect]] if defect in truths else [], problems)
        for stem, image in images.items():
            candidates = [masks.pop(name) for name in (f"{stem}_mask", stem) if name in masks]
            if len(candidates) > 1:
                problems.append(f"{image} has two masks, {' and '.join(path.name for path in candidates)}; keep one")
            elif candidates or reading.image_level:
                yield sample(
                    "test", defect, stem, image, candidates[0] if candidates else None, is_image_level=not candidates
                )
            else:
                expected = folder / "ground_truth" / defect / f"{stem}_mask.png"
                mend = f"(--image-level takes it for image metrics){_or_normal(defects[defect])}"
                problems.append(f"{image} has no mask; expected {expected} {mend}")
        problems += [f"{mask} has no image in {folder / 'test' / defect}" for mask in masks.values()]


def _by_name(folders: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for folder in folders:
        name = same_text(folder.name)
        if name in by_name:
            problems.append(f"{folder.parent} has two folders {name}, in two forms of Unicode; rename or join them")
        by_name.setdefault(name, folder)
    return by_name


def _or_normal(folder: Path) -> str:
    """What may be meant by a folder whose name says that its images are normal; empty for other names."""
    is_normal = folder.name.casefold() in NORMAL_NAMES
    return f"; if the images in {folder.name} are normal, give --normal-folder {folder.name}" if is_normal else ""


def _images_by_stem(folders: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for path in sorted(image for folder in folders for image in images_in(folder)):
        stem = same_text(path.stem)
        if stem in by_stem:
            problems.append(f"{path} and {by_stem[stem].name} have the same name; rename or remove one")
        by_stem.setdefault(stem, path)
    return by_stem


def images_in(folder: Path) -> Iterator[Path]:
    """The images right in a folder, by their endings; none where there is no such folder."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix.lower() in IMAGE_SUFFIXES and not is_left_by_others(path) and not path.is_dir():
                yield path


def folders_in(folder: Path) -> list[Path]:
    """The folders right in a folder, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_left_by_others(path))


def _is_category(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _what_it_may_be(root: Path) -> str:
    if _is_category(root):
        return f"it is itself a category folder: give {root.absolute().parent} and choose the category {root.name}"
    if any((folder / "Data" / "Images").is_dir() for folder in folders_in(root)):
        return "it looks like VisA as published: read it with the visa data set"
    for folder in folders_in(root):
        if any(_is_category(inner) for inner in folders_in(folder)):
            return f"{folder} holds some: give that"
    return "give the folder that holds them"
