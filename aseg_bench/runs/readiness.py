"""What a run knows, and refuses, before any work: its images, and what becomes of each method."""

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from inspect import getattr_static
from pathlib import Path
from typing import Any, NamedTuple

from aseg_bench.corruptions import clean_of
from aseg_bench.datasets import check_images, find_samples, root_here
from aseg_bench.datasets.records import VALIDATION
from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import folder_name
from aseg_bench.methods import Estimate, Logger, Method, find_method
from aseg_bench.metrics import METRICS
from aseg_bench.metrics.checks import check_keys
from aseg_bench.metrics.thresholds import find_rule
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.loading import checksum_of_files
from aseg_bench.predictions.maps_method import MapsMethod
from aseg_bench.progress import duration, working
from aseg_bench.protocols import Protocol, find_protocol
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, own_rule
from aseg_bench.protocols.meeting import check_known
from aseg_bench.records import Case, Sample
from aseg_bench.remote import here, named
from aseg_bench.runs.admission import check_data, check_tables, data_facts
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import is_helper
from aseg_bench.runs.loggers import make_logger
from aseg_bench.runs.plan import MAP_SIZES, RunPlan
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts
from aseg_bench.runs.thresholds import (
    HELD_OUT,
    check_leaves_scores,
    find_with_validation,
    held_out,
    normal_checksum,
    where_of,
)

# Conditions that a training does not depend on.
_OF_MAPS = ("data", "half", "map_size", "maps_checksum", "normal_checksum")


class Ready(NamedTuple):
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


def ready_of(plan: RunPlan, folder: RunFolder) -> Ready:
    """Find images and methods of a plan, and check all that can be checked; nothing is written.

    Raises:
        InputError: as `run`.
        MissingWeightsError: as `run`.
    """
    protocol = find_protocol(plan.protocol, plan.mask_rule)
    _check_names(plan, folder)
    maps = {name: here(path) for name, path in plan.maps.items()}
    plan = replace(plan, data_root=root_here(plan.dataset, plan.data_root, plan.categories), maps=maps)
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
        conditions = _conditions(plan, data, HELD_OUT if is_held_out else 0.0, normal_checksum(normal))
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
    return Ready(protocol, train, test, normal, data, conditions, methods, loggers)


def check(plan: RunPlan) -> None:
    """Refuse what ``run`` would refuse before any work.

    Raises:
        InputError: as ``run``.
        MissingWeightsError: as ``run``.
    """
    ready_of(plan, RunFolder(plan.out))


def preview(plan: RunPlan) -> list[str]:
    """What ``run`` has found and would do, and about how long it would take, in sentences.

    It checks all that ``run`` checks before any work; methods that can time a little of their work do it here.

    Raises:
        InputError: as ``run``.
        MissingWeightsError: as ``run``.
        TrainingError: the steps that are timed show that the training cannot go on.
    """
    folder = RunFolder(plan.out)
    ready = ready_of(plan, folder)
    n_anomalous = sum(sample.is_anomalous for sample in ready.test)
    texts = [
        f"{plan.dataset}: {len(ready.data.categories)} categories, {len(ready.train)} training images, "
        f"{len(ready.test)} test images: {n_anomalous} anomalous, {len(ready.test) - n_anomalous} good",
        *(f"{plan.dataset}: {finding.text}" for finding in ready.data.findings),
    ]
    if ready.normal:
        where = where_of(ready.normal[0].split)
        texts.append(f"the threshold is found on {len(ready.normal)} normal images {where}, by {plan.threshold}")
    seconds, unknown = 0.0, []
    for name in plan.methods:
        if name not in ready.due:
            texts.append(f"{name}: its maps are finished")
        elif name in plan.maps:
            texts.append(f"{name}: its maps of {len(ready.mapped)} images are read from {named(plan.maps[name])}")
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


def _mapped(test: Sequence[Sample], normal: Sequence[Sample]) -> list[Sample]:
    return sorted([*test, *normal], key=lambda sample: sample.category)


def _check_held_out(plan: RunPlan) -> None:
    for name, path in plan.maps.items():
        raise InputError(
            f"--threshold needs maps of normal images that {name} was not trained on: {plan.dataset} has no validation "
            f"split, and nobody knows which training images the code behind {named(path)} has held out; leave "
            "--threshold out"
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


def _conditions(plan: RunPlan, data: DataFacts, held_out: float, normal: str | None) -> dict[str, Conditions]:
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
        normal_checksum=normal,
    )
    return {
        name: replace(shared, maps=named(plan.maps[name]), maps_checksum=checksum_of_files(plan.maps[name]))
        if name in plan.maps
        else replace(shared, settings=dict(plan.settings.get(name, {})), **_of_checkpoint(plan.checkpoints.get(name)))
        for name in plan.methods
    }


def _of_checkpoint(file: Path | None) -> dict[str, Any]:
    return {"checkpoint": str(file), "checkpoint_checksum": checksum_of_files(file)} if file else {}


def _is_due(plan: RunPlan, folder: RunFolder, name: str, conditions: Conditions, mapped: Sequence[Sample]) -> bool:
    """Whether the maps of a method must be made; they must not if a finished case has the same conditions."""
    relatives = folder.relatives(name, plan.dataset) if name not in plan.maps else {}
    if relatives and plan.overwrite and plan.dataset == clean_of(plan.dataset):
        warnings.warn(
            f"{name} is trained again: its results on {', '.join(relatives)} are of the training before and go with "
            "it; run these data sets again, too",
            stacklevel=3,
        )
        relatives = {}
    for key, case in relatives.items():
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
    again = ["maps_checksum", "normal_checksum"]  # what makes maps again, and is not refused
    made = [*done.conditions.differences(conditions, ignored=again), *_changed_numbers(plan, name, done)]
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
        warnings.warn(f"{named(plan.maps[name])} has changed: the maps of {name} are taken from it again", stacklevel=3)
        return True
    normal = done.conditions.normal_checksum
    if plan.threshold and done.seconds is not None and normal not in (None, conditions.normal_checksum):
        warnings.warn(
            f"the normal images of the threshold have changed: {name} makes its maps again, without another training",
            stacklevel=3,
        )
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
