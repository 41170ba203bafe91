"""Methods x one data set: maps and scores, in a folder where interrupted work goes on."""

import json
import shutil
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from inspect import getattr_static
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aseg_bench.analysis.scored_maps import by_category
from aseg_bench.corruptions import clean_of
from aseg_bench.datasets import AS_USUAL, Reading, check_images, find_samples
from aseg_bench.errors import AsegBenchError, InputError, near_matches
from aseg_bench.files import folder_name, to_disk, written_whole
from aseg_bench.images import image_size
from aseg_bench.methods import Estimate, Logger, Method, MethodOptions, find_method
from aseg_bench.metrics import AT_THRESHOLD, DEFAULT_METRICS, METRICS
from aseg_bench.metrics.checks import check_keys
from aseg_bench.metrics.thresholds import find_rule
from aseg_bench.predictions.imported import MapsMethod, import_maps
from aseg_bench.predictions.loading import checksum_of_files
from aseg_bench.predictions.records import Limits
from aseg_bench.progress import duration, track, working
from aseg_bench.protocols import Protocol, find_protocol
from aseg_bench.protocols.frame import resized_map
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, own_rule
from aseg_bench.protocols.meeting import check_known
from aseg_bench.records import AnomalyMap, Case, Finding, Sample, Score
from aseg_bench.runs.admission import check_data, check_tables, data_facts
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.learning import write_curve
from aseg_bench.runs.lock import held, is_helper
from aseg_bench.runs.loggers import log_scores, make_logger
from aseg_bench.runs.memory import peak_bytes, restart_peak
from aseg_bench.runs.provenance import machine, made_by, versions
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts
from aseg_bench.runs.results import Results
from aseg_bench.runs.thresholds import (
    HELD_OUT,
    VALIDATION,
    check_leaves_scores,
    find_with_validation,
    found_threshold,
    held_out,
)
from aseg_bench.scoring.categories import SCORING, score_meeting

MAP_SIZES = ("model", "image")
CONFIG = "config.yaml"
_OF_MAPS = ("data", "half", "map_size", "maps_checksum")  # conditions that a training does not depend on


@dataclass(frozen=True)
class RunPlan:
    """What a run will do.

    Attributes:
        methods: names of installed methods, in the order of the tables.
        dataset: key of ``DATASETS``.
        out: folder of the run.
        data_root: where the data set lies; None for one that needs no root.
        categories: those to take; None takes all.
        options: for every live method; ``folder`` and ``settings`` are set per method.
        settings: method -> field -> value, as the user typed them.
        protocol: key of ``PROTOCOLS``.
        mask_rule: which values of a mask mean anomalous or void, see `MaskRule`; part of the protocol.
        metrics: keys of ``METRICS``; None takes ``DEFAULT_METRICS``.
        half: keep maps in half precision.
        map_size: keep maps in the size that the method gives them (``model``), or resize them bilinearly to the
            original ``image``, as MVTec's evaluation code needs them.
        overwrite: discard what there is of the methods on the data set, and compute it again.
        mixed: tables may mix protocols, if the folder holds scores under others.
        train_only: stop when the live methods are trained; the same plan without it goes on from there.
        reading: how the files of the data set are read.
        maps: method -> file or folder of maps that other code made; these methods are read, not run.
        checkpoints: method -> file with its weights; these live methods are not trained.
        limits: how much a file of these may ask for, and whether pickles are read.
        allow_clamped: take clamped maps of layouts that usually clamp them.
        keep_going: a method that fails is noted with its reason, and the others go on.
        threshold: key of ``THRESHOLDS``, the rule by which normal images that are not trained on give the threshold at
            which pixels are called anomalous; None finds none.
        logger: takes the losses and scores of each method, see `make_logger`; None for none.
        config: what the folder keeps as ``config.yaml``, to repeat the run from; empty keeps none.
    """

    methods: Sequence[str]
    dataset: str
    out: Path
    data_root: Path | None = None
    categories: Sequence[str] | None = None
    options: MethodOptions = field(default_factory=MethodOptions)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    protocol: str = "exact"
    mask_rule: str = DEFAULT_RULE
    metrics: Sequence[str] | None = None
    half: bool = False
    map_size: str = MAP_SIZES[0]
    overwrite: bool = False
    mixed: bool = False
    train_only: bool = False
    reading: Reading = AS_USUAL
    maps: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    allow_clamped: bool = False
    keep_going: bool = False
    threshold: str | None = None
    logger: str | None = None
    config: str = ""


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
        ready = _ready(plan, folder)
        if is_helper():
            for name, method in ready.due.items():
                method.fit(ready.train)
                if name not in plan.maps and not plan.train_only:
                    deque(method.predict(ready.mapped), maxlen=0)  # its share of the maps goes to the first process
            return Results(folder, [])
        return _run(plan, folder, ready)


