"""The folder of a run, and its only owner: what lies where, and the two files that say what was done.

<out>/maps/<method>/<dataset>/<category>/test/<defect>/<stem>.tiff   every map
<out>/maps/<method>/<dataset>/<category>/.counts.npz                 what reports need of the maps of a category
<out>/training/<method>/<dataset>/                                   checkpoint, losses, learning curve
<out>/scores.csv                                                     every score
<out>/run.json                                                       how each (method, data set) came about
<out>/report/                                                        what people look at
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from types import UnionType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

import pandas as pd

from aseg_bench.analysis.scored_maps import ScoredMaps, stored_maps
from aseg_bench.datasets import AS_USUAL, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import folder_name, is_folder_name, reading, to_disk, written_whole
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import Protocol
from aseg_bench.records import Case, Finding, Sample, Score
from aseg_bench.runs.provenance import machine, made_by, versions
from aseg_bench.runs.scores import read_scores, write_scores
from aseg_bench.scoring.categories import SCORING, Scored

RECORD_VERSION = 3  # of run.json; raised when its meaning changes
FAILED = "failed"  # finding on a method that has come to nothing
_MEND = "move it away, or run again with another --out"
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
    settings: dict[str, str] | None = None
    maps: str | None = None
    maps_checksum: str | None = None

    def differences(self, other: Self, ignored: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
        """Name, own and other value of each condition in which the two differ.

        A checksum that one of them lacks says nothing: an older version did not take it, or what it is of differs.
        """
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [
            (name, own, others)
            for name, own, others in pairs
            if own != others and name not in ignored and not (name.endswith("_checksum") and None in (own, others))
        ]


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

    def without(self, methods: Iterable[str], dataset: str) -> "Record":
        """The record without some methods on a data set."""
        gone = {(method, dataset) for method in methods}
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


@dataclass(frozen=True)
class Ablation:
    """What ``ablation.json`` says of a finished ablation.

    Attributes:
        kind: what was varied: ``components`` or ``levels``.
        method: which was taken apart.
        lines: names of the lines of the table, the last one whole.
        seeds: of the trainings.
    """

    kind: str
    method: str
    lines: list[str]
    seeds: list[int]


class RunFolder:
    """The folder of a run. It reads each of its files once, and writes them whole.

    Args:
        out: the folder; it need not exist.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.scores_file, self.record_file = out / "scores.csv", out / "run.json"
        self.ablation_file = out / "ablation.json"
        self.report = out / "report"
        self.store = MapStore(out / "maps")

    def training(self, method: str, dataset: str) -> Path:
        """Where checkpoint and losses of a live model lie."""
        return self.out / "training" / folder_name(method) / dataset

    def checkpoint_file(self, method: str, dataset: str) -> Path:
        """The weights of a training, or its bank."""
        return self.training(method, dataset) / "checkpoint.pt"

    def log_file(self, method: str, dataset: str) -> Path:
        """The losses of a training by step."""
        return self.training(method, dataset) / "log.csv"

    def curve_file(self, method: str, dataset: str) -> Path:
        """Pixel AP at moments of a training, where a run was asked for it."""
        return self.training(method, dataset) / "curve.csv"

    def table(self, file: Path) -> pd.DataFrame | None:
        """The numbers of a ``log.csv`` or a ``curve.csv``; None where there is none.

        Raises:
            InputError: the file is damaged, or holds anything but numbers.
        """
        if not file.exists():
            return None
        with reading(file, "move it away", "{} is damaged"):
            numbers = pd.read_csv(file)
            numbers.astype("float64")  # raises where one is not
            return numbers

    def counts_file(self, case: Case) -> Path:
        """Where the counts of the maps of a category lie; they go when the maps go."""
        return self.store.folder(case.method, case.dataset) / case.category / ".counts.npz"

    def maps(self, case: Case, samples: Sequence[Sample], protocol: Protocol) -> ScoredMaps:
        """The maps of a method on the test images of a category, whose counts are kept beside them."""
        return stored_maps(self.store, case, samples, protocol, self.counts_file(case))

    def seed_file(self, seed: int) -> Path:
        """Where an ablation keeps the scores of one seed."""
        return self.out / "by_seed" / f"seed{seed}.csv"

    @property
    def has_scores(self) -> bool:
        """Whether anything was scored into the folder."""
        return self.scores_file.exists()

    @property
    def is_ablation(self) -> bool:
        """Whether the folder is of a finished ablation."""
        return self.ablation_file.is_file()

    @cached_property
    def content(self) -> dict[str, Any]:
        """All of ``run.json``, nested as it is; empty where there is none.

        Raises:
            InputError: the file is not a JSON object.
        """
        if not self.record_file.exists():
            return {}
        with reading(self.record_file, _MEND, "{} is damaged"):
            content = json.loads(self.record_file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"it holds {type(content).__name__}")
            return content

    @cached_property
    def record(self) -> Record:
        """What ``run.json`` says; an empty record where there is none.

        Raises:
            InputError: the file is damaged, or a newer version of aseg-bench wrote it.
        """
        return _record_of(self.content, self.record_file) if self.record_file.exists() else Record()

    @cached_property
    def scores(self) -> list[Score]:
        """All scores, without means; none where there is no ``scores.csv``.

        Raises:
            InputError: the file cannot be used.
        """
        return read_scores(self.scores_file) if self.has_scores else []

    @cached_property
    def ablation(self) -> Ablation:
        """What ``ablation.json`` says.

        Raises:
            InputError: the file is damaged.
        """
        with reading(self.ablation_file, f"run the ablation again with --out {self.out}", "{} is damaged"):
            return _checked(Ablation, json.loads(self.ablation_file.read_text(encoding="utf-8")), "")

    def write_record(self, record: Record) -> None:
        """Replace ``run.json``."""
        content = {
            "version": RECORD_VERSION,
            **{name: text for name, text in made_by().items() if name != "date"},
            "machine": machine(),
            "versions": versions(),
            "planned": ["/".join(key) for key in record.planned],
            "datasets": {key: _flat_data(facts) for key, facts in record.datasets.items()},
            "cases": {"/".join(key): _flat(case) for key, case in record.cases.items()},
        }
        _write_json(self.record_file, content)
        self.content, self.record = json.loads(json.dumps(content, default=sorted)), record

    def write_scores(self, scores: Sequence[Score]) -> None:
        """Replace ``scores.csv``; without any score there is none."""
        if scores:
            write_scores(self.scores_file, scores)
        else:
            self.scores_file.unlink(missing_ok=True)
        self.scores = list(scores)

    def keep(self, case: Case, scored: Scored) -> None:
        """Write the scores of a case in the place of older ones, and how they came about into the record."""
        self.write_scores([*(score for score in self.scores if score.case != case), *scored.scores])
        made = self.record.cases[case.method, case.dataset]
        others = [finding for finding in made.findings if finding.case != case]
        scored_at = {**made.scored_at, case.category: scored.size}
        by = {**made.scored, case.category: made_by()}
        now = replace(made, findings=[*others, *scored.findings], scored_at=scored_at, scored=by)
        self.write_record(self.record.with_case(case.method, case.dataset, now))

    def note_failure(self, method: str, dataset: str, reason: str) -> None:
        """Write into the record why a method has failed; of its scores, which are not of all categories, none stay."""
        self.write_scores([s for s in self.scores if (s.case.method, s.case.dataset) != (method, dataset)])
        if case := self.record.cases.get((method, dataset)):
            self.write_record(self.record.with_case(method, dataset, replace(case, failed=reason)))

    def write_ablation(self, ablation: Ablation) -> None:
        """Replace ``ablation.json``."""
        _write_json(self.ablation_file, vars(ablation))
        self.ablation = ablation

    def discard(self, methods: Iterable[str], dataset: str) -> None:
        """Remove what there is of some methods on a data set: scores, record, trainings and maps."""
        gone = {(method, dataset) for method in methods}
        if self.has_scores:
            self.write_scores([s for s in self.scores if (s.case.method, s.case.dataset) not in gone])
        for method, _ in gone:
            for folder in (self.training(method, dataset), self.store.folder(method, dataset)):
                rmtree(folder, ignore_errors=True)
        if self.record_file.exists():  # last: files without record are nobody's
            self.write_record(self.record.without(methods, dataset))


