"""``run.json``: a `Record` as text, read from what this version or an older one wrote."""

import os.path
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name, reading
from aseg_bench.records import Case, Finding
from aseg_bench.remote import is_url
from aseg_bench.runs.provenance import machine, made_by, versions
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts, FoundThreshold, Record
from aseg_bench.scoring.categories import SCORING

RECORD_VERSION = 3  # of run.json; raised when its meaning changes
FROM_RUN = "_from_run"  # ends the key of a place as it is seen from the folder of the run
MEND_RECORD = "move it away, or run again with another --out"
_OLDEST = 1  # what 0.1.0 wrote, without a number
_OF_CASE: Mapping[str, Any] = {  # what a case has in ``run.json`` where it has any, by its kind
    "failed": str,
    "made": dict[str, str],
    "scored": dict[str, dict[str, str]],
    "kept_checksum": str,
    "weights_checksum": str,
}
_OF_EVALUATED = frozenset({"data", "seed", "maps", "maps_checksum"})  # the conditions that evaluated maps have
Facts = TypeVar("Facts")


def record_of(content: Mapping[str, Any], path: Path) -> Record:
    """Check and read the content of ``run.json``.

    Args:
        content: of the file.
        path: the file, for messages.

    Raises:
        InputError: the content is damaged, or a newer version of aseg-bench wrote it.
    """
    with reading(path, MEND_RECORD, "{} is damaged"):
        written_by = content.get("version", _OLDEST)
        if written_by > RECORD_VERSION:
            raise InputError(
                f"{path} is of version {written_by}, written by aseg-bench {content.get('aseg_bench')}; this is "
                f"aseg-bench {version('aseg-bench')}, which reads up to version {RECORD_VERSION}: install the newer one"
            )
        datasets = {
            key: _data(_placed(flat, "root", path.parent), f"datasets.{key}", key)
            for key, flat in content["datasets"].items()
        }
        cases = {}
        for key, flat in content["cases"].items():
            method, dataset = _key(key)
            placed = _placed(flat, "maps", path.parent)
            cases[method, dataset] = _case(placed, f"cases.{key}", Case(method, dataset, ""))
        for found in content.get("evaluated", ()):  # up to version 2, of evaluated maps alone, which were no cases
            case = Case(found["method"], found["dataset"], found["category"])
            key = case.method, case.dataset
            data = datasets[case.dataset].checksum if case.dataset in datasets else ""
            before = cases.get(key, CaseRecord(Conditions(data, maps=""), scoring=SCORING, is_evaluated=True))
            cases[key] = replace(before, findings=[*before.findings, _finding(found, case)])
        planned = tuple(_key(_text(text)) for text in content.get("planned", ()))
        odd = [name for key in (*cases, *planned) for name in key if not is_folder_name(name)]
        if odd:
            raise ValueError(f"{odd[0]!r} is not the name of a method or a data set")
        return Record(datasets, cases, planned)


def content_of(record: Record, out: Path) -> dict[str, Any]:
    """The content of the ``run.json`` of a folder: the record, nested, behind what wrote it."""
    return {
        "version": RECORD_VERSION,
        **{name: text for name, text in made_by().items() if name != "date"},
        "machine": machine(),
        "versions": versions(),
        "planned": ["/".join(key) for key in record.planned],
        "datasets": {key: _seen_from(out, _flat_data(facts), "root") for key, facts in record.datasets.items()},
        "cases": {"/".join(key): _seen_from(out, _flat(case), "maps") for key, case in record.cases.items()},
    }


def _seen_from(out: Path, flat: dict[str, Any], key: str) -> dict[str, Any]:
    """A part of the record with a place also as seen from the folder, since both may be moved together."""
    if not flat.get(key) or is_url(flat[key]):
        return flat
    try:
        return {**flat, f"{key}{FROM_RUN}": os.path.relpath(Path(flat[key]).absolute(), out.absolute())}
    except ValueError:  # on Windows, of another drive
        return flat


def _placed(flat: Mapping[str, Any], key: str, out: Path) -> Mapping[str, Any]:
    """A part of the record with a place where it is now: as seen from the folder, if it is not where it was."""
    was, seen = flat.get(key), flat.get(f"{key}{FROM_RUN}")
    if not (was and isinstance(was, str) and isinstance(seen, str)):
        return flat
    place, moved = Path(was), Path(os.path.normpath(out.absolute() / seen))
    is_there = place.exists() and (place.is_absolute() or not moved.exists() or place.samefile(moved))
    return flat if is_there or not moved.exists() else {**flat, key: str(moved)}


