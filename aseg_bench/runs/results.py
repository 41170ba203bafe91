"""Finished runs, read back: their scores, their conditions, and their maps beside the images they belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from aseg_bench.analysis.scored_maps import ScoredMaps, by_category
from aseg_bench.datasets import DATASETS, checksum, root_here
from aseg_bench.errors import InputError, near_matches
from aseg_bench.methods import find_methods
from aseg_bench.protocols import Protocol, protocol_stamped
from aseg_bench.records import Case, Place, Sample, Score
from aseg_bench.runs.findings import findings_of
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import Record
from aseg_bench.runs.scores import frame_of
from aseg_bench.runs.together import check_together


@dataclass(frozen=True, eq=False)
class Results:
    """What runs and evaluations left in a folder.

    Attributes:
        folder: of the run.
        scores: of every category.
        names: other names of methods than those that they have in the folder, by these.
    """

    folder: RunFolder
    scores: Sequence[Score]
    names: Mapping[str, str] = field(default_factory=dict)

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
        unfinished = [
            "/".join(key)
            for key, case in record.cases.items()
            if not (case.is_evaluated or case.failed or folder.is_finished(*key))
        ]
        if unfinished:
            raise InputError(
                f"{folder.out} is not finished with {', '.join(unfinished)}; run again with --out {folder.out}"
            )
        return cls(folder, folder.scores)

    def named(self, name: str) -> "Results":
        """The results under a name of their own: of a single method that is its name, several have it behind theirs."""
        labels = {own: facts.label for own, facts in find_methods().items()}
        names = {own: name if len(self.methods) == 1 else f"{labels.get(own, own)} {name}" for own in self.methods}
        scores = [replace(one, case=replace(one.case, method=names[one.case.method])) for one in self.scores]
        return replace(self, scores=scores, names=names)

    @cached_property
    def record(self) -> Record:
        """What the folder's record says, its methods under the names of these results."""
        return self.folder.record.renamed(self.names)

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
        try:
            root = root_here(dataset, root, facts.categories, from_record=True)
            samples = DATASETS[dataset].find(root, facts.categories, facts.reading)
        except InputError as error:
            mend = "if the images lie elsewhere now, give the same command again with --data-root"
            raise InputError(f"{error}; {mend}" if root and not root.exists() else str(error)) from None
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

    def maps_there(
        self, methods: Sequence[str], datasets: Sequence[str] | None = None
    ) -> tuple[dict[Place, list[ScoredMaps]], list[str]]:
        """The maps by category of those methods that have all of them there, and what is missing of the others.

        Args:
            methods: names.
            datasets: keys; None takes all.

        Raises:
            InputError: the images are not where the run left them.
        """
        found: dict[Place, list[ScoredMaps]] = {}
        gaps = []
        store, in_folder = self.folder.store, {name: own for own, name in self.names.items()}
        own_names = {name: in_folder.get(name, name) for name in methods}
        for dataset in self.datasets if datasets is None else datasets:
            samples = self.samples(dataset)
            missing = {name: store.missing(own, samples) for name, own in own_names.items()}
            gaps += [
                f"{self.folder.out} lacks {len(lost)} maps of {name} on {dataset}, first {lost[0].name}"
                for name, lost in missing.items()
                if lost
            ]
            whole = [name for name in methods if not missing[name]]
            for place, some in by_category(samples).items() if whole else ():
                maps = {name: self.folder.maps(Case(own_names[name], *place), some, self.protocol) for name in whole}
                found[place] = [replace(of, case=replace(of.case, method=name)) for name, of in maps.items()]
        return found, gaps


def read_results(
    runs: Sequence[Path | Results], mixed: bool = False, names: Sequence[str] | None = None
) -> list[Results]:
    """Read finished runs.

    Args:
        runs: their folders; one that is read already stays as it is.
        mixed: accept runs on different data.
        names: one for each run, see ``Results.named``; those of one name are merged. None leaves all as they are.

    Raises:
        InputError: there is no run, one is given twice or not finished, runs differ in data, the names are not one
            for each run, or methods of one name are not seeds of one another.
    """
    results = [run if isinstance(run, Results) else Results.of(RunFolder(run)) for run in runs]
    places = [result.folder.out for result in results]
    for number, place in enumerate(places):
        if place.resolve() in [other.resolve() for other in places[:number]]:
            raise InputError(f"{place} is named twice; name each run once")
    if names is not None:
        if len(names) != len(results) or not all(names):
            given = ",".join(names)
            raise InputError(f"--as {given} does not name {len(results)} runs; give one name for each, in their order")
        results = [result.named(name) for result, name in zip(results, names, strict=True)]
    check_together(results, mixed)
    return results
