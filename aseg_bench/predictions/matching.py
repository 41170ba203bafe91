"""Matches the maps of a dump with images by path; by position only where the format itself fixes the order."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from aseg_bench.errors import InputError
from aseg_bench.files import is_utf8, same_text
from aseg_bench.images import IMAGE_SUFFIXES
from aseg_bench.metrics.checks import as_array
from aseg_bench.predictions.checks import Suspicion
from aseg_bench.predictions.records import RECIPE, Found, FoundMap, SortKey
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, MaskRule
from aseg_bench.records import GOOD, MEAN, NORMAL_NAMES, Sample

_SHOWN = 5
_ENDINGS = IMAGE_SUFFIXES | {".npy", ".npz", ".csv", ".pt", ".pth"}  # taken off a name one after the other
_TAILS = (
    *("_anomaly_map", "_anomaly_scores", "_anomaly_score", "_anomaly", "_amap", "_map", "_heatmap", "_heat_map"),
    *("_scores", "_score"),
)  # what programs put behind the name of an image for its map
_VAGUE_TAILS = ("_pred", "_mask")  # what they also put behind it for a binary mask


@dataclass(frozen=True)
class Match:
    """Which map belongs to which image.

    Attributes:
        maps: of each category, one map per sample, in the samples' order; only of categories without a problem.
        problems: category -> what is wrong with its maps; the category ``""`` is the dump as a whole.
        doubles: category -> what is said of images whose map is there several times, always the same.
        not_taken: files whose map was not taken, since the dump has a more exact one of the same image.
        passed_over: files that no image is named like, of a kind in which no map lies.
        orders: category -> what is said of an order of its maps that was assumed.
    """

    maps: Mapping[str, Sequence[tuple[Sample, FoundMap]]]
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    doubles: Mapping[str, Suspicion] = field(default_factory=dict)
    not_taken: Sequence[Path] = ()
    passed_over: Sequence[Path] = ()
    orders: Mapping[str, Suspicion] = field(default_factory=dict)


def matched(found: Found, samples: Sequence[Sample]) -> Match:
    """One map for every test image, or the problems that prevent it.

    Args:
        found: the dump.
        samples: the test images that need a map.
    """
    if all(item.place is not None for item in found.maps):
        return _matched_by_path(found.maps, samples)
    if any(item.place is not None for item in found.maps):
        nameless = next(item.origin for item in found.maps if item.place is None)
        raise InputError(f"some maps have paths and those of {nameless} have none; write the paths of all, or of none")
    if found.order is None:
        raise InputError(
            f"{found.maps[0].origin} names no images, and its format fixes no order; write their paths too"
        )
    return _matched_by_order(found, samples, found.order)


def samples_of(found: Found, dataset: str, mask_rule: str = DEFAULT_RULE) -> Match:
    """Images as the dump itself describes them; for dumps with which the truth travels.

    An image is normal if its folder has one of ``NORMAL_NAMES``, in any case of letters. Where no folder of the dump
    has such a name, and where a map has no place, an image is normal if its mask has no anomalous pixel.

    Args:
        found: the dump.
        dataset: key that the samples carry.
        mask_rule: which values of a mask mean anomalous, see `MaskRule`.

    Raises:
        InputError: a map comes without a mask or category, or its category's name is not UTF-8 or is that of the mean.
    """
    places = [PurePosixPath((item.place or "").replace("\\", "/")) for item in found.maps]
    has_normal_folder = any(place.parent.name.casefold() in NORMAL_NAMES for place in places)
    anomalous = MaskRule.parse(mask_rule).anomalous
    by_name: dict[str, list[tuple[Sample, FoundMap]]] = defaultdict(list)
    for index, (item, place) in enumerate(zip(found.maps, places, strict=True)):
        if item.read_mask is None or item.category is None:
            raise InputError(f"{item.origin} carries no truth mask; name its data set with --dataset and --data-root")
        if not is_utf8(item.category):
            raise InputError(f"the name of the category of {item.origin} is not UTF-8; rename it")
        if item.category == MEAN:
            raise InputError(f"the category of {item.origin} is named {MEAN}, as the mean of all is; rename it")
        folder, has_ending = place.parent.name or "defect", place.suffix.lower() in _ENDINGS
        stem = (place.stem if has_ending else place.name) or f"{index:05}"
        category, defect, stem = (same_text(name) for name in (item.category, folder, stem))
        if has_normal_folder and folder.casefold() in NORMAL_NAMES:
            defect = GOOD
        name = f"{category}/test/{defect}/{stem}"
        if not (item.place and has_normal_folder) and not anomalous(as_array(item.read_mask(), "a mask")).any():
            stem = f"{defect}_{stem}" if item.place else stem  # the images of several folders are now of one
            defect = GOOD
        by_name[name].append((Sample(dataset, category, "test", defect, stem, item.origin), item))
    maps: dict[str, list[tuple[Sample, FoundMap]]] = defaultdict(list)
    problems: dict[str, list[str]] = defaultdict(list)
    doubled: dict[str, list[str]] = defaultdict(list)
    for name, pairs in by_name.items():
        category, items = pairs[0][0].category, [item for _, item in pairs]
        maps[category].append(pairs[0])
        if len(items) > 1 and _are_same(items):
            doubled[category].append(name)
        elif len(items) > 1:
            problems[category].append(f"two maps are of {name}: {listed([str(item.origin) for item in items])}")
    return Match({key: pairs for key, pairs in maps.items() if key not in problems}, problems, _doubles(doubled))


def _are_same(items: Sequence[FoundMap]) -> bool:
    """Whether maps, and the masks that travel with them, are all equal; a map that cannot be read equals none."""
    with suppress(InputError):
        first, *others = items
        return all(_is_equal(first.read, other.read) and _is_equal(first.read_mask, other.read_mask)
                   for other in others)  # fmt: skip
    return False


def _is_equal(first: Callable[[], Any] | None, other: Callable[[], Any] | None) -> bool:
    if first is None or other is None:
        return first is other
    one, two = as_array(first(), "a map"), as_array(other(), "a map")
    return one.dtype == two.dtype and np.array_equal(one, two)


def _doubles(doubled: Mapping[str, Sequence[str]]) -> dict[str, Suspicion]:
    text = (
        "{} images were there more than once with the same map, first {}: each counts once (a distributed sampler that"
        " fills up its last batch does this)"
    )
    return {key: Suspicion("doubled", text.format(len(names), names[0])) for key, names in doubled.items()}


def _matched_by_path(found: Sequence[FoundMap], samples: Sequence[Sample]) -> Match:
    index = _Index(samples)
    by_sample: dict[Sample, list[tuple[tuple[int, int], FoundMap]]] = defaultdict(list)
    strangers: list[FoundMap] = []
    for item in found:
        named = index.sample(item)
        if named is None:
            strangers.append(item)
        else:
            by_sample[named[0]].append(((item.loss, named[1]), item))
    maps: dict[Sample, list[FoundMap]] = {}
    not_taken: list[Path] = []
    for sample, ranked in by_sample.items():
        best = min(rank for rank, _ in ranked)
        is_better = {id(item): rank > best and _is_own_file(item) for rank, item in ranked}
        maps[sample] = [item for _, item in ranked if not is_better[id(item)]]
        not_taken += [item.origin for _, item in ranked if is_better[id(item)]]
    kinds = {items[0].loss for items in maps.values()}
    passed_over = [item.origin for item in strangers if kinds and item.loss not in kinds and _is_own_file(item)]
    unknown = [item for item in strangers if item.origin not in passed_over]
    problems: dict[str, list[str]] = defaultdict(list)
    doubled: dict[str, list[str]] = defaultdict(list)
    if unknown:
        places = listed([f"{item.place} (in {item.origin})" for item in unknown])
        nearest = index.nearest(str(unknown[0].place))
        problems[""].append(
            f"maps of images that are not in the data set: {places}; name a map like its image, for instance {nearest}"
            + ("" if by_sample else f", or {RECIPE}")
        )
        if not by_sample:
            return Match({}, problems)
    of_category: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_category[sample.category].append(sample)
    for category, members in of_category.items():
        missing = [sample.name for sample in members if sample not in maps]
        several = [sample for sample in members if len(maps.get(sample, ())) > 1]
        same = [sample for sample in several if _are_same(maps[sample])]
        different = [sample for sample in several if sample not in same]
        if missing:
            problems[category].append(f"images without a map: {listed(missing)}")
        if different:
            named_files = [f"{s.name} (in {listed([str(i.origin) for i in maps[s]])})" for s in different]
            problems[category].append(f"images with more than one map: {listed(named_files)}")
        if same:
            doubled[category] = [sample.name for sample in same]
    good = {
        category: [(sample, maps[sample][0]) for sample in members]
        for category, members in of_category.items()
        if category not in problems
    }
    return Match(good, problems, _doubles(doubled), not_taken, passed_over)


def _is_own_file(item: FoundMap) -> bool:
    """Whether a map is all that its file holds, which names the image."""
    return item.origin.name == _parts(str(item.place))[-1]


def _matched_by_order(found: Found, samples: Sequence[Sample], order: SortKey) -> Match:
    by_category: dict[str, list[FoundMap]] = defaultdict(list)
    problems: dict[str, list[str]] = defaultdict(list)
    categories = sorted({sample.category for sample in samples}, key=len)
    is_only = found.is_order_assumed and len(categories) == len({item.origin for item in found.maps}) == 1
    for item in found.maps:
        named, folder = same_text(item.category or ""), same_text(item.origin.parent.name)
        fitting = [key for key in categories if f"_{named}".endswith(f"_{same_text(key)}")]
        fitting = fitting or [key for key in categories if is_only or folder == same_text(key)]
        by_category[fitting[-1] if fitting else ""].append(item)
    if strangers := by_category.pop("", []):
        names = sorted({f"{item.category} (in {item.origin})" for item in strangers})
        problems[""].append(
            f"maps of categories that are not in the data set: {listed(names)}; name a file like its category: "
            f"{listed(sorted(categories))}"
        )
    good: dict[str, list[tuple[Sample, FoundMap]]] = {}
    orders: dict[str, Suspicion] = {}
    for category in sorted(categories):
        members = sorted((sample for sample in samples if sample.category == category), key=order)
        maps = by_category[category]
        if len(maps) != len(members):
            problems[category].append(_other_count(maps, members))
            continue
        good[category] = list(zip(members, maps, strict=True))
        if found.is_order_assumed:
            text = (
                f"the maps come without paths, and were taken in the sorted order of the paths of the test images: "
                f"{maps[0].origin.name} is from {members[0].name} to {members[-1].name}; if they were written in "
                "another order every number is wrong, so better write the paths too"
            )
            orders[category] = Suspicion("order_assumed", text)
    return Match(good, problems, orders=orders)


def _other_count(maps: Sequence[FoundMap], members: Sequence[Sample]) -> str:
    if not maps:
        return f"no maps for its {len(members)} images"
    files = listed([str(file) for file in dict.fromkeys(item.origin for item in maps)])
    n_normal = sum(sample.defect == GOOD for sample in members)
    return (
        f"{len(maps)} maps (in {files}) for {len(members)} images ({n_normal} normal), and only their order tells "
        "which; write one map for each test image, or their paths too"
    )


class _Index:
    """Finds the sample that a path names: the path must agree from the category down, or be a shorter unique name."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._whole: dict[tuple[str, ...], set[Sample]] = defaultdict(set)
        self._short: dict[tuple[str, ...], set[Sample]] = defaultdict(set)
        self._names = [sample.name for sample in samples]
        for sample in samples:
            stem, defect = same_text(sample.stem), same_text(sample.defect)
            for parts in _full_names(sample):
                self._whole[parts].add(sample)
                self._short[("_".join(parts),)].add(sample)
            for parts in ((stem,), (defect, stem), (f"{defect}_{stem}",)):
                self._short[parts].add(sample)

    def sample(self, item: FoundMap) -> tuple[Sample, int] | None:
        """The image of a map, and how far its name is from the image's (see ``_readings``); or None.

        Raises:
            InputError: its name fits several images.
        """
        place = _parts(str(item.place))
        paths = [place, _parts(item.origin.as_posix())] if _is_own_file(item) else [place]
        for distance, names in _readings(place[-1]):
            for path in paths:
                fitting = [self._from_category((*path[:-1], name)) for name in names]
                if any(fitting):
                    return self._only(set().union(*fitting), item), distance
            if short := set().union(*(self._short.get((*place[:-1], name), set()) for name in names)):
                return self._only(short, item), distance
        return None

    def nearest(self, place: str) -> str:
        """The name of the image that is most like a path."""
        return get_close_matches("/".join(_parts(place)), self._names, n=1, cutoff=0)[0]

    def _from_category(self, parts: tuple[str, ...]) -> set[Sample]:
        return next((self._whole[parts[start:]] for start in range(len(parts)) if parts[start:] in self._whole), set())

    @staticmethod
    def _only(samples: set[Sample], item: FoundMap) -> Sample:
        category = None if item.category is None else same_text(item.category)
        of_category = {sample for sample in samples if category in (None, same_text(sample.category))} or samples
        if len(of_category) > 1:
            names = listed(sorted(sample.name for sample in of_category))
            raise InputError(f"{item.place} (in {item.origin}) may be any of {names}; name it like one of these")
        return next(iter(of_category))


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(same_text(path).replace("\\", "/")).parts or ("",)