def _run(plan: RunPlan, folder: RunFolder, ready: "_Ready") -> Results:
    if plan.config:
        with written_whole(plan.out / CONFIG) as temporary:
            temporary.write_text(plan.config, encoding="utf-8")
    if plan.overwrite:
        folder.discard(plan.methods, plan.dataset)
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
    plan: RunPlan, folder: RunFolder, ready: "_Ready", names: Sequence[str], work: Callable[[str], object]
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


def preview(plan: RunPlan) -> list[str]:
    """What ``run`` has found and would do, and about how long it would take, in sentences.

    It checks all that ``run`` checks before any work; methods that can time a little of their work do it here.

    Raises:
        InputError: as ``run``.
        MissingWeightsError: as ``run``.
        TrainingError: the steps that are timed show that the training cannot go on.
    """
    folder = RunFolder(plan.out)
    ready = _ready(plan, folder)
    n_anomalous = sum(sample.is_anomalous for sample in ready.test)
    texts = [
        f"{plan.dataset}: {len(ready.data.categories)} categories, {len(ready.train)} training images, "
        f"{len(ready.test)} test images: {n_anomalous} anomalous, {len(ready.test) - n_anomalous} good",
        *(f"{plan.dataset}: {finding.text}" for finding in ready.data.findings),
    ]
    if ready.normal:
        where = "of the validation split" if ready.normal[0].split == VALIDATION else "held out of the training"
        texts.append(f"the threshold is found on {len(ready.normal)} normal images {where}, by {plan.threshold}")
    seconds, unknown = 0.0, []
    for name in plan.methods:
        if name not in ready.due:
            texts.append(f"{name}: its maps are finished")
        elif name in plan.maps:
            texts.append(f"{name}: its maps of {len(ready.mapped)} images are read from {plan.maps[name]}")
        else:
            has_begun = folder.training(name, plan.dataset).exists() and not plan.overwrite
            todo = f"it goes on from {folder.training(name, plan.dataset)}" if has_begun else "it is trained"
            todo += " and nothing else" if plan.train_only else f" and maps {len(ready.mapped)} images"
            with working(f"timing a little of {name}", plan.options.quiet):
                found = _estimate(ready.due[name], ready.train, ready.mapped)
            if found is None:
                unknown.append(name)
            else:
                seconds += found.seconds
                todo += f", in about {duration(found.seconds)} (estimated from {found.basis})"
            texts.append(f"{name}: {todo}")
    left_out = "" if plan.train_only else "; reading maps, scoring and the report come on top"
    total = f", in about {duration(seconds)}{left_out}" if seconds and not unknown else ""
    known_later = f"; how long {', '.join(unknown)} will take is not known before" if unknown else ""
    return [*texts, f"all goes into {plan.out}{total}{known_later}"]


def _estimate(method: Method, train: Sequence[Sample], test: Sequence[Sample]) -> Estimate | None:
    return method.estimate(train, test) if getattr_static(method, "estimate", None) else None  # type: ignore[attr-defined]


def check(plan: RunPlan) -> None:
    """Refuse what ``run`` would refuse before any work.

    Raises:
        InputError: as ``run``.
        MissingWeightsError: as ``run``.
    """
    _ready(plan, RunFolder(plan.out))


class _Ready(NamedTuple):
    """What a run knows before any work: its images and what becomes of each method.

    Attributes:
        protocol: of the scores.
        train: what live methods are trained on.
        test: what is scored.
        normal: on which the threshold is found; none without one.
        data: what the record says of the images.
        conditions: by method.
        due: methods to be made.
        loggers: of the methods that have one.
    """

    protocol: Protocol
    train: Sequence[Sample]
    test: Sequence[Sample]
    normal: Sequence[Sample]
    data: DataFacts
    conditions: Mapping[str, Conditions]
    due: dict[str, Method]
    loggers: Mapping[str, Logger]

    @property
    def mapped(self) -> list[Sample]:
        """All images that need a map, category by category."""
        return _mapped(self.test, self.normal)


def _mapped(test: Sequence[Sample], normal: Sequence[Sample]) -> list[Sample]:
    return sorted([*test, *normal], key=lambda sample: sample.category)


def _ready(plan: RunPlan, folder: RunFolder) -> _Ready:
    protocol = find_protocol(plan.protocol, plan.mask_rule)
    _check_names(plan, folder)
    live = [name for name in plan.methods if name not in plan.maps]
    splits = (["train"] if live else []) + ([] if plan.train_only else ["test"])
    reading = replace(plan.reading, splits=splits)
    find = find_samples if plan.threshold is None else find_with_validation
    found = find(plan.dataset, plan.data_root, plan.categories, reading)
    samples = [sample for sample in found if sample.split != VALIDATION]
    check_known(samples, protocol)
    train, test = ([sample for sample in samples if sample.split == split] for split in ("train", "test"))
    normal = [sample for sample in found if sample.split == VALIDATION]
    is_held_out = plan.threshold is not None and not normal
    if is_held_out:
        _check_held_out(plan)
        normal = held_out(train)
        apart = {sample.image_path for sample in normal}
        train = [sample for sample in train if sample.image_path not in apart]
    with working("checking images and maps", plan.options.quiet):
        findings = check_images(found, plan.data_root, is_anomalous=own_rule(plan.mask_rule))
        data = data_facts(plan.data_root, samples, reading, findings)
        conditions = _conditions(plan, data, HELD_OUT if is_held_out else 0.0)
    check_data(folder, plan.dataset, data, plan.methods, overwrite=plan.overwrite)
    n_images = Counter(sample.category for sample in test)
    planned = {Case(name, plan.dataset, key): count for name in plan.methods for key, count in n_images.items()}
    check_tables(folder, planned, protocol, mixed=plan.mixed)
    mapped = _mapped(test, normal)
    due = [name for name in plan.methods if _is_due(plan, folder, name, conditions[name], mapped)]
    loggers = {
        name: make_logger(plan.logger, folder.training(name, plan.dataset), f"{name}/{plan.dataset}")
        for name in plan.methods
        if plan.logger and not is_helper()
    }
    methods = {name: _build(plan, folder, name, mapped, loggers.get(name)) for name in due}
    return _Ready(protocol, train, test, normal, data, conditions, methods, loggers)


def _check_held_out(plan: RunPlan) -> None:
    for name, path in plan.maps.items():
        raise InputError(
            f"--threshold needs maps of normal images that {name} was not trained on: {plan.dataset} has no validation "
            f"split, and nobody knows which training images the code behind {path} has held out; leave --threshold out"
        )