def _record_of(content: Mapping[str, Any], path: Path) -> Record:
    """Check and read the content of ``run.json``: what this version or an older one wrote."""
    with reading(path, _MEND, "{} is damaged"):
        written_by = content.get("version", _OLDEST)
        if written_by > RECORD_VERSION:
            raise InputError(
                f"{path} is of version {written_by}, written by aseg-bench {content.get('aseg_bench')}; this is "
                f"aseg-bench {version('aseg-bench')}, which reads up to version {RECORD_VERSION}: install the newer one"
            )
        datasets = {key: _data(flat, f"datasets.{key}", key) for key, flat in content["datasets"].items()}
        cases = {}
        for key, flat in content["cases"].items():
            method, dataset = _key(key)
            cases[method, dataset] = _case(flat, f"cases.{key}", Case(method, dataset, ""))
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


def _key(text: str) -> tuple[str, str]:
    method, dataset = text.split("/")
    return method, dataset


def _data(flat: Mapping[str, Any], where: str, dataset: str) -> DataFacts:
    known = {key: value for key, value in flat.items() if key != "findings"}
    findings = tuple(_finding(one, Case("", dataset, "")) for one in flat.get("findings", ()))
    return replace(_checked(DataFacts, known, where), findings=findings)


def _flat_data(facts: DataFacts) -> dict[str, Any]:
    findings = [{"kind": found.kind, "text": found.text} for found in facts.findings]
    return {**vars(facts), "findings": findings}


def _case(flat: Mapping[str, Any], where: str, case: Case) -> CaseRecord:
    known = {item.name for item in fields(Conditions)}
    conditions = _checked(Conditions, {key: value for key, value in flat.items() if key in known}, where)
    own = {*known, "seconds", "findings", "scoring", "of_maps", "scored_at", "evaluated", *_OF_CASE}
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
    if case.seconds is not None:
        flat["seconds"] = dict(case.seconds)
    for key, findings in (("findings", case.findings), ("of_maps", case.of_maps)):
        if findings:
            flat[key] = [{"kind": one.kind, "text": one.text, "category": one.case.category} for one in findings]
    return flat


def _checked(kind: type[Facts], given: Any, where: str) -> Facts:
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


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=sorted) + "\n", encoding="utf-8")
        to_disk(temporary)
