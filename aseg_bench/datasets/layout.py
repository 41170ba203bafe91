"""The MVTec-AD layout: that of MVTec-AD itself, of reorganised VisA and of most custom sets.

    <root>/<category>/train/good/<stem>.<ending>
    <root>/<category>/test/<defect or good>/<stem>.<ending>
    <root>/<category>/ground_truth/<defect>/<stem>_mask.<ending>      (or without _mask)

Files are paired by name. Hidden files and files that are not images are ignored.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import is_utf8
from aseg_bench.images import IMAGE_SUFFIXES
from aseg_bench.records import GOOD, MEAN, Sample

_N_SHOWN = 5


def find_in_layout(dataset: str, root: Path | None, categories: Sequence[str] | None = None) -> list[Sample]:
    """All images below a root in the MVTec-AD layout.

    Args:
        dataset: key that the samples carry.
        root: folder of category folders.
        categories: those wanted, in any order; None takes all that are there.

    Returns:
        Train and test samples, sorted by category, split, defect and stem.

    Raises:
        InputError: the root or a category does not exist, an image has no mask, a mask has no image, two files have
            one stem, a name is not UTF-8, or a category has no training images; all such problems at once.
    """
    root = existing_root(dataset, root)
    found = sorted(folder.name for folder in _folders(root) if _is_category(folder))
    if not found:
        raise InputError(f"{root} holds no category folders with train/good and test inside; {_what_it_may_be(root)}")
    samples: list[Sample] = []
    problems: list[str] = []
    for category in select_categories(root, found, categories):
        samples += _category_samples(dataset, root / category, problems)
    strange = [sample.image_path for sample in samples if not is_utf8(sample.name)]
    problems += [f"the name of {path} is not UTF-8; rename it" for path in strange]
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


def _category_samples(dataset: str, folder: Path, problems: list[str]) -> Iterator[Sample]:
    category = folder.name
    train = _images_by_stem(folder / "train" / GOOD, problems)
    if not train:
        problems.append(f"{folder / 'train' / GOOD} holds no images; training needs normal images there")
    for stem, image in train.items():
        yield Sample(dataset, category, "train", GOOD, stem, image)
    problems += [
        f"{other} is not training data; train may hold only {GOOD}"
        for other in _folders(folder / "train")
        if other.name != GOOD and any(_images(other))
    ]
    tests = {defect.name: _images_by_stem(defect, problems) for defect in _folders(folder / "test")}
    if not any(tests.values()):
        problems.append(f"{folder / 'test'} holds no images; there is nothing to score")
    for stem, image in tests.pop(GOOD, {}).items():
        yield Sample(dataset, category, "test", GOOD, stem, image)
    truths = {truth.name for truth in _folders(folder / "ground_truth")} - {GOOD}
    for defect in sorted(tests.keys() | truths):
        masks = {path.stem: path for path in _images_by_stem(folder / "ground_truth" / defect, problems).values()}
        for stem, image in tests.get(defect, {}).items():
            candidates = [masks.pop(name) for name in (f"{stem}_mask", stem) if name in masks]
            if not candidates:
                expected = folder / "ground_truth" / defect / f"{stem}_mask.png"
                problems.append(f"{image} has no mask; expected {expected}")
            elif len(candidates) > 1:
                problems.append(f"{image} has two masks, {' and '.join(path.name for path in candidates)}; keep one")
            else:
                yield Sample(dataset, category, "test", defect, stem, image, candidates[0])
        problems += [f"{mask} has no image in {folder / 'test' / defect}" for mask in masks.values()]


def _images_by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for path in sorted(_images(folder)):
        if path.stem in by_stem:
            problems.append(f"{path} and {by_stem[path.stem].name} have the same name; rename or remove one")
        by_stem.setdefault(path.stem, path)
    return by_stem


def _images(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir():
                yield path


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_category(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _what_it_may_be(root: Path) -> str:
    if _is_category(root):
        return f"it is itself a category folder: give {root.absolute().parent} and choose the category {root.name}"
    if any((folder / "Data" / "Images").is_dir() for folder in _folders(root)):
        return "it looks like VisA as published: read it with the visa data set"
    for folder in _folders(root):
        if any(_is_category(inner) for inner in _folders(folder)):
            return f"{folder} holds some: give that"
    return "give the folder that holds them"