def _check_names(plan: RunPlan, folder: RunFolder) -> None:
    check_keys(plan.metrics or (), tuple(METRICS))
    if plan.threshold is not None:
        find_rule(plan.threshold)
        check_leaves_scores(find_protocol(plan.protocol, plan.mask_rule))
    if plan.map_size not in MAP_SIZES:
        raise InputError(f"no map size {plan.map_size}; {near_matches(plan.map_size, MAP_SIZES)}")
    if not plan.methods:
        raise InputError("no method named; `aseg-bench methods` lists them")
    if len(set(plan.methods)) < len(plan.methods):
        raise InputError(f"a method is named twice in {', '.join(plan.methods)}; name each once")
    folders = Counter(map(folder_name, plan.methods))
    for name in plan.methods:
        if folders[folder_name(name)] > 1:
            raise InputError(f"{name} shares the folder {folder_name(name)} with another method; rename that")
    live = [name for name in plan.methods if name not in plan.maps]
    for name in live:
        facts = find_method(name)
        if facts.member is not None:
            raise InputError(
                f"{name} is a family; name one of its methods, {name}:NAME (`aseg-bench methods --show {name}`)"
            )
        if facts.build is None:
            instead = f"run {facts.live_as}, which takes no official checkpoint, or " if facts.live_as else ""
            raise InputError(
                f"{facts.label} has no live model of its own here; {instead}score the maps of its official code with "
                f"--methods {name}=maps:PATH (`aseg-bench methods --show {name}` says how to write them)"
            )
        if name in plan.checkpoints and facts.model is None:
            raise InputError(f"{name} takes no checkpoint; leave =checkpoint:{plan.checkpoints[name]} out")
    for name in plan.maps:
        folder.store.folder(name)  # refuses a name that is not a folder name
    if plan.train_only and plan.maps:
        raise InputError(f"--train-only trains live methods; leave out {', '.join(plan.maps)}, whose maps are there")
    for name in plan.settings:
        if name not in live:
            raise InputError(f"--set {name}.… sets nothing: no such method is trained; {near_matches(name, live)}")


def _conditions(plan: RunPlan, data: DataFacts, held_out: float) -> dict[str, Conditions]:
    options, weights = plan.options, plan.options.backbone_weights
    shared = Conditions(
        data=data.checksum,
        seed=options.seed,
        preset=options.preset,
        backbone=options.backbone,
        backbone_weights=str(weights) if weights else None,
        backbone_checksum=checksum_of_files(weights) if weights and weights.is_file() else None,
        max_minutes=options.max_minutes,
        precision=options.precision,
        half=plan.half,
        map_size=plan.map_size,
        held_out=held_out,
    )
    return {
        name: replace(shared, maps=str(plan.maps[name]), maps_checksum=checksum_of_files(plan.maps[name]))
        if name in plan.maps
        else replace(shared, settings=dict(plan.settings.get(name, {})), **_of_checkpoint(plan.checkpoints.get(name)))
        for name in plan.methods
    }


def _of_checkpoint(file: Path | None) -> dict[str, Any]:
    return {"checkpoint": str(file), "checkpoint_checksum": checksum_of_files(file)} if file else {}


def _is_due(plan: RunPlan, folder: RunFolder, name: str, conditions: Conditions, mapped: Sequence[Sample]) -> bool:
    """Whether the maps of a method must be made; they must not if a finished case has the same conditions."""
    for key, case in folder.relatives(name, plan.dataset).items() if name not in plan.maps else ():
        for what, before, now in case.conditions.differences(conditions, ignored=_OF_MAPS):
            raise InputError(
                f"{plan.out} holds {name} on {key}, which shares its training with {plan.dataset}, with {what} "
                f"{before}, not {now}; give the same, or choose another --out"
            )
    if plan.overwrite:
        return True
    done = folder.record.cases.get((name, plan.dataset))
    if done is None or done.is_evaluated:  # of the latter the folder has scores alone
        own = [] if folder.relatives(name, plan.dataset) else [folder.training(name, plan.dataset)]
        for place in (folder.store.folder(name, plan.dataset), *own):
            if place.exists():
                raise InputError(f"{place} is of a run without record; move it away, or give --overwrite")
        return True
    made = [*done.conditions.differences(conditions, ignored=["maps_checksum"]), *_changed_numbers(plan, name, done)]
    for key, before, now in made:
        raise InputError(
            f"{plan.out} already holds {name} on {plan.dataset} with {key} {before}, not {now}; "
            "choose another --out, or give --overwrite"
        )
    left_over = folder.store.left_over(name, plan.dataset, mapped)
    if left_over:
        raise InputError(
            f"{len(left_over)} maps of {name} belong to no test image, first {left_over[0]}; remove them, "
            "or give --overwrite"
        )
    if name in plan.maps and done.conditions.maps_checksum not in (
        None,
        conditions.maps_checksum,
    ):  # None: an older one
        warnings.warn(f"{plan.maps[name]} has changed: the maps of {name} are taken from it again", stacklevel=3)
        return True
    if name in plan.maps and done.about.get("mask_rule", DEFAULT_RULE) != plan.mask_rule:
        return True  # what looks odd in them depends on it
    return done.seconds is None or bool(folder.store.missing(name, mapped))