def _key(text: str) -> tuple[str, str]:
    method, dataset = text.split("/")
    return method, dataset


def _data(flat: Mapping[str, Any], where: str, dataset: str) -> DataFacts:
    known = {key: value for key, value in flat.items() if key != "findings"}
    findings = tuple(_finding(one, Case("", dataset, "")) for one in flat.get("findings", ()))
    return replace(checked(DataFacts, known, where), findings=findings)


def _flat_data(facts: DataFacts) -> dict[str, Any]:
    findings = [{"kind": found.kind, "text": found.text} for found in facts.findings]
    return {**vars(facts), "findings": findings}


def _case(flat: Mapping[str, Any], where: str, case: Case) -> CaseRecord:
    known = {item.name for item in fields(Conditions)}
    conditions = checked(Conditions, {key: value for key, value in flat.items() if key in known}, where)
    own = {
        *known,
        "seconds",
        "findings",
        "scoring",
        "of_maps",
        "scored_at",
        "evaluated",
        "threshold",
        f"maps{FROM_RUN}",
        *_OF_CASE,
    }
    about = {key: value for key, value in flat.items() if key not in own}
    findings, of_maps = (
        [_finding(found, replace(case, category=_text(found["category"]))) for found in flat.get(key, ())]
        for key in ("findings", "of_maps")
    )
    scored_at, is_evaluated = flat.get("scored_at", {}), flat.get("evaluated", False)
    if not _is_of(scored_at, dict[str, str]) or not isinstance(is_evaluated, bool):
        raise ValueError(f"{where}.scored_at is {scored_at!r}, evaluated {is_evaluated!r}")
    others = {name: flat[name] for name in _OF_CASE if name in flat}
    for name, value in others.items():
        if not _is_of(value, _OF_CASE[name]):
            raise ValueError(f"{where}.{name} is {value!r}")
    if "threshold" in flat:
        others["threshold"] = checked(FoundThreshold, flat["threshold"], f"{where}.threshold")
    scoring, seconds = flat.get("scoring", 1), flat.get("seconds")
    if not _is_of(scoring, int) or not (seconds is None or _is_of(seconds, dict[str, float])):
        raise ValueError(f"{where}.scoring is {scoring!r}, seconds {seconds!r}")
    return CaseRecord(conditions, about, seconds, findings, scoring, tuple(of_maps), scored_at, is_evaluated, **others)


def _finding(found: Mapping[str, Any], case: Case) -> Finding:
    return Finding(_text(found["kind"]), _text(found["text"]), case)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _flat(case: CaseRecord) -> dict[str, Any]:
    """A case as ``run.json`` has it; settings are of live methods, maps of others."""
    conditions = vars(case.conditions)
    left_out = {"maps"} if case.conditions.maps is None else {"settings"}
    left_out |= conditions.keys() - _OF_EVALUATED if case.is_evaluated else set()
    flat = {key: value for key, value in conditions.items() if key not in left_out} | dict(case.about)
    flat |= {"scoring": case.scoring, "scored_at": dict(case.scored_at)}
    if case.is_evaluated:
        flat["evaluated"] = True
    flat |= {name: getattr(case, name) for name in _OF_CASE if getattr(case, name)}
    if case.threshold is not None:
        flat["threshold"] = vars(case.threshold)
    if case.seconds is not None:
        flat["seconds"] = dict(case.seconds)
    for key, findings in (("findings", case.findings), ("of_maps", case.of_maps)):
        if findings:
            flat[key] = [{"kind": one.kind, "text": one.text, "category": one.case.category} for one in findings]
    return flat


def checked(kind: type[Facts], given: Any, where: str) -> Facts:
    """A record of a file as a dataclass.

    Raises:
        ValueError: a field is missing or of another type; it is named.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{where or 'it'} is {given!r}, not a record")
    hints = get_type_hints(kind)
    values = {name: value for name, value in given.items() if name in hints}
    for name, value in values.items():
        if not _is_of(value, hints[name]):
            raise ValueError(f"{where}.{name} is {value!r}".lstrip("."))
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}".lstrip(": ")) from None


def _is_of(value: Any, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(_is_of(value, each) for each in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_of(each, get_args(hint)[0]) for each in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_is_of(each, get_args(hint)[1]) for each in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint
