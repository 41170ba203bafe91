"""Finished runs, read back: their scores, their conditions, and their maps beside the images they belong to."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from aseg_bench.analysis.scored_maps import ScoredMaps, by_category
from aseg_bench.datasets import DATASETS, checksum
from aseg_bench.errors import InputError, first_few, near_matches
from aseg_bench.methods import CUT_SHORT, DISQUALIFYING, MEAN_PICTURE, NOT_LEARNED, find_methods
from aseg_bench.protocols import Protocol, protocol_stamped
from aseg_bench.records import MEAN, Case, Finding, Place, Sample, Score, grouped
from aseg_bench.runs.folder import CaseRecord, Record, RunFolder
from aseg_bench.runs.scores import Key, Result, frame_of
from aseg_bench.scoring.categories import SCORING

OLDER = "scored by another version, whose scores differ; the command of the run scores its maps again"
_MARKS = {NOT_LEARNED: ":", MEAN_PICTURE: ":", CUT_SHORT: ";"}  # kinds that mark cells, and what ends their first words
_REPEATED = ("seed", "maps", "maps_checksum")  # what differs between runs that may be merged
_BY_THE_WAY = ("precision",)  # conditions in which runs that are merged may differ


@dataclass(frozen=True, eq=False)
class Results:
    """What runs and evaluations left in a folder.

    Attributes:
        folder: of the run.
        scores: of every category.
    """

    folder: RunFolder
    scores: Sequence[Score]

    @classmethod
    def of(cls, folder: RunFolder) -> "Results":
        """The results of a folder in which everything is finished.

        Raises:
            InputError: the folder has no scores, or a case of its record is not finished.
        """
        if not folder.has_scores:
            raise InputError(
                f"{folder.scores_file} does not exist; a finished run has it (aseg-bench run --out {folder.out})"
            )
        record = folder.record  # first: one of a newer version says more than the scores
        scored: dict[tuple[str, str], set[str]] = {}
        for score in folder.scores:
            scored.setdefault((score.case.method, score.case.dataset), set()).add(score.case.category)
        unfinished = [
            "/".join(key)
            for key, case in record.cases.items()
            if case.seconds is None or not scored.get(key, set()) >= _categories(record, key[1])
        ]
        if unfinished:
            raise InputError(
                f"{folder.out} is not finished with {', '.join(unfinished)}; run again with --out {folder.out}"
            )
        return cls(folder, folder.scores)

    @property
    def methods(self) -> list[str]:
        """Names of the scored methods, in the order of the scores."""
        return list(dict.fromkeys(score.case.method for score in self.scores))

    @property
    def datasets(self) -> list[str]:
        """Keys of the scored data sets, in the order of the scores."""
        return list(dict.fromkeys(score.case.dataset for score in self.scores))

    @property
    def findings(self) -> list[str]:
        """What is odd about scores and maps, a sentence for each kind and method."""
        return findings_of([self])

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol of the scores.

        Raises:
            InputError: there are several, or they are not of a preset as it is today.
        """
        stamps = list(dict.fromkeys(score.protocol for score in self.scores))
        if len(stamps) > 1:
            raise InputError(
                f"{self.folder.out} holds scores under {', '.join(stamps)}; maps are read under one protocol"
            )
        return protocol_stamped(stamps[0])

    def to_frame(self) -> pd.DataFrame:
        """One row per method, data set, category and metric, with the columns of ``scores.csv``, means included."""
        return frame_of(self.scores)

    def samples(self, dataset: str) -> list[Sample]:
        """The test images that were scored.

        Raises:
            InputError: the run does not say where they lie, they are not there any more, or they have changed.
        """
        facts = self.folder.record.datasets.get(dataset)
        if facts is None or dataset not in DATASETS:
            raise InputError(f"{self.folder.record_file} does not say where the images of {dataset} lie; run it again")
        root = Path(facts.root) if facts.root else None
        samples = DATASETS[dataset].find(root, facts.categories, facts.reading)
        if checksum(samples) != facts.checksum:
            raise InputError(
                f"the images of {dataset} below {root} have changed since {self.folder.out} was scored; put them back, "
                "or run again with --overwrite"
            )
        return [sample for sample in samples if sample.split == "test"]

    def maps(self, methods: Sequence[str] | None = None) -> dict[Place, list[ScoredMaps]]:
        """The maps of some methods by category; nothing of them is read yet.

        Args:
            methods: names; None takes all.

        Raises:
            InputError: images or maps are not where the run left them, or a method is not of the run.
        """
        names = list(methods or self.methods)
        for name in names:
            if name not in self.methods:
                raise InputError(f"{self.folder.out} holds no scores of {name}; {near_matches(name, self.methods)}")
        found, gaps = self.maps_there(names)
        if gaps:
            raise InputError(f"{gaps[0]}; run again with the same command, or name others with --methods")
        return found

    def maps_there(self, methods: Sequence[str]) -> tuple[dict[Place, list[ScoredMaps]], list[str]]:
        """The maps by category of those methods that have all of them there, and what is missing of the others.

        Raises:
            InputError: the images are not where the run left them.
        """
        found: dict[Place, list[ScoredMaps]] = {}
        gaps = []
        store = self.folder.store
        for dataset in self.datasets:
            samples = self.samples(dataset)
            missing = {name: store.missing(name, samples) for name in methods}
            gaps += [
                f"{self.folder.out} lacks {len(lost)} maps of {name} on {dataset}, first {lost[0].name}"
                for name, lost in missing.items()
                if lost
            ]
            whole = [name for name in methods if not missing[name]]
            for place, some in by_category(samples).items() if whole else ():
                found[place] = [self.folder.maps(Case(name, *place), some, self.protocol) for name in whole]
        return found, gaps