def _changed_numbers(plan: RunPlan, name: str, done: CaseRecord) -> Iterator[tuple[str, Any, Any]]:
    """Numbers of the preset that the user has not replaced and that have changed since a case was made."""
    presets = find_method(name).presets if name not in plan.maps else None
    numbers = asdict(presets()[plan.options.preset]) if presets and "all_settings" in done.about else {}
    replaced = {*plan.settings.get(name, {}), *(["backbone"] if plan.options.backbone else [])}
    for key, value in json.loads(json.dumps(numbers, default=sorted)).items():
        before = done.about["all_settings"].get(key, value)
        if key not in replaced and value != before:
            yield key, before, f"{value}, to which the preset {plan.options.preset} has changed it"


def _build(plan: RunPlan, folder: RunFolder, name: str, mapped: Sequence[Sample], logger: Logger | None) -> Method:
    if name in plan.maps:
        path, own = plan.maps[name], folder.store.folder(name, plan.dataset)
        if _overlap(path, own):
            raise InputError(f"{path} overlaps {own}, where the run puts its own copy; choose another --out")
        imported = import_maps(path, mapped, limits=plan.limits, allow_clamped=plan.allow_clamped)
        tolerated = {""} if plan.categories else set()  # maps of categories that were not asked for do no harm
        if imported.problems.keys() - tolerated:
            raise InputError(f"{name}: {imported.problem_text}")
        return MapsMethod(name, path, limits=plan.limits, allow_clamped=plan.allow_clamped, mask_rule=plan.mask_rule)
    facts = find_method(name)
    assert facts.build is not None, "_check_names has seen to it"
    training, settings = folder.training(name, plan.dataset), plan.settings.get(name, {})
    checkpoint, loggers = plan.checkpoints.get(name), [logger] if logger else []
    options = replace(plan.options, folder=training, settings=settings, checkpoint=checkpoint, loggers=loggers)
    return facts.build(options)


def _overlap(first: Path, second: Path) -> bool:
    first, second = first.resolve(), second.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _train(plan: RunPlan, folder: RunFolder, ready: _Ready, name: str) -> tuple[Method, CaseRecord]:
    """Fit. The record says so before the work: what a crash leaves is then known for what it is."""
    method = ready.due.pop(name)
    shutil.rmtree(folder.store.folder(name, plan.dataset), ignore_errors=True)  # of a crashed run
    case = CaseRecord(ready.conditions[name], scoring=SCORING)
    folder.write_record(folder.record.with_case(name, plan.dataset, case))
    method.fit(ready.train)
    return method, case


def _make_maps(plan: RunPlan, folder: RunFolder, ready: _Ready, name: str) -> None:
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


def _holding_out(plan: RunPlan, ready: _Ready, name: str) -> list[Finding]:
    if not ready.normal or ready.normal[0].split == VALIDATION:
        return []
    n = len(ready.normal)
    text = f"{n} of {n + len(ready.train)} training images were held out of the training, for the threshold"
    return [Finding("held_out", text, Case(name, plan.dataset, ""))]


def _find_threshold(plan: RunPlan, folder: RunFolder, ready: _Ready, name: str) -> None:
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


def _score(plan: RunPlan, folder: RunFolder, ready: _Ready, name: str) -> bool:
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


def _order_scores(plan: RunPlan, folder: RunFolder, ready: _Ready) -> None:
    """The scores of the plan behind all others, methods as planned and categories as they come."""
    places = {case: number for number, case in enumerate(_cases(plan, ready))}
    ordered = sorted(folder.scores, key=lambda score: places.get(score.case, -1))
    if ordered != folder.scores:
        folder.write_scores(ordered)


def _cases(plan: RunPlan, ready: _Ready) -> list[Case]:
    return [Case(name, *place) for name in plan.methods for place in by_category(ready.test)]
