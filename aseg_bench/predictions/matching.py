"""Matches the maps of a dump with images by path; by position only where the format itself fixes the order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from aseg_bench.errors import InputError
from aseg_bench.files import is_utf8
from aseg_bench.predictions.records import Found, FoundMap, SortKey
from aseg_bench.records import GOOD, MEAN, Sample

_SHOWN = 5
_NORMAL_NAMES = ("good", "normal", "ok")


@dataclass(frozen=True)
class Match:
    """Which map belongs to which image.

    Attributes:
        maps: of each category, one map per sample, in the samples' order; only of categories without a problem.
        problems: category -> what is wrong with its maps; the category ``""`` is the dump as a whole.
    """

    maps: Mapping[str, Sequence[tuple[Sample, FoundMap]]]
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)


def matched(found: Found, samples: Sequence[Sample]) -> Match:
    """One map for every test image, or the problems that prevent it.

    Args:
        found: the dump.
        samples: the test images that need a map.
    """
    if all(item.place is not None for item in found.maps):
        return _matched_by_path(found.maps, samples)
    if found.order is None:
        raise InputError(
            f"{found.maps[0].origin} names no images, and its format fixes no order; write their paths too"
        )
    return _matched_by_order(found.maps, samples, found.order)


def samples_of(found: Found, dataset: str) -> Match:
    """Images as the dump itself describes them; for dumps with which the truth travels.

    Raises:
        InputError: a map comes without a mask or category, or its category's name is not UTF-8 or is that of the mean.
    """
    maps: dict[str, list[tuple[Sample, FoundMap]]] = defaultdict(list)
    origins: dict[str, list[str]] = defaultdict(list)
    for index, item in enumerate(found.maps):
        if item.read_mask is None or item.category is None:
            raise InputError(f"{item.origin} carries no truth mask; name its data set with --dataset and --data-root")
        if not is_utf8(item.category):
            raise InputError(f"the name of the category of {item.origin} is not UTF-8; rename it")
        if item.category == MEAN:
            raise InputError(f"the category of {item.origin} is named {MEAN}, as the mean of all is; rename it")
        place = PurePosixPath((item.place or f"{item.category}/test/{index:05}").replace("\\", "/"))
        folder = place.parent.name or "defect"
        is_normal = folder.lower() in _NORMAL_NAMES if item.place else not (item.read_mask() > 0).any()
        sample = Sample(dataset, item.category, "test", GOOD if is_normal else folder, place.stem, item.origin)
        maps[item.category].append((sample, item))
        origins[sample.name].append(str(item.origin))
    problems: dict[str, list[str]] = defaultdict(list)
    for name, files in origins.items():
        if len(files) > 1:
            problems[name.split("/")[0]].append(f"two maps are of {name}: {listed(files)}")
    return Match({category: found for category, found in maps.items() if category not in problems}, problems)


def _matched_by_path(found: Sequence[FoundMap], samples: Sequence[Sample]) -> Match:
    index = _Index(samples)
    by_sample: dict[Sample, list[FoundMap]] = defaultdict(list)
    unknown: list[str] = []
    for item in found:
        sample = index.sample(item)
        if sample is None:
            unknown.append(f"{item.place} (in {item.origin})")
        else:
            by_sample[sample].append(item)
    problems: dict[str, list[str]] = defaultdict(list)
    if unknown:
        problems[""].append(f"maps of images that are not in the data set: {listed(unknown)}")
    of_category: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_category[sample.category].append(sample)
    for category, members in of_category.items():
        missing = [sample.name for sample in members if sample not in by_sample]
        doubled = [f"{s.name} (in {listed([str(i.origin) for i in by_sample[s]])})" for s in members
                   if len(by_sample.get(s, ())) > 1]  # fmt: skip
        if missing:
            problems[category].append(f"images without a map: {listed(missing)}")
        if doubled:
            problems[category].append(f"images with more than one map: {listed(doubled)}")
    good = {
        category: [(sample, by_sample[sample][0]) for sample in members]
        for category, members in of_category.items()
        if category not in problems
    }
    return Match(good, problems)


def _matched_by_order(found: Sequence[FoundMap], samples: Sequence[Sample], order: SortKey) -> Match:
    by_category: dict[str, list[FoundMap]] = defaultdict(list)
    problems: dict[str, list[str]] = defaultdict(list)
    categories = sorted({sample.category for sample in samples}, key=len)
    for item in found:
        named = item.category or ""
        fitting = [category for category in categories if named == category or named.endswith(f"_{category}")]
        by_category[fitting[-1] if fitting else ""].append(item)
    if strangers := by_category.pop("", []):
        names = sorted({f"{item.category} (in {item.origin})" for item in strangers})
        problems[""].append(f"maps of categories that are not in the data set: {listed(names)}")
    good: dict[str, list[tuple[Sample, FoundMap]]] = {}
    for category in sorted(categories):
        members = sorted((sample for sample in samples if sample.category == category), key=order)
        maps = by_category[category]
        if len(maps) != len(members):
            problems[category].append(f"{len(maps)} maps for {len(members)} images, and only their order tells which")
        else:
            good[category] = list(zip(members, maps, strict=True))
    return Match(good, problems)


class _Index:
    """Finds the sample that a path names: the path must agree from the category down, or be a shorter unique name."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._whole: dict[tuple[str, ...], set[Sample]] = defaultdict(set)
        self._short: dict[tuple[str, ...], set[Sample]] = defaultdict(set)
        for sample in samples:
            for parts in _full_names(sample):
                self._whole[parts].add(sample)
                self._short[("_".join(parts),)].add(sample)
            for parts in ((sample.stem,), (sample.defect, sample.stem), (f"{sample.defect}_{sample.stem}",)):
                self._short[parts].add(sample)

    def sample(self, item: FoundMap) -> Sample | None:
        """The image of a map, or None.

        Raises:
            InputError: its name fits several images.
        """
        parts = _without_ending(PurePosixPath(str(item.place).replace("\\", "/")))
        for named in (parts, _without_ending(PurePosixPath(item.origin.as_posix()))):
            for start in range(len(named)):
                if named[start:] in self._whole:
                    return self._only(self._whole[named[start:]], item)
        if parts in self._short:
            return self._only(self._short[parts], item)
        return None

    @staticmethod
    def _only(samples: set[Sample], item: FoundMap) -> Sample:
        of_category = {sample for sample in samples if item.category in (None, sample.category)} or samples
        if len(of_category) > 1:
            names = listed(sorted(sample.name for sample in of_category))
            raise InputError(f"{item.place} (in {item.origin}) may be any of {names}; name the category in its path")
        return next(iter(of_category))


def _without_ending(path: PurePosixPath) -> tuple[str, ...]:
    return (*path.parts[:-1], path.stem) if path.parts else ()


def _full_names(sample: Sample) -> list[tuple[str, ...]]:
    """The ways a path may name a sample from its category down, without the ending of the file."""
    names = [
        (sample.category, sample.split, sample.defect, sample.stem),
        (sample.category, sample.defect, sample.stem),
        (sample.category, sample.stem),
    ]
    parts = sample.image_path.parts
    if sample.category in parts[:-1]:
        start = len(parts) - 1 - parts[::-1].index(sample.category)
        names.append((*parts[start:-1], sample.image_path.stem))
    return names


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first few names, and how many there are."""
    shown = separator.join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more (of {len(names)})"
