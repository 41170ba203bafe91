"""Methods x one data set: maps and scores, in a folder where interrupted work goes on."""

import shutil
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from inspect import getattr_static
from typing import Any

import numpy as np

from aseg_bench.analysis.scored_maps import by_category
from aseg_bench.corruptions import clean_of
from aseg_bench.datasets.records import VALIDATION
from aseg_bench.errors import AsegBenchError, InputError
from aseg_bench.files import to_disk, written_whole
from aseg_bench.images import image_size
from aseg_bench.methods import Method
from aseg_bench.metrics import AT_THRESHOLD, DEFAULT_METRICS
from aseg_bench.metrics.thresholds import find_rule
from aseg_bench.predictions.loading import checksum_of_files
from aseg_bench.progress import track
from aseg_bench.protocols import Protocol
from aseg_bench.protocols.frame import resized_map
from aseg_bench.records import AnomalyMap, Case, Finding, Sample, Score
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.learning import write_curve
from aseg_bench.runs.lock import held, is_helper
from aseg_bench.runs.loggers import log_scores
from aseg_bench.runs.memory import peak_bytes, restart_peak
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.provenance import machine, made_by, versions
from aseg_bench.runs.readiness import Ready, ready_of
from aseg_bench.runs.record import CaseRecord
from aseg_bench.runs.results import Results
from aseg_bench.runs.thresholds import found_threshold
from aseg_bench.scoring.categories import SCORING, score_meeting

CONFIG = "config.yaml"


def run(plan: RunPlan) -> Results:
    """Make, keep and score the maps of every method on the data set; what is finished is not done again.

    Maps that other code made are taken again where their files have changed since, which is said in a warning.

    Returns:
        All that the folder holds of this run, and of other data sets or methods kept there. It has no scores after
        training only, in a process of ``torchrun`` other than the first, and where every method has failed.

    Raises:
        InputError: a name is unknown, the data cannot be used, the folder holds results of other data or settings, or
            another process holds it; before any work.
        MissingWeightsError: the weights of a backbone cannot be had; before any work.
        TrainingError: a training cannot go on; what is finished stays.
    """
    with held(plan.out):
        folder = RunFolder(plan.out)
        ready = ready_of(plan, folder)
        if is_helper():
            for name, method in ready.due.items():
                method.fit(ready.train)
                if name not in plan.maps and not plan.train_only:
                    deque(method.predict(ready.mapped), maxlen=0)  # its share of the maps goes to the first process
            return Results(folder, [])
        return _run(plan, folder, ready)


def _run(plan: RunPlan, folder: RunFolder, ready: "Ready") -> Results:
    if plan.config:
        with written_whole(plan.out / CONFIG) as temporary:
            temporary.write_text(plan.config, encoding="utf-8")
    if plan.overwrite:
        folder.discard(plan.methods, plan.dataset, plan.maps)
    record = folder.record.with_data(plan.dataset, ready.data)  # what is odd about masks depends on the mask rule
    record = record.with_plan(plan.methods, plan.dataset)
    if record != folder.record:
        folder.write_record(record)
    if plan.train_only:
        _each(plan, folder, ready, list(ready.due), lambda name: _train(plan, folder, ready, name))
        return Results(folder, [])
    _drop_scores(
        folder,
        lambda score: (
            score.case.dataset == plan.dataset
            and score.case.method in plan.methods
            and (score.case.method in ready.due or score.protocol != ready.protocol.stamp)
        ),
    )

    def finish(name: str) -> None:
        if name in ready.due:
            _make_maps(plan, folder, ready, name)
        _find_threshold(plan, folder, ready, name)
        if _score(plan, folder, ready, name) and name in ready.loggers:
            scores = [one for one in folder.scores if (one.case.method, one.case.dataset) == (name, plan.dataset)]
            steps = folder.record.cases[name, plan.dataset].about.get("training", {}).get("steps", 0)
            log_scores(ready.loggers[name], scores, steps)

    _each(plan, folder, ready, plan.methods, finish)
    _order_scores(plan, folder, ready)
    return Results.of(folder) if folder.has_scores else Results(folder, [])


