"""Whether the scores of a run are good enough: above given values, and no worse than those of another run."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aseg_bench.errors import InputError, near_matches
from aseg_bench.metrics import METRICS
from aseg_bench.metrics.checks import check_keys
from aseg_bench.records import MEAN
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import Key, Result, merge_runs
from aseg_bench.runs.together import unlike

_ROUNDING = 1e-12  # of a bound that is a difference


@dataclass(frozen=True, slots=True)
class Bound:
    """The worst value that passes: the lowest, or the highest of a metric where lower is better.

    Attributes:
        metric: key of ``METRICS``.
        value: in the metric's unit.
        category: where it holds, ``mean`` for the mean of the categories; empty for all categories and their mean.
    """

    metric: str
    value: float
    category: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that does not pass.

    Attributes:
        method: name of the method.
        dataset: key of the data set.
        category: ``mean`` for the mean of the categories; empty where the method has failed as a whole.
        metric: key of ``METRICS``; empty as before.
        value: None where there is none.
        bound: the worst value that would have passed; None as before.
        reason: what is wrong with the value, in words.
    """

    method: str
    dataset: str
    category: str
    metric: str
    value: float | None
    bound: float | None
    reason: str

    def __str__(self) -> str:
        """One line."""
        place = ", ".join(filter(None, (self.method, f"{self.dataset} {self.category}".strip(), self.metric)))
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate found.

    Attributes:
        failures: the cells that do not pass, in the order of the scores.
        n_checked: number of comparisons of a cell with a bound.
    """

    failures: Sequence[Failure]
    n_checked: int

    def to_json(self) -> str:
        """An object with ``passed``, ``n_checked`` and ``failures``."""
        rows = [asdict(failure) for failure in self.failures]
        return json.dumps({"passed": not rows, "n_checked": self.n_checked, "failures": rows}, indent=1)


def gate(
    run: Path,
    bounds: Sequence[Bound] = (),
    against: Path | None = None,
    *,
    tolerance: float = 0.0,
    metrics: Sequence[str] | None = None,
) -> Gate:
    """Hold the scores of a run against bounds, and against those of another run on the same images.

    Args:
        run: folder of a finished run or evaluation.
        bounds: what every method must reach.
        against: folder of the run whose every cell must be reached; methods that it does not have are free.
        tolerance: by how much a cell may be worse than there, as a fraction; of metrics in pixels and of ratios
            as a share of the value there.
        metrics: keys of those that are held against the other run; None takes all where a direction is better.

    Raises:
        InputError: there is nothing to check, a bound is on a metric or a category that the run does not have, on one
            where neither direction is better or beyond its range, or the runs have no cell in common, other images, or
            numbers that do not compare, as those at thresholds of other rules.
    """
    if not bounds and against is None:
        raise InputError("there is nothing to check; give --min METRIC=VALUE, --against RUN, or both")
    if against is None and metrics is not None:
        raise InputError("--metrics says what is held against another run; give it with --against RUN")
    if not 0 <= tolerance < math.inf:
        raise InputError(f"the tolerance is {tolerance}; it must be 0 or above")
    check_keys(metrics or (), tuple(METRICS))
    results = Results.of(RunFolder(run))
    cells = merge_runs([results.scores], mixed=True)
    failures = [
        Failure(*key, "", "", None, None, f"has no scores, as it failed: {case.failed}")
        for key, case in results.record.cases.items()
        if case.failed
    ]
    scored = {(key.method, key.dataset) for key in cells}
    failures += [
        Failure(*key, "", "", None, None, "has no scores; give the command of the run again")
        for key in results.record.planned
        if key not in scored and not any(key == (one.method, one.dataset) for one in failures)
    ]
    n_checked = 0
    for bound in bounds:
        _check_bound(bound, cells, run)
        for of_all in dict.fromkeys(key._replace(category=MEAN, metric=bound.metric) for key in cells):
            of_method = [key for key in cells if key._replace(category=MEAN) == of_all]
            places = [key for key in of_method if bound.category in ("", key.category)]
            for key in places or [of_all._replace(category=bound.category or MEAN)]:  # what a method lacks fails
                n_checked += 1
                failures += _failure(key, cells.get(key), bound.value, "")
    if against is not None:
        base = Results.of(RunFolder(against))
        _check_images(results, base)
        wanted = {
            key: cell
            for key, cell in merge_runs([base.scores], mixed=True).items()
            if key.metric in (metrics or METRICS) and METRICS[key.metric].higher_is_better is not None
        }
        if not wanted.keys() & cells.keys():
            stamps = [", ".join(dict.fromkeys(one.protocol for one in of.scores)) for of in (results, base)]
            raise InputError(
                f"{run} ({', '.join(results.methods)}; {stamps[0]}) and {against} ({', '.join(base.methods)}; "
                f"{stamps[1]}) have no cell in common; score the same methods, metrics and data sets by one protocol"
            )
        for key in wanted:
            if key in cells:
                _check_alike(results, base, key)
        for key, cell_there in wanted.items():
            there, here = cell_there.value, cells.get(key)
            is_other_mean = key.category == MEAN and here is not None and here.note != cell_there.note
            if there is not None and not is_other_mean:  # a mean over other categories: those that are lost fail
                n_checked += 1
                metric = METRICS[key.metric]
                slack = tolerance if metric.unit == "fraction" else tolerance * abs(there)
                worst = round(there - slack if metric.higher_is_better else there + slack, 12)
                failures += _failure(key, here, worst, f" ({there} in {against})")
    return Gate(list(dict.fromkeys(failures)), n_checked)


def _failure(key: Key, cell: Result | None, bound: float, source: str) -> list[Failure]:
    metric = METRICS[key.metric]
    value = None if cell is None else cell.value
    if value is None:
        reason = f"has no value{source}: {cell.note if cell else 'not in the run'}"
    elif (bound - value if metric.higher_is_better else value - bound) > _ROUNDING:
        reason = f"{value} is {'below' if metric.higher_is_better else 'above'} {bound}{source}"
    else:
        return []
    return [Failure(key.method, key.dataset, key.category, key.metric, value, bound, reason)]


def _check_bound(bound: Bound, cells: Mapping[Key, Result], run: Path) -> None:
    check_keys([bound.metric], tuple(METRICS))
    metric = METRICS[bound.metric]
    if metric.higher_is_better is None:
        raise InputError(f"of {bound.metric} neither direction is better, so it has no worst value; choose another")
    if not math.isfinite(bound.value) or (metric.unit == "fraction" and not 0 <= bound.value <= 1):
        raise InputError(f"{bound.metric}={bound.value} is not a value from 0 to 1; divide percentages by 100")
    held = dict.fromkeys(key.metric for key in cells)
    if bound.metric not in held:
        raise InputError(f"{run} has no {bound.metric}; run again with --metrics, or choose of {', '.join(held)}")
    categories = list(dict.fromkeys(key.category for key in cells))
    if bound.category and bound.category not in categories:
        raise InputError(f"{run} has no category {bound.category}; {near_matches(bound.category, categories)}")


def _check_images(results: Results, base: Results) -> None:
    for dataset in dict.fromkeys(score.case.dataset for score in results.scores):
        if (dataset in results.record.datasets) != (dataset in base.record.datasets):
            raise InputError(
                f"only one of {results.folder.out} and {base.folder.out} says which images of {dataset} it was scored "
                "on; score both with --dataset"
            )
    for dataset, facts in results.record.datasets.items():
        there = base.record.datasets.get(dataset)
        if there is not None and there.checksum != facts.checksum:
            raise InputError(
                f"{results.folder.out} and {base.folder.out} were scored on different images of {dataset}; score the "
                "same images"
            )


def _check_alike(results: Results, base: Results, key: Key) -> None:
    case, other = (of.record.cases.get((key.method, key.dataset)) for of in (results, base))
    for name, own, others in unlike(case, other, key.category, key.metric) if case and other else ():
        raise InputError(
            f"{results.folder.out} and {base.folder.out} both hold {key.method}/{key.dataset}, with {name} {own} and "
            f"{others}: their {key.metric} does not compare; run both alike, or name other metrics with --metrics"
        )
