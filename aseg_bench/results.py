"""Finished runs, read back: their scores, their conditions, and their maps beside the images they belong to."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aseg_bench.datasets import DATASETS, checksum
from aseg_bench.errors import InputError
from aseg_bench.evaluate import mean_scores
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import Protocol, find_protocol
from aseg_bench.records import MEAN, Sample, Score
from aseg_bench.reporting.scores import read_scores

_CONDITIONS = ("preset", "settings", "all_settings", "backbone", "backbone_weights", "max_minutes", "half", "map_size")
_REPEATED = ("seed", "maps", "maps_checksum")  # what differs between runs that may be merged
_DATA_FACTS = {"root", "categories", "checksum"}  # of a data set in run.json


@dataclass(frozen=True)
class Results:
    """What a run left in its folder.

    Attributes:
        folder: of the run.
        scores: all of ``scores.csv``, means over categories computed anew.
        record: ``run.json``; empty where there is none.
    """

    folder: Path
    scores: Sequence[Score]
    record: dict[str, Any]

    @property
    def methods(self) -> list[str]:
        """Names of the scored methods, in the order of the scores."""
        return list(dict.fromkeys(score.case.method for score in self.scores))

    @property
    def datasets(self) -> list[str]:
        """Keys of the scored data sets, in the order of the scores."""
        return list(dict.fromkeys(score.case.dataset for score in self.scores))

    @property
    def store(self) -> MapStore:
        """The maps."""
        return MapStore(self.folder / "maps")

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol of the scores.

        Raises:
            InputError: there are several, or it is no preset.
        """
        stamps = list(dict.fromkeys(score.protocol for score in self.scores))
        if len(stamps) > 1:
            raise InputError(f"{self.folder} holds scores under {', '.join(stamps)}; maps are read under one protocol")
        return find_protocol(stamps[0])

    def samples(self, dataset: str) -> list[Sample]:
        """The test images that were scored.

        Raises:
            InputError: the run does not say where they lie, they are not there any more, or they have changed.
        """
        facts = self.record.get("datasets", {}).get(dataset)
        if facts is None or dataset not in DATASETS:
            raise InputError(f"{self.folder / 'run.json'} does not say where the images of {dataset} lie; run it again")
        root = Path(facts["root"]) if facts["root"] else None
        samples = DATASETS[dataset].find(root, facts["categories"])
        if checksum(samples) != facts["checksum"]:
            raise InputError(
                f"the images of {dataset} below {root} have changed since {self.folder} was scored; put them back, or "
                "run again with --overwrite"
            )
        return [sample for sample in samples if sample.split == "test"]

    def checksums(self) -> dict[str, str]:
        """Checksum of the data by data set, as far as the run recorded it."""
        return {key: facts["checksum"] for key, facts in self.record.get("datasets", {}).items()}


def read_results(folders: Sequence[Path], mixed: bool = False) -> list[Results]:
    """Read finished runs.

    Args:
        folders: of the runs.
        mixed: accept runs on different data.

    Raises:
        InputError: no run there, one named twice or not finished, or data, settings or one seed twice between runs.
    """
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise InputError(f"{folder} is named twice; name each run once")
    results = [_read(folder) for folder in folders]
    seen: dict[str, tuple[str, Path]] = {}
    for result in results:
        for dataset, found in result.checksums().items():
            first, folder = seen.setdefault(dataset, (found, result.folder))
            if first != found:
                said = f"{folder} and {result.folder} were scored on different images of {dataset}"
                if not mixed:
                    raise InputError(f"{said}; score the same images, or pass --mixed")
                warnings.warn(f"{said}; their numbers do not compare", stacklevel=2)
    _refuse_other_settings(results)
    return results


def _refuse_other_settings(results: Sequence[Results]) -> None:
    """Only seeds of one method are merged: other settings are another method, and one seed twice is no repetition."""
    seen: dict[tuple[str, str, str], list[tuple[dict[str, Any], Path]]] = {}
    for result in results:
        protocols = {f"{score.case.method}/{score.case.dataset}": score.protocol for score in result.scores}
        for name, case in result.record.get("cases", {}).items():
            case = {"map_size": "model"} | case  # older records lack it
            before = seen.setdefault((name, protocols[name], case.get("data", "")), [])
            for other, folder in before:
                both = f"{result.folder} and {folder} both hold {name}"
                for key in _CONDITIONS:
                    if case.get(key) != other.get(key):
                        said = f"with {key} {case.get(key)} and {other.get(key)}"
                        raise InputError(f"{both}, {said}; only seeds can be merged, so report on one of them")
                if all(case.get(key) == other.get(key) for key in _REPEATED):
                    raise InputError(f"{both} with seed {case.get('seed')}; report on one of them")
            before.append((case, result.folder))


def _read(folder: Path) -> Results:
    record: dict[str, Any] = {}
    path = folder / "run.json"
    if path.is_file():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not all(facts.keys() >= _DATA_FACTS for facts in record.get("datasets", {}).values()):
                raise ValueError(f"a data set lacks one of {', '.join(sorted(_DATA_FACTS))}")
            dict(record.get("cases", {}))
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); run again with --out {folder}") from None
    scores = read_scores(folder / "scores.csv")
    categories = [score for score in scores if score.case.category != MEAN]
    scores = mean_scores(categories) if categories else scores
    scored: dict[str, set[str]] = {}
    for score in categories:
        scored.setdefault(f"{score.case.method}/{score.case.dataset}", set()).add(score.case.category)
    unfinished = [
        name
        for name, case in record.get("cases", {}).items()
        if "seconds" not in case or not scored.get(name, set()) >= _categories(record, name)
    ]
    if unfinished:
        raise InputError(f"{folder} is not finished with {', '.join(unfinished)}; run again with --out {folder}")
    return Results(folder, scores, record)


def _categories(record: Mapping[str, Any], case: str) -> set[str]:
    """The categories that a case covers when it is finished."""
    _, dataset = case.split("/")
    return set(record.get("datasets", {}).get(dataset, {}).get("categories", ()))