def _each(
    plan: RunPlan, folder: RunFolder, ready: "Ready", names: Sequence[str], work: Callable[[str], object]
) -> None:
    """Do some work for each method; why one has failed is noted, and the others go on if the plan says so."""
    for name in names:
        status = "failed"
        try:
            work(name)
            status = "success"
        except Exception as error:
            reason = str(error) if isinstance(error, AsegBenchError) else f"{type(error).__name__}: {error}"
            with suppress(OSError):  # of a full disk, say, which is then the error itself
                folder.note_failure(name, plan.dataset, reason)
            if not plan.keep_going:
                raise
            if not isinstance(error, AsegBenchError):
                traceback.print_exc()  # a bug of the method's, which its author will want to see
        finally:
            if name in ready.loggers:
                ready.loggers[name].finalize(status)


def _train(plan: RunPlan, folder: RunFolder, ready: Ready, name: str) -> tuple[Method, CaseRecord]:
    """Fit. The record says so before the work: what a crash leaves is then known for what it is."""
    method = ready.due.pop(name)
    shutil.rmtree(folder.store.folder(name, plan.dataset), ignore_errors=True)  # of a crashed run
    case = CaseRecord(ready.conditions[name], scoring=SCORING)
    folder.write_record(folder.record.with_case(name, plan.dataset, case))
    method.fit(ready.train)
    return method, case


def _make_maps(plan: RunPlan, folder: RunFolder, ready: Ready, name: str) -> None:
    """Fit and predict."""
    started, is_measured = time.monotonic(), name not in plan.maps and restart_peak()
    method, case = _train(plan, folder, ready, name)
    fitted = time.monotonic()
    mapped = ready.mapped
    for anomaly_map in track(method.predict(mapped), f"maps of {name}", len(mapped), plan.options.quiet):
        sized = _of_image_size(anomaly_map) if plan.map_size == "image" else anomaly_map
        folder.store.write(name, sized, half=plan.half)
    missing = folder.store.missing(name, mapped)
    if missing:
        raise InputError(
            f"{name} gave no map for {len(missing)} images, first {missing[0].name}; "
            "its predict must yield one for each"
        )
    to_disk(folder.store.folder(name, plan.dataset))  # before the record says that they are finished
    conditions, kept = case.conditions, checksum_of_files(folder.store.folder(name, plan.dataset))
    if name not in plan.maps:
        conditions = replace(conditions, maps_checksum=kept)
    weights = folder.checkpoint_file(name, plan.dataset)
    seconds = {"fit": round(fitted - started, 1), "predict": round(time.monotonic() - fitted, 1)}
    made = replace(
        case,
        conditions=conditions,
        about={**_about(method), **({"peak_bytes": peak_bytes()} if is_measured else {})},
        seconds=seconds,
        findings=[*_halving(plan, folder, name), *_holding_out(plan, ready, name)],
        of_maps=tuple(getattr(method, "findings", ())),
        made={**made_by(), "machine": machine(), **versions()},
        kept_checksum=kept,
        weights_checksum=checksum_of_files(weights) if weights.is_file() else None,
    )
    if plan.options.learning_curve and name not in plan.maps and plan.dataset == clean_of(plan.dataset):
        write_curve(method, made, folder, plan.dataset, ready.test, ready.protocol)
    folder.write_record(folder.record.with_case(name, plan.dataset, made))


def _about(method: Method) -> Mapping[str, Any]:
    """What a method says of itself, if it does; a fault of its own is not taken for silence."""
    return (getattr_static(method, "about", None) and method.about) or {}  # type: ignore[attr-defined]


def _halving(plan: RunPlan, folder: RunFolder, name: str) -> list[Finding]:
    n_merged, n_values = folder.store.merged_by_half(name)
    if not n_merged:
        return []
    text = (
        f"--half merges scores: {n_merged:,} of the {n_values:,} float16 values in its maps stand for several scores "
        "each, which now tie; leave it out to keep all"
    )
    return [Finding("half", text, Case(name, plan.dataset, ""))]


def _holding_out(plan: RunPlan, ready: Ready, name: str) -> list[Finding]:
    if not ready.normal or ready.normal[0].split == VALIDATION:
        return []
    n = len(ready.normal)
    text = f"{n} of {n + len(ready.train)} training images were held out of the training, for the threshold"
    return [Finding("held_out", text, Case(name, plan.dataset, ""))]


