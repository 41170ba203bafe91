"""The MVTec-AD layout: that of MVTec-AD itself, of reorganised VisA and of most custom sets.

    <root>/<category>/train/good/<stem>.<ending>
    <root>/<category>/test/<defect or good>/<stem>.<ending>
    <root>/<category>/ground_truth/<defect>/<stem>_mask.<ending>      (or without _mask)

Files are paired by name, in any form of Unicode. What is hidden, or left there by systems and viewers, does not count.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from aseg_bench.datasets.records import AS_USUAL, SPLITS, Layout, Reading
from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import is_left_by_others, is_utf8, same_text
from aseg_bench.images import IMAGE_SUFFIXES
from aseg_bench.records import GOOD, MEAN, NORMAL_NAMES, UNKNOWN, Sample

MVTEC_LAYOUT = Layout()
_N_SHOWN = 5
_USES = {"train": "training needs normal images there", "test": "there is nothing to score"}


def find_in_layout(
    dataset: str,
    root: Path | None,
    categories: Sequence[str] | None = None,
    reading: Reading = AS_USUAL,
    layout: Layout = MVTEC_LAYOUT,
) -> list[Sample]:
    """All images below a root in the MVTec-AD layout, or in another one that is described as a ``Layout``.

    Args:
        dataset: key that the samples carry.
        root: folder of category folders.
        categories: those wanted, in any order; None takes all that are there.
        reading: what is read, and how.
        layout: where images and masks lie in a category folder.

    Returns:
        Samples of train, test and the splits that ``reading`` names, sorted by category, split, defect and stem.

    Raises:
        InputError: the root or a category does not exist, an image has no mask, a mask has no image, two files have
            one stem, a name is not UTF-8, or a category has no images of a split that is to be read; all such problems
            at once.
    """
    root = existing_root(dataset, root)
    problems: list[str] = []
    found = _by_name([folder for folder in folders_in(root) if _is_category(folder, layout)], problems)
    if not found:
        train, test = (layout.images[split].format(defect=layout.normal) for split in SPLITS)
        raise InputError(
            f"{root} holds no category folders with {train} and {test.split('/')[0]} inside; "
            f"{_what_it_may_be(root, layout)}"
        )
    samples: list[Sample] = []
    named: set[str] = set()
    for category in select_categories(root, sorted(found), categories):
        samples += _category_samples(dataset, found[category], reading, layout, named, problems)
    if same_text(reading.normal_folder) not in {GOOD, layout.normal, *named} and not problems:
        problems.append(f"no normal image lies in a folder {reading.normal_folder}, which --normal-folder names")
    return finished(root, samples, problems)


def finished(
    where: Path, samples: Sequence[Sample], problems: Sequence[str], splits: Sequence[str] = ()
) -> list[Sample]:
    """The samples of a data set, sorted.

    Args:
        where: the root, or the file that lists the samples.
        samples: in any order.
        problems: found with them.
        splits: each category must have images in these.

    Raises:
        InputError: there are problems, a name is not UTF-8, two images have one name, or a split is empty.
    """
    problems = [*problems]
    by_name: dict[str, Sample] = {}
    for sample in samples:
        if not is_utf8(sample.name):
            problems.append(f"the name of {sample.image_path} is not UTF-8; rename it")
        other = by_name.setdefault(sample.name, sample)
        if other is not sample:
            problems.append(f"{other.image_path} and {sample.image_path} are both {sample.name}; rename or remove one")
    there = {(sample.category, sample.split) for sample in samples}
    problems += [
        f"{category} has no images in {split}; {_USES.get(split, 'that split is to be read')}"
        for category in sorted({sample.category for sample in samples})
        for split in splits
        if (category, split) not in there
    ]
    raise_problems(where, problems)
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
        what = "is a file; name a folder, or read a list of files with --dataset manifest"
        raise InputError(f"the data root {root} {what if root.exists() else 'does not exist; name a folder'}")
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


def _category_samples(
    dataset: str, folder: Path, reading: Reading, layout: Layout, named: set[str], problems: list[str]
) -> Iterator[Sample]:
    normal = _normal(reading, layout)
    sample = partial(Sample, dataset, same_text(folder.name), bit_depth=reading.bit_depth)
    for split in dict.fromkeys(("train", *reading.splits)):
        if split == "test":
            continue
        if split not in layout.images:
            problems.append(f"{folder} has no split {split}; there are {', '.join(layout.images)}")
            continue
        place = layout.images[split]
        is_known = "{defect}" in place
        inner = _folders(folder, place, problems) if is_known else {UNKNOWN: folder / place}
        wanted = inner.keys() & (normal if is_known else {UNKNOWN})
        images = images_by_stem([inner[name] for name in wanted], problems)
        named |= wanted if images else set()
        for stem, image in images.items():
            yield sample(split, GOOD if is_known else UNKNOWN, stem, image)
        problems += [
            f"{other} is not training data; {split} may hold only {layout.normal}{_or_normal(other)}"
            for name, other in inner.items()
            if name not in wanted and any(images_in(other))
        ]
        if not images and split in reading.splits:
            where = folder / place.format(defect=layout.normal)
            problems.append(f"{where} holds no images; {_USES.get(split, 'that split is to be read')}")
    yield from _test_samples(folder, sample, reading, layout, named, problems)


def _test_samples(
    folder: Path,
    sample: Callable[..., Sample],
    reading: Reading,
    layout: Layout,
    named: set[str],
    problems: list[str],
) -> Iterator[Sample]:
    normal = _normal(reading, layout)
    place = layout.images["test"]
    top = folder / place.partition("{defect}")[0]
    no_defects = {folder / of_masks.partition("{defect}")[0] for of_masks in layout.masks}
    inner = {name: one for name, one in _folders(folder, place, problems).items() if one not in no_defects}
    test = images_by_stem([inner[name] for name in inner.keys() & normal], problems)
    named |= inner.keys() & normal if test else set()
    for stem, image in test.items():
        yield sample("test", GOOD, stem, image)
    defects = {name: one for name, one in inner.items() if name not in normal}
    if not test and (others := [one for one in defects.values() if _or_normal(one)]):
        problems += [f"{top} has no folder {layout.normal}{_or_normal(one)}" for one in others]
        return
    if not test and not any(map(any, map(images_in, defects.values()))) and "test" in reading.splits:
        problems.append(f"{top} holds no images; {_USES['test']}")
    truths: dict[str, list[Path]] = {}
    for of_masks in layout.masks:
        for name, one in _folders(folder, of_masks, problems, is_whole=True).items():
            if name not in normal:
                truths.setdefault(name, []).append(one)
    for defect in sorted(defects.keys() | truths.keys()):
        images = images_by_stem([defects[defect]] if defect in defects else [], problems)
        masks = _masks_by_stem(truths.get(defect, []), layout, problems)
        for stem, image in images.items():
            candidates = [masks.pop(stem + suffix) for suffix in layout.suffixes if stem + suffix in masks]
            if len(candidates) > 1:
                problems.append(f"{image} has two masks, {' and '.join(path.name for path in candidates)}; keep one")
            elif candidates or reading.image_level:
                yield sample(
                    "test", defect, stem, image, candidates[0] if candidates else None, is_image_level=not candidates
                )
            else:
                expected = folder / layout.masks[0].format(defect=defect) / (stem + layout.suffixes[0])
                mend = f"(--image-level takes it for image metrics){_or_normal(defects[defect])}"
                problems.append(f"{image} has no mask; expected {expected}{'' if layout.many else '.png'} {mend}")
        problems += [f"{mask} has no image in {top / defect}" for mask in masks.values()]


def _normal(reading: Reading, layout: Layout) -> set[str]:
    own = same_text(reading.normal_folder)
    return {layout.normal} if own == GOOD else {layout.normal, own}  # good is what nobody has named


def _folders(folder: Path, place: str, problems: list[str], *, is_whole: bool = False) -> dict[str, Path]:
    """By the name that stands for ``{defect}``, the folders of a place; ``is_whole`` takes only what it names."""
    top, _, inner = place.partition("{defect}")
    found = {}
    for name, one in _by_name(folders_in(folder / top), problems).items():
        whole = one / inner.strip("/")
        if not is_whole or whole.is_dir():
            found[name] = whole if whole.is_dir() else one
    return found


def _masks_by_stem(folders: Sequence[Path], layout: Layout, problems: list[str]) -> dict[str, Path]:
    if not layout.many:
        return images_by_stem(folders, problems)
    masks = _by_name([one for folder in folders for one in folders_in(folder)], problems)
    problems += [f"{one} holds no masks" for one in masks.values() if not any(images_in(one))]
    return masks


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


def images_by_stem(folders: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    """The images right in some folders; that two have one name is added to the problems."""
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


def _is_category(folder: Path, layout: Layout) -> bool:
    return any((folder / layout.images[split].split("/")[0]).is_dir() for split in SPLITS)


def _what_it_may_be(root: Path, layout: Layout) -> str:
    if _is_category(root, layout):
        return f"it is itself a category folder: give {root.absolute().parent} and choose the category {root.name}"
    for folder in folders_in(root):
        if any(_is_category(inner, layout) for inner in folders_in(folder)):
            return f"{folder} holds some: give that"
    return "give the folder that holds them"