def read_results(folders: Sequence[Path], mixed: bool = False) -> list[Results]:
    """Read finished runs.

    Args:
        folders: of the runs.
        mixed: accept runs on different data.

    Raises:
        InputError: there is no run, one is named twice or not finished, or runs differ in data or settings or hold one
            seed twice.
    """
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise InputError(f"{folder} is named twice; name each run once")
    results = [Results.of(RunFolder(folder)) for folder in folders]
    check_together(results, mixed)
    return results


def findings_of(results: Sequence[Results]) -> list[str]:
    """What is odd about scores and maps of several runs, a sentence for each kind and method."""
    categories: dict[tuple[str, str], set[str]] = {}
    for case in (score.case for result in results for score in result.scores):
        categories.setdefault((case.method, case.dataset), set()).add(case.category)
    found = [finding for result in results for finding in result.folder.record.findings]
    found += [
        Finding("older", OLDER, Case(*key, ""))
        for result in results
        for key, case in result.folder.record.cases.items()
        if case.scoring != SCORING
    ]
    labels = {name: facts.label for name, facts in find_methods().items()}
    of_data = dict.fromkeys(finding.text for finding in found if not finding.case.method)
    return list(of_data) + [
        text
        for key, names in categories.items()
        for text in grouped([one for one in found if (one.case.method, one.case.dataset) == key], len(names), labels)
    ]


def marked(results: Mapping[Key, Result], runs: Sequence[Results]) -> dict[Key, Result]:
    """Merged results with a mark where a training was cut short or has hardly learned, and on the means over such."""
    found = [one for run in runs for one in run.folder.record.findings if one.kind in _MARKS]
    made = dict(results)
    for key, result in results.items():
        is_mean = key.category == MEAN
        own = [one for one in found if (one.case.method, one.case.dataset) == (key.method, key.dataset)]
        here = [one for one in own if is_mean or one.case.category in ("", key.category)]
        if here:
            is_disqualified = any(one.kind in DISQUALIFYING for one in here)
            made[key] = replace(result, mark=_mark(here, is_mean), is_disqualified=is_disqualified)
    return made


def _mark(findings: Sequence[Finding], of_mean: bool) -> str:
    """What findings say in a few words; in the mark of a mean behind the names of their categories."""
    by_text: dict[str, dict[str, None]] = {}
    for one in findings:
        by_text.setdefault(one.text.split(_MARKS[one.kind])[0], {})[one.case.category] = None
    return "; ".join(
        f"{first_few(list(names))}: {text}" if of_mean and "" not in names else text for text, names in by_text.items()
    )


def check_together(results: Sequence[Results], mixed: bool = False) -> None:
    """Refuse runs that do not belong in one report.

    Raises:
        InputError: they differ in data (unless ``mixed``) or settings, or hold one seed twice.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for result in results:
        for dataset, facts in result.folder.record.datasets.items():
            first, folder = seen.setdefault(dataset, (facts.checksum, result.folder.out))
            if first != facts.checksum:
                said = f"{folder} and {result.folder.out} were scored on different images of {dataset}"
                if not mixed:
                    raise InputError(f"{said}; score the same images, or pass --mixed")
                warnings.warn(f"{said}; their numbers do not compare", stacklevel=2)
    _refuse_other_settings(results)


def _refuse_other_settings(results: Sequence[Results]) -> None:
    """Only seeds of one method are merged: other settings are another method, one seed twice is not a repetition."""
    seen: dict[tuple[str, str, str, str], list[tuple[CaseRecord, Path]]] = {}
    for result in results:
        protocols = {(score.case.method, score.case.dataset): score.protocol for score in result.scores}
        for key, case in result.folder.record.cases.items():
            before = seen.setdefault((*key, protocols[key], case.conditions.data), [])
            for other, folder in before:
                both = f"{result.folder.out} and {folder} both hold {'/'.join(key)}"
                differences = case.conditions.differences(other.conditions, ignored=_BY_THE_WAY)
                numbers = case.about.get("all_settings"), other.about.get("all_settings")
                differences += [("all_settings", *numbers)] if numbers[0] != numbers[1] else []
                for name, own, others in differences:
                    if name not in _REPEATED:
                        said = f"with {name} {own} and {others}"
                        raise InputError(f"{both}, {said}; only seeds can be merged, so report on one of them")
                if not differences:
                    raise InputError(f"{both} with seed {case.conditions.seed}; report on one of them")
            before.append((case, result.folder.out))


def _categories(record: Record, dataset: str) -> set[str]:
    """The categories that a case on a data set covers when it is finished."""
    return set(record.datasets[dataset].categories) if dataset in record.datasets else set()