def _readings(name: str) -> Iterator[tuple[int, list[str]]]:
    """What the last part of a path may name, nearest first: 0 as it is, then without its endings one after the other;
    1 without a tail that says what a map is as well; 2 without a tail that a binary mask may have.
    """
    bases = [name]
    yield 0, [name]
    while (ending := PurePosixPath(bases[-1]).suffix) and (len(bases) == 1 or ending.lower() in _ENDINGS):
        bases.append(bases[-1].removesuffix(ending))
        yield 0, bases[-1:]
    for distance, tails in enumerate((_TAILS, _VAGUE_TAILS), start=1):
        cut = [base[: -len(tail)] for base in bases for tail in tails if base.lower().endswith(tail)]
        yield distance, [*cut, *(name[: -len(end)] for name in cut for end in _ENDINGS if name.lower().endswith(end))]


def _full_names(sample: Sample) -> list[tuple[str, ...]]:
    """The ways a path may name a sample from its category down, without the ending of the file."""
    category, defect, stem = (same_text(name) for name in (sample.category, sample.defect, sample.stem))
    names = [
        (category, sample.split, defect, stem),
        (category, defect, stem),
        (category, stem),
    ]
    parts = _parts(sample.image_path.as_posix())
    if category in parts[:-1]:
        start = len(parts) - 1 - parts[::-1].index(category)
        names.append((*parts[start:-1], stem))
    return names


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first few names, and how many there are."""
    shown = separator.join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more (of {len(names)})"
