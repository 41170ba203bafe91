"""Which runs belong in one report, and which of them are seeds of one another."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aseg_bench.corruptions import clean_of
from aseg_bench.errors import InputError
from aseg_bench.metrics import AT_THRESHOLD, METRICS
from aseg_bench.runs.record import CaseRecord

if TYPE_CHECKING:
    from aseg_bench.runs.results import Results

_REPEATED = frozenset({"seed", "maps", "maps_checksum"})  # what differs between seeds of one method
_BY_THE_WAY = frozenset({"precision"})  # in which seeds may differ
_OF_MAPS = frozenset({"data", "half", "map_size"})  # what says how maps were read, all else is of trainings
_APART = "name them apart with --as NAME,NAME"

# by method, data set and protocol
_Held = dict[tuple[str, str, str], list[tuple[CaseRecord | None, Path]]]


def check_together(results: Sequence["Results"], mixed: bool = False) -> None:
    """Refuse runs that do not belong in one report.

    Raises:
        InputError: they differ in data (unless ``mixed``), methods of one name differ in more than the seed, or those
            on clean and on corrupted images differ at all.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for result in results:
        for dataset, facts in result.record.datasets.items():
            first, folder = seen.setdefault(dataset, (facts.checksum, result.folder.out))
            if first != facts.checksum:
                said = f"{folder} and {result.folder.out} were scored on different images of {dataset}"
                if not mixed:
                    raise InputError(f"{said}; score the same images, or pass --mixed")
                warnings.warn(f"{said}; their numbers do not compare", stacklevel=2)
    held: _Held = {}
    for result in results:
        scored = dict.fromkeys((score.case.method, score.case.dataset, score.protocol) for score in result.scores)
        for method, dataset, protocol in scored:
            case, before = result.record.cases.get((method, dataset)), held.setdefault((method, dataset, protocol), [])
            for other, folder in before:
                both = f"{result.folder.out} and {folder} both hold {method}/{dataset}"
                if said := _no_seeds(case, other):
                    raise InputError(f"{both}{said}")
            before.append((case, result.folder.out))
    _check_corrupted(held)


def _check_corrupted(held: _Held) -> None:
    """Refuse maps of corrupted images where none of the clean ones are of the same training or code."""
    for (method, dataset, protocol), corrupted in held.items():
        clean = held.get((method, clean_of(dataset), protocol), [])
        for case, folder in corrupted if dataset != clean_of(dataset) else ():
            apart = [(_first_difference(case, other), place) for other, place in clean if case and other]
            if case and apart and all(said for said, _ in apart):
                said, place = apart[0]
                raise InputError(
                    f"{folder} holds {method} on {dataset}, and {place} on {clean_of(dataset)}, with {said}: what the "
                    f"corruption costs cannot be told from that; report on one of them, or {_APART}"
                )


def _first_difference(case: CaseRecord, other: CaseRecord) -> str:
    """In what, but for the images, the trainings or readings of two cases differ; nothing where they do not."""
    one, two = case.conditions, other.conditions
    is_read = one.maps is not None and two.maps is not None
    ignored = {"data", *_BY_THE_WAY, *({"maps", "maps_checksum"} if is_read else {"maps_checksum"})}
    found = one.differences(two, ignored=[*ignored])
    numbers = case.about.get("all_settings"), other.about.get("all_settings")
    found += [("all_settings", *numbers)] if numbers[0] != numbers[1] else []
    return f"{found[0][0]} {found[0][1]} and {found[0][2]}" if found else ""


def _no_seeds(case: CaseRecord | None, other: CaseRecord | None) -> str:
    """Why two cases of one name are not seeds of one method, and how to mend it; nothing where they are."""
    if case is None or other is None or "" in (case.conditions.maps, other.conditions.maps):
        return f", and a record does not say of which maps, as an older version left it; score them again, or {_APART}"
    one, two = case.conditions, other.conditions
    is_read = one.maps is not None and two.maps is not None
    differences = [
        difference
        for difference in one.differences(two, ignored=[*_REPEATED, *_BY_THE_WAY])
        if not is_read or difference[0] in _OF_MAPS
    ]
    if (one.maps is None) != (two.maps is None):
        differences = [("maps", one.maps, two.maps)]
    numbers = case.about.get("all_settings"), other.about.get("all_settings")
    differences += [("all_settings", *numbers)] if numbers[0] != numbers[1] else []
    differences += _of_rules(case, other)
    if differences:
        name, own, others = differences[0]
        return f", with {name} {own} and {others}; only seeds can be merged, so report on one of them, or {_APART}"
    if is_read and one.maps_checksum == two.maps_checksum is not None:
        return (
            f", of the same maps (those in {one.maps}), and the same maps do not repeat anything; report on one of them"
        )
    if one.seed != two.seed:
        return ""
    if is_read and one.maps_checksum != two.maps_checksum:
        return (
            f", of different maps ({one.maps} and {two.maps}); {_APART}, or where they are seeds of one method score "
            "each with its --seed"
        )
    return f" with seed {one.seed}; report on one of them"


def unlike(case: CaseRecord, other: CaseRecord, category: str, metric: str) -> list[tuple[str, Any, Any]]:
    """What of two cases of one name, one's and the other's, keeps a metric of a category from being compared.

    Other settings do not: a comparison may well be of them.
    """
    level, at_threshold = METRICS[metric].level if metric in METRICS else "", metric in AT_THRESHOLD
    normal = case.conditions.normal_checksum, other.conditions.normal_checksum
    found = [
        ("scoring version", case.scoring, other.scoring),
        ("held_out", case.conditions.held_out, other.conditions.held_out),
        *(_of_rules(case, other) if at_threshold and case.threshold and other.threshold else ()),
    ]
    if at_threshold and None not in normal:
        found.append(("normal_checksum", *normal))
    sizes = case.scored_at.get(category), other.scored_at.get(category)
    if level in ("pixel", "region") and None not in sizes:
        found.append((f"maps of {category} at", *sizes))
    return [one for one in found if one[1] != one[2]]


def _of_rules(case: CaseRecord, other: CaseRecord) -> list[tuple[str, Any, Any]]:
    rule, of_other = (each.threshold.rule if each.threshold else None for each in (case, other))
    return [("threshold", rule, of_other)] if rule != of_other else []