def _find_threshold(plan: RunPlan, folder: RunFolder, ready: Ready, name: str) -> None:
    """Find the threshold of the plan on the maps of normal images, unless the record has it of these very maps."""
    if plan.threshold is None:
        return
    made = folder.record.cases[name, plan.dataset]
    if made.threshold and (made.threshold.rule, made.threshold.protocol) == (plan.threshold, ready.protocol.stamp):
        return
    _drop_scores(folder, lambda score: (score.case.method, score.case.dataset) == (name, plan.dataset))
    found = found_threshold(folder.store, name, ready.normal, ready.protocol, find_rule(plan.threshold))
    folder.write_record(folder.record.with_case(name, plan.dataset, replace(made, threshold=found)))


def _of_image_size(anomaly_map: AnomalyMap) -> AnomalyMap:
    scores = np.asarray(anomaly_map.scores)
    if scores.ndim != 2 or not scores.size:
        return anomaly_map  # the store says what is wrong with it
    return replace(anomaly_map, scores=resized_map(scores, image_size(anomaly_map.sample.image_path)))


def _score(plan: RunPlan, folder: RunFolder, ready: Ready, name: str) -> bool:
    """Score the categories whose maps have no scores yet, and count their pixels; whether there were any."""
    cases = {Case(name, *place): samples for place, samples in by_category(ready.test).items()}
    due = [case for case, samples in cases.items() if not _is_scored(plan, folder, case, samples, ready.protocol)]
    at = folder.record.cases[name, plan.dataset].threshold
    _drop_scores(folder, lambda score: score.case in due)
    made = folder.record.cases[name, plan.dataset]
    if made.scoring != SCORING:
        folder.write_record(folder.record.with_case(name, plan.dataset, replace(made, scoring=SCORING)))
    for case in track(due, f"scoring {name}", len(due), plan.options.quiet or not due):
        maps = folder.maps(case, cases[case], ready.protocol)  # one category at a time: each keeps what it has read
        assert maps.meeting is not None, "stored maps have met their truth"
        threshold = at.at(case.category, ready.protocol.stamp) if at else None
        metrics = _metrics(plan, is_at_threshold=threshold is not None)
        scored = score_meeting(case, maps.meeting, metrics=metrics, threshold=threshold)
        folder.keep(case, scored)
        _ = maps.counts  # last: they stand for finished scores
    return bool(due)


def _is_scored(plan: RunPlan, folder: RunFolder, case: Case, samples: Sequence[Sample], protocol: Protocol) -> bool:
    """Whether the folder has all scores of these very maps under this protocol, and their counts."""
    made = folder.record.cases[case.method, case.dataset]
    found = {score.metric for score in folder.scores if (score.case, score.protocol) == (case, protocol.stamp)}
    is_at_threshold = made.threshold is not None and made.threshold.at(case.category, protocol.stamp) is not None
    is_whole = found >= set(_metrics(plan, is_at_threshold=is_at_threshold)) and made.scoring == SCORING
    return is_whole and folder.maps(case, samples, protocol).has_counts


def _metrics(plan: RunPlan, *, is_at_threshold: bool) -> Sequence[str]:
    return plan.metrics or (*DEFAULT_METRICS, *(AT_THRESHOLD if is_at_threshold else ()))


def _drop_scores(folder: RunFolder, is_stale: Callable[[Score], bool]) -> None:
    """No score outlives the maps and the rules that it is of."""
    kept = [score for score in folder.scores if not is_stale(score)]
    if len(kept) < len(folder.scores):
        folder.write_scores(kept)


def _order_scores(plan: RunPlan, folder: RunFolder, ready: Ready) -> None:
    """The scores of the plan behind all others, methods as planned and categories as they come."""
    places = {case: number for number, case in enumerate(_cases(plan, ready))}
    ordered = sorted(folder.scores, key=lambda score: places.get(score.case, -1))
    if ordered != folder.scores:
        folder.write_scores(ordered)


def _cases(plan: RunPlan, ready: Ready) -> list[Case]:
    return [Case(name, *place) for name in plan.methods for place in by_category(ready.test)]
