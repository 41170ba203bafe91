"""Checks of a data set before hours of work: sizes, damaged files, published counts, a checksum."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aseg_bench.datasets.layout import folders_in, raise_problems
from aseg_bench.datasets.questions import IsAnomalous, Look, look, mask_findings
from aseg_bench.datasets.records import SPLITS, Dataset
from aseg_bench.datasets.table import DATASETS
from aseg_bench.errors import InputError, first_few
from aseg_bench.files import files_below, in_threads, same_text, sha256_of
from aseg_bench.images import (
    IMAGE_SUFFIXES,
    MAX_BIT_DEPTH,
    MIN_BIT_DEPTH,
    check_complete,
    highest_deep_value,
    image_size,
    mask_files,
    mask_turns,
    read_mask,
)
from aseg_bench.records import N_NAMED, Case, Finding, Sample

_OF_VISA = "Data"  # the folder of a category of VisA as published


class Looks(NamedTuple):
    """What files of a data set show.

    Attributes:
        masks: by sample; None where it has none.
        highest: by sample, the highest value of an image of 16 bits that was looked at.
        of_normal: the masks of normal images.
        left_out: what lies beside the samples.
    """

    masks: Sequence[Look | None]
    highest: Sequence[int | None]
    of_normal: Sequence[Look] = ()
    left_out: Sequence[Finding] = ()


def check_images(
    samples: Sequence[Sample], root: Path | None = None, *, is_anomalous: IsAnomalous | None = None, whole: bool = True
) -> list[Finding]:
    """Read every mask, check every image without decoding its pixels, and say what is odd about the data set.

    Args:
        samples: all that were found.
        root: where they lie; files in their folders that are none of them are named, too. None looks for none.
        is_anomalous: which values of masks mean anomalous, where the user has said so; None takes all above 0.
        whole: check the images, too, and not their masks alone.

    Returns:
        One finding per kind, with counts and the first names.

    Raises:
        InputError: a file is unreadable or damaged, or a mask and its image differ in size; all such files at once.
    """
    return findings_of(look_at_images(samples, root, is_anomalous=is_anomalous, whole=whole), samples)


def look_at_images(
    samples: Sequence[Sample],
    root: Path | None = None,
    *,
    is_anomalous: IsAnomalous | None = None,
    whole: bool = True,
    some: slice = slice(None),
) -> Looks:
    """The first half of `check_images`: what the files show, which may be of some of the samples, one process each.

    Args:
        samples: as in `check_images`.
        root: as in `check_images`.
        is_anomalous: as in `check_images`.
        whole: as in `check_images`.
        some: those of the samples whose files are read; what lies beside is looked at for all of them.

    Raises:
        InputError: as in `check_images`.
    """
    looks, problems = looks_and_problems(samples, root, is_anomalous=is_anomalous, whole=whole, some=some)
    raise_problems("the images", problems)
    return looks


def looks_and_problems(
    samples: Sequence[Sample],
    root: Path | None,
    *,
    is_anomalous: IsAnomalous | None = None,
    whole: bool = True,
    some: slice = slice(None),
) -> tuple[Looks, list[str]]:
    """What `look_at_images` returns, and a text for each file that it refuses, whose mask is None then."""
    looked = in_threads(partial(_looked_at, is_anomalous=is_anomalous, whole=whole), samples[some])
    problems = [problem for one in looked for problem in one.problems]
    left_out: list[Finding] = []
    of_normal: list[Look] = []
    if root is not None and samples:
        left_out, masks = _files_beside(root, samples)
        for path in masks:
            try:
                of_normal.append(
                    look(read_mask(path), str(path.relative_to(root)), is_of_defect=False, is_anomalous=is_anomalous)
                )
            except InputError as error:
                problems.append(str(error))
    looks = Looks([one.mask for one in looked], [one.highest for one in looked], of_normal, left_out)
    return looks, list(dict.fromkeys(problems))


def findings_of(looks: Looks, samples: Sequence[Sample]) -> list[Finding]:
    """The second half of `check_images`, of all samples; no file is read."""
    if not samples:
        return []
    masks = [one for one in (*looks.masks, *looks.of_normal) if one is not None]
    return [*looks.left_out, *mask_findings(masks, samples[0].dataset), *_image_findings(samples, looks.highest)]


def checksum(samples: Sequence[Sample]) -> str:
    """SHA-256 over names of samples, how they are read, and contents of their files, in any order and place."""
    return sha256_of(digests(samples))


def digests(samples: Sequence[Sample], some: slice = slice(None)) -> list[str]:
    """What `checksum` is over, a text for each of some of the samples in its order."""
    ordered = sorted(samples, key=lambda sample: (sample.dataset, sample.name))[some]
    texts = []
    for sample, of_files in zip(ordered, in_threads(_digests, ordered), strict=True):
        depth = [] if sample.bit_depth == MAX_BIT_DEPTH else [f"{sample.bit_depth} bits"]
        texts.append("\0".join((sample.dataset, sample.name, *depth, *of_files, "")))
    return texts


def count_deviations(dataset: Dataset, n_test: Mapping[str, int]) -> list[str]:
    """One text per category whose number of test images is not the published one, ``bottle 3 instead of 83``.

    Args:
        dataset: as published.
        n_test: test images by category; categories without published counts are left out.
    """
    published = {name: counts.test_good + counts.test_anomalous for name, counts in dataset.counts.items()}
    return [
        f"{category} {n} instead of {published[category]}"
        for category, n in n_test.items()
        if published.get(category, n) != n
    ]


class _Looked(NamedTuple):
    """What a look at the files of a sample has shown; ``highest`` is the highest value of an image of 16 bits."""

    problems: Sequence[str]
    mask: Look | None
    highest: int | None


def _looked_at(sample: Sample, *, is_anomalous: IsAnomalous | None, whole: bool) -> _Looked:
    problems: list[str] = []
    seen: Look | None = None
    sizes: list[tuple[int, ...]] = []
    highest = None
    if whole:
        try:
            check_complete(sample.image_path)
            highest = highest_deep_value(sample.image_path, sample.bit_depth)
        except InputError as error:
            problems.append(str(error))
    if sample.mask_path is not None:
        try:
            mask = read_mask(sample.mask_path, sample.image_path)
            sizes = [image_size(sample.image_path), mask.shape]
            is_turned = mask_turns(sample.mask_path, sample.image_path)
            ending = mask_files(sample.mask_path)[0].suffix
            seen = look(mask, sample.name, ending=ending, is_turned=is_turned, is_anomalous=is_anomalous)
        except InputError as error:
            problems.append(str(error))
    if len(set(sizes)) > 1:
        (height, width), (mask_height, mask_width) = sizes
        problems.append(
            f"mask {sample.mask_path} is {mask_width} x {mask_height} pixels but its image {width} x {height};"
            " a mask has one pixel for each of its image's"
        )
    return _Looked(problems, seen, highest)


def _files_beside(root: Path, samples: Sequence[Sample]) -> tuple[list[Finding], list[Path]]:
    """What is left out of the folders of the samples' categories, and the masks of normal images there."""
    data = DATASETS.get(samples[0].dataset)
    layout = None if data is None else data.layout
    if layout is None:
        return [], []  # its files may lie anywhere
    used = {path for sample in samples for path in _files(sample)}
    folders = {root / sample.image_path.relative_to(root).parts[0] for sample in samples}
    unread = {place.split("/")[0] for split, place in layout.images.items() if split not in SPLITS}
    parts = (layout.parts | {_OF_VISA}) - unread
    known = parts | unread | layout.beside
    files = [
        file
        for folder in folders
        for part in parts
        if (folder / part).is_dir()
        for file in files_below(folder / part)
        if not layout.beside.intersection(file.relative_to(folder).parts)
    ]
    pictures = list(filter(_is_picture, sorted(files)))
    others = [file for file in pictures if file not in used]
    normal = {
        _defect_in(layout.images[sample.split].partition("}")[0] + "}", sample.image_path.relative_to(root).parts[1:])
        for sample in samples
        if not sample.is_anomalous
    }
    normal.discard(None)
    masks = [
        file
        for file in others
        if any(_defect_in(place, file.relative_to(root).parts[1:-1]) in normal for place in layout.masks)
    ]
    case, findings = Case("", samples[0].dataset, ""), []
    inner = [one for folder in folders for one in folders_in(folder) if one.name not in known]
    outer = [one for one in folders_in(root) if not any((one / part).is_dir() for part in known)]
    strange = [one for one in [*inner, *outer] if any(map(_is_picture, files_below(one)))]
    if strange:
        names = first_few([str(one.relative_to(root)) for one in sorted(strange)], N_NAMED)
        text = f"{len(strange)} folders of pictures are left out, as the layout has no place for them, first {names}"
        findings.append(Finding("folders_left_out", text, case))
    for kind, left_out, all_of, what in (
        (
            "pictures_left_out",
            sorted(set(others) - set(masks)),
            pictures,
            "pictures are left out, as the layout has no place for them",
        ),
        (
            "files_left_out",
            sorted(set(files) - set(pictures)),
            files,
            "files are left out, as they are not pictures by their endings",
        ),
    ):
        if left_out:
            names = first_few([str(file.relative_to(root)) for file in left_out], N_NAMED)
            findings.append(Finding(kind, f"{len(left_out)} of {len(all_of)} {what}, first {names}", case))
    return findings, masks


