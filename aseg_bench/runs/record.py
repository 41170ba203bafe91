"""What ``run.json`` says: a typed record of data sets and cases, read from what this version or an older one wrote."""

import os.path
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

from aseg_bench.datasets import AS_USUAL, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name, reading
from aseg_bench.records import Case, Finding
from aseg_bench.remote import is_url
from aseg_bench.runs.provenance import machine, made_by, versions
from aseg_bench.scoring.categories import SCORING

RECORD_VERSION = 3  # of run.json; raised when its meaning changes
FROM_RUN = "_from_run"  # ends the key of a place as it is seen from the folder of the run
FAILED = "failed"  # finding on a method that has come to nothing
MEND_RECORD = "move it away, or run again with another --out"
_OLDEST = 1  # what 0.1.0 wrote, without a number
_OF_CASE: Mapping[str, Any] = {  # what a case has in ``run.json`` where it has any, by its kind
    "failed": str,
    "made": dict[str, str],
    "scored": dict[str, dict[str, str]],
    "kept_checksum": str,
    "weights_checksum": str,
}
_CHECKSUM_OF = {
    "backbone_weights": "backbone_checksum",
    "checkpoint": "checkpoint_checksum",
    "maps": "maps_checksum",
}
_OF_EVALUATED = frozenset({"data", "seed", "maps", "maps_checksum"})  # the conditions that evaluated maps have
Facts = TypeVar("Facts")


@dataclass(frozen=True)
class DataFacts:
    """The images of a data set that a folder holds scores on.

    Attributes:
        checksum: of their names and contents.
        categories: sorted.
        root: where they lie; None for a data set that comes with the toolkit.
        n_train: training images.
        n_test: test images.
        normal_folder: see ``Reading``.
        bit_depth: see ``Reading``.
        image_level: see ``Reading``.
        findings: what is odd about files and masks.
    """

    checksum: str
    categories: list[str]
    root: str | None
    n_train: int = 0
    n_test: int = 0
    normal_folder: str = AS_USUAL.normal_folder
    bit_depth: int = AS_USUAL.bit_depth
    image_level: bool = AS_USUAL.image_level
    findings: Sequence[Finding] = ()

    @property
    def reading(self) -> Reading:
        """How the images are read; no split need be there."""
        return Reading(self.normal_folder, self.bit_depth, self.image_level, splits=())


@dataclass(frozen=True)
class Conditions:
    """What the maps of a method on a data set depend on; a finished case with others is not taken for this one.

    Attributes:
        data: checksum of the images.
        seed: of every random draw; of maps that were read, what their user says.
        preset: name of the method's settings.
        backbone: in place of the preset's.
        backbone_weights: file with its weights.
        backbone_checksum: of that file.
        checkpoint: file whose weights were taken in the place of a training.
        checkpoint_checksum: of it.
        max_minutes: after which the training was to stop.
        precision: as asked for.
        half: whether maps are kept as float16.
        map_size: ``model``, or ``image`` where maps were resized to their images.
        held_out: share of the training images that were held out of the training, for a threshold.
        normal_checksum: of the normal images that were mapped for a threshold; where they change, the maps are made
            again.
        settings: that replace the preset's, as typed; None where the maps were read.
        maps: where other code's maps were read from; None where they were made here.
        maps_checksum: of these, which may change and are then taken again; or of the maps that were made here.
    """

    data: str = ""
    seed: int = 0
    preset: str = "cpu"
    backbone: str | None = None
    backbone_weights: str | None = None
    backbone_checksum: str | None = None
    checkpoint: str | None = None
    checkpoint_checksum: str | None = None
    max_minutes: float | None = None
    precision: str = "auto"
    half: bool = False
    map_size: str = "model"
    held_out: float = 0.0
    normal_checksum: str | None = None
    settings: dict[str, str] | None = None
    maps: str | None = None
    maps_checksum: str | None = None

    def differences(self, other: Self, ignored: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
        """Name, own and other value of each condition in which the two differ.

        A checksum that one of them lacks says nothing: an older version did not take it, or what it is of differs. A
        file of the same checksum is the same wherever it lies.
        """
        moved = {
            name
            for name, checksum in _CHECKSUM_OF.items()
            if getattr(self, name) and getattr(self, checksum) == getattr(other, checksum) is not None
        }
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [
            (name, own, others)
            for name, own, others in pairs
            if own != others
            and name not in {*ignored, *moved}
            and not (name.endswith("_checksum") and None in (own, others))
        ]


@dataclass(frozen=True)
class FoundThreshold:
    """A threshold that was found on normal images alone; a pixel that scores above it is called anomalous.

    Attributes:
        rule: key of ``THRESHOLDS``.
        split: of the images: ``validation``, or ``train`` where they were held out of the training.
        n_images: normal images, of all categories.
        protocol: stamp of the protocol under which maps came to the size at which pixels are scored.
        value: of all categories together, for a picture of which nobody says what it shows.
        categories: of each category by itself.
    """

    rule: str
    split: str
    n_images: int
    protocol: str
    value: float
    categories: dict[str, float]

    def at(self, category: str, protocol: str) -> float | None:
        """The threshold of a category under a protocol; None where it was found under another one."""
        return self.categories.get(category) if self.protocol == protocol else None


@dataclass(frozen=True)
class CaseRecord:
    """How the maps of a method on a data set came about.

    Attributes:
        conditions: what they depend on.
        about: what the method says of itself: all its settings, the device.
        seconds: time of ``fit`` and ``predict``; None while it is not finished.
        findings: what is odd about its scores or maps.
        scoring: version of the scoring that made its scores, see ``SCORING``.
        of_maps: what is odd about maps of other code, found when they were taken; it stays as long as they do.
        scored_at: height x width at which the pixels of a category were scored, by category.
        is_evaluated: its maps were scored where they lie, by ``evaluate``: the folder has no copy of them, and perhaps
            not all categories.
        failed: why its last try has come to nothing; it has no scores then.
        made: by which version and command, when and where its maps were made, and with which libraries.
        scored: by which version and command and when its pixels were scored, by category.
        kept_checksum: of the maps as the folder keeps them, without those that were evaluated where they lie.
        weights_checksum: of the checkpoint of its training.
        threshold: found on normal images, where a run was asked for it.
    """

    conditions: Conditions
    about: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] | None = None
    findings: Sequence[Finding] = ()
    scoring: int = 1
    of_maps: Sequence[Finding] = ()
    scored_at: Mapping[str, str] = field(default_factory=dict)
    is_evaluated: bool = False
    failed: str = ""
    made: Mapping[str, str] = field(default_factory=dict)
    scored: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kept_checksum: str | None = None
    weights_checksum: str | None = None
    threshold: FoundThreshold | None = None


