"""How far a run is: what is planned, running, finished or has failed, from its record and from who holds its folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aseg_bench.errors import InputError
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import holder
from aseg_bench.runs.record import CaseRecord, DataFacts


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a method is on a data set.

    Attributes:
        method: its name.
        dataset: key of the data set.
        state: ``planned``, ``running``, ``stopped``, ``done`` or ``failed``.
        detail: what there is of it, or why it failed.
    """

    method: str
    dataset: str
    state: str
    detail: str


def standings(out: Path) -> tuple[list[Standing], str | None]:
    """How far each method of a run is, in the order of the plan, and who holds the folder. Nothing is written.

    A run makes one method after the other, so of those that are not finished the first is running where somebody
    holds the folder; a method that was begun and is not running was stopped.

    Raises:
        InputError: the folder has no record, or a damaged one.
    """
    folder, held_by = RunFolder(out), holder(out)
    if not folder.record_file.exists() and held_by is None:
        raise InputError(f"{folder.record_file} does not exist; a run has it as soon as it begins")
    return list(_standings(folder, is_held=held_by is not None)), held_by


def _standings(folder: RunFolder, *, is_held: bool) -> Iterator[Standing]:
    record, may_run = folder.record, is_held
    earlier = [key for key in record.cases if key not in record.planned]
    for key in [*earlier, *record.planned]:
        case = record.cases.get(key)
        n_scored, facts = len(folder.scored(*key)), record.datasets.get(key[1])
        if case is not None and case.failed:
            yield Standing(*key, "failed", case.failed)
        elif case is not None and folder.is_finished(*key):
            yield Standing(*key, "done", f"{n_scored} categories scored")
        else:
            is_running = may_run and key in record.planned and key[1] == record.planned[-1][1]  # the last run's data
            may_run = may_run and not is_running
            state = "running" if is_running else "planned" if case is None else "stopped"
            yield Standing(*key, state, "" if case is None else _so_far(folder, key, case, n_scored, facts))


def _so_far(folder: RunFolder, key: tuple[str, str], case: CaseRecord, n_scored: int, facts: DataFacts | None) -> str:
    if case.seconds:
        return f"{n_scored} of {len(facts.categories) if facts else 0} categories scored"
    n_maps = sum(1 for _ in folder.store.folder(*key).glob("*/test/*/*.tiff"))
    return f"{n_maps} of {facts.n_test} maps" if facts and facts.n_test else "no maps"
