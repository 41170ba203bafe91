"""The folder of a run, and its only owner: what lies where, and the two files that say what was done.

<out>/maps/<method>/<dataset>/<category>/test/<defect>/<stem>.tiff   every map
<out>/maps/<method>/<dataset>/<category>/.counts.npz                 what reports need of the maps of a category
<out>/training/<method>/<dataset>/                                   checkpoint, losses, learning curve
<out>/scores.csv                                                     every score
<out>/run.json                                                       how each (method, data set) came about
<out>/report/                                                        what people look at
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any

import pandas as pd

from aseg_bench.analysis.scored_maps import ScoredMaps, stored_maps
from aseg_bench.corruptions import clean_of
from aseg_bench.files import folder_name, reading, to_disk, written_whole
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import Protocol
from aseg_bench.records import Case, Sample, Score
from aseg_bench.runs.provenance import made_by
from aseg_bench.runs.record import CaseRecord, Record
from aseg_bench.runs.record_file import MEND_RECORD, checked, content_of, record_of
from aseg_bench.runs.scores import read_scores, write_scores
from aseg_bench.scoring.categories import Scored


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
        """Where checkpoint and losses of a live model lie; those of a corrupted data set are those of the clean one."""
        return self.out / "training" / folder_name(method) / clean_of(dataset)

    def relatives(self, method: str, dataset: str) -> dict[str, CaseRecord]:
        """What the record says of a live method on data sets with the same training images, clean or corrupted."""
        return {
            key: case
            for (name, key), case in self.record.cases.items()
            if name == method and key != dataset and clean_of(key) == clean_of(dataset)
            if not case.is_evaluated and case.conditions.maps is None
        }

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
        made = self.record.cases.get((case.method, case.dataset))
        found = made.threshold.at(case.category, protocol.stamp) if made and made.threshold else None
        return stored_maps(self.store, case, samples, protocol, self.counts_file(case), found)

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
        with reading(self.record_file, MEND_RECORD, "{} is damaged"):
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
        return record_of(self.content, self.record_file) if self.record_file.exists() else Record()

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
            return checked(Ablation, json.loads(self.ablation_file.read_text(encoding="utf-8")), "")

    def scored(self, method: str, dataset: str) -> set[str]:
        """The categories of a case that have scores."""
        return {one.case.category for one in self.scores if (one.case.method, one.case.dataset) == (method, dataset)}

    def is_finished(self, method: str, dataset: str) -> bool:
        """Whether a case has come to its end: its maps are made, and all categories scored, or those evaluated."""
        case, scored = self.record.cases[method, dataset], self.scored(method, dataset)
        facts = self.record.datasets.get(dataset)
        is_whole = case.seconds is not None and scored >= set(facts.categories if facts else ())
        return bool(scored) and (case.is_evaluated or is_whole)

    def write_record(self, record: Record) -> None:
        """Replace ``run.json``."""
        content = content_of(record, self.out)
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

    def discard(self, methods: Iterable[str], dataset: str, read: Collection[str] = ()) -> None:
        """Remove what there is of some methods on a data set: scores, record, trainings and maps.

        A training goes with the clean data set, and with it what there is of it on corrupted ones.

        Args:
            methods: their names.
            dataset: its key.
            read: those whose maps are read, which have no training to be removed.
        """
        relatives = {method: self.relatives(method, dataset) for method in methods}
        gone = {(method, dataset) for method in relatives}
        if dataset == clean_of(dataset):
            gone |= {(method, key) for method, keys in relatives.items() if method not in read for key in keys}
        if self.has_scores:
            self.write_scores([s for s in self.scores if (s.case.method, s.case.dataset) not in gone])
        for method, key in gone:
            rmtree(self.store.folder(method, key), ignore_errors=True)
            if not {(method, other) for other in relatives[method]} - gone:
                rmtree(self.training(method, key), ignore_errors=True)
        if self.record_file.exists():  # last: files without record are nobody's
            self.write_record(self.record.without(gone))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=sorted) + "\n", encoding="utf-8")
        to_disk(temporary)