@dataclass(frozen=True)
class Record:
    """What ``run.json`` says.

    Attributes:
        datasets: by key.
        cases: by method and data set.
        planned: what the last run on each data set was to make, in its order.
    """

    datasets: Mapping[str, DataFacts] = field(default_factory=dict)
    cases: Mapping[tuple[str, str], CaseRecord] = field(default_factory=dict)
    planned: Sequence[tuple[str, str]] = ()

    @property
    def findings(self) -> list[Finding]:
        """What is odd about data, scores and maps, and which methods have failed."""
        return [
            *(finding for facts in self.datasets.values() for finding in facts.findings),
            *(finding for case in self.cases.values() for finding in (*case.findings, *case.of_maps)),
            *(
                Finding(FAILED, f"failed and has no scores: {case.failed}", Case(*key, ""))
                for key, case in self.cases.items()
                if case.failed
            ),
        ]

    def with_plan(self, methods: Sequence[str], dataset: str) -> "Record":
        """The record at the start of a run: what it is to make is planned, and what failed before is tried again."""
        now = [(method, dataset) for method in methods]
        cases = {key: replace(case, failed="") if key in now else case for key, case in self.cases.items()}
        return replace(self, cases=cases, planned=(*(key for key in self.planned if key[1] != dataset), *now))

    def with_case(self, method: str, dataset: str, case: CaseRecord) -> "Record":
        """The record with this case in it."""
        return replace(self, cases={**self.cases, (method, dataset): case})

    def with_data(self, dataset: str, facts: DataFacts) -> "Record":
        """The record with these facts of a data set in it."""
        return replace(self, datasets={**self.datasets, dataset: facts})

    def without(self, gone: Collection[tuple[str, str]]) -> "Record":
        """The record without some cases, by method and data set."""
        return replace(self, cases={key: case for key, case in self.cases.items() if key not in gone})

    def renamed(self, names: Mapping[str, str]) -> "Record":
        """The record with some methods under other names."""

        def own(findings: Sequence[Finding]) -> list[Finding]:
            return [
                replace(one, case=replace(one.case, method=names.get(one.case.method, one.case.method)))
                for one in findings
            ]

        cases = {
            (names.get(method, method), dataset): replace(case, findings=own(case.findings), of_maps=own(case.of_maps))
            for (method, dataset), case in self.cases.items()
        }
        return replace(self, cases=cases)


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