def _defect_in(place: str, parts: Sequence[str]) -> str | None:
    """The folder that stands for ``{defect}`` of a place in a path below a category; None of a path elsewhere."""
    wanted = place.split("/")
    if len(parts) < len(wanted) or any(
        want not in ("{defect}", part) for want, part in zip(wanted, parts, strict=False)
    ):
        return None
    return same_text(parts[wanted.index("{defect}")])


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _image_findings(samples: Sequence[Sample], highest: Sequence[int | None]) -> list[Finding]:
    found = []
    bare = [sample for sample in samples if sample.is_image_level]
    if bare:
        n_anomalous = sum(sample.is_anomalous for sample in samples)
        text = (
            f"{len(bare)} of {n_anomalous} pictures that show a defect have no mask and enter image metrics only, "
            f"first {first_few([one.name for one in bare], N_NAMED)}"
        )
        found.append(Finding("image_level", text, Case("", bare[0].dataset, "")))
    deep = [(value, sample) for value, sample in zip(highest, samples, strict=True) if value is not None]
    n_bits = max((value for value, _ in deep), default=0).bit_length()
    if deep and MIN_BIT_DEPTH <= n_bits < deep[0][1].bit_depth:
        text = (
            f"the {len(deep)} pictures of 16 bits per channel reach only {max(value for value, _ in deep)}, first "
            f"{deep[0][1].name}: if their camera has {n_bits} bits, --bit-depth {n_bits} keeps all their grey levels"
        )
        found.append(Finding("bit_depth", text, Case("", deep[0][1].dataset, "")))
    return found


def _digests(sample: Sample) -> list[str]:
    return [digest_of(path) for path in _files(sample)]


def digest_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})") from error


def _files(sample: Sample) -> Iterable[Path]:
    return [sample.image_path] if sample.mask_path is None else [sample.image_path, *mask_files(sample.mask_path)]
