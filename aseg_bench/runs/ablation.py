"""A method taken apart on any data set, as in Tables 4 and 5 of the source paper: its components, or its levels.

<out>/<line>/seed<n>/            one run of the runner per line of the table and seed
<out>/seed<n>/level_maps/        every level's maps, kept once and multiplied in any combination
<out>/by_seed/seed<n>.csv        every score, with the line or the set of levels in the place of the method
<out>/scores.csv                 their means over the seeds
<out>/ablation.json              what was varied: kind, method, lines, seeds
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import chain
from pathlib import Path
from shutil import rmtree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.analysis.scored_maps import by_category
from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError
from aseg_bench.images import picture_of
from aseg_bench.methods import MethodFacts, Segmenter, find_method
from aseg_bench.predictions.store import MapStore
from aseg_bench.progress import track
from aseg_bench.protocols import find_protocol
from aseg_bench.records import AnomalyMap, Case, LazySequence, Sample, Score
from aseg_bench.runs.folder import Ablation, RunFolder
from aseg_bench.runs.lock import held, is_helper
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.readiness import check
from aseg_bench.runs.runner import run
from aseg_bench.runs.scores import merged_scores, write_scores
from aseg_bench.scoring.categories import score_category

ABLATED = ("pixel_ap", "dsc")  # the metrics of both tables
PAPER_LEVELS = ((4,), (3,), (2,), (1,), (4, 3), (4, 1), (4, 3, 2), (4, 3, 2, 1))
_RATE = "anomaly_rate"


class Kind(StrEnum):
    """What an ablation varies."""

    COMPONENTS = "components"
    LEVELS = "levels"


def ablate_components(plan: RunPlan, seeds: Sequence[int]) -> Ablation | None:
    """Train and score every line of Table 4 under the same budget and seeds; finished lines are not trained again.

    Args:
        plan: of a run of one method; its settings go into every line, and ``out`` is the folder of all.
        seeds: each line is trained once with each.

    Returns:
        What was varied, as it is now kept in ``plan.out``; None in a process of ``torchrun`` that only helps to train.

    Raises:
        InputError: the method has no such lines, ``out`` holds a run, or whatever ``run`` refuses.
    """
    facts = _only_method(plan)
    if not facts.ablation:
        raise InputError(f"{facts.label} names no components to leave out; choose another --method")
    _refuse_other_results(RunFolder(plan.out))
    labels = [f"line {number}" for number in range(1, len(facts.ablation) + 1)]
    runs = [
        [_plan_of_line(plan, facts.name, *line, seed) for line in zip(labels, facts.ablation, strict=True)]
        for seed in seeds
    ]
    with held(plan.out):
        by_seed = _scores_of_lines(runs, labels)
        return _written(plan, Kind.COMPONENTS, labels, dict(zip(seeds, by_seed, strict=True)))


def _scores_of_lines(runs: Sequence[Sequence[RunPlan]], labels: Sequence[str]) -> list[list[Score]]:
    _take_back(list(chain.from_iterable(runs)))
    return [
        [
            replace(score, case=replace(score.case, method=label))
            for label, own in zip(labels, of_seed, strict=True)
            for score in run(own).scores
        ]
        for of_seed in runs
    ]


def ablate_levels(
    plan: RunPlan, seeds: Sequence[int], sets: Sequence[tuple[int, ...]] = PAPER_LEVELS
) -> Ablation | None:
    """Score products of every set of levels of one trained model per seed, without training again (Table 5).

    Args:
        plan: of a run of one method; ``out`` is the folder of all.
        seeds: one model is trained with each.
        sets: levels to multiply, 1 is the shallowest; the last set is the one that gaps are measured from.

    Returns:
        As `ablate_components`.

    Raises:
        InputError: the method has no levels, there is no such level, ``out`` holds a run, or whatever ``run`` refuses.
    """
    facts = _only_method(plan)
    if facts.model is None or not facts.ablation:
        raise InputError(f"{facts.label} has no maps by level; choose another --method")
    preset = facts.presets().get(plan.options.preset) if facts.presets else None
    if used := getattr(preset, "levels", ()):
        _check_levels(sets, max(used))
    _refuse_other_results(RunFolder(plan.out))
    labels = [_braced(levels) for levels in sets]
    runs = [replace(plan, out=plan.out / f"seed{seed}", options=replace(plan.options, seed=seed)) for seed in seeds]
    with held(plan.out):
        _take_back(runs)
        by_seed = [_scores_of_sets(own, facts, sets) for own in runs]
        return _written(plan, Kind.LEVELS, labels, dict(zip(seeds, by_seed, strict=True)))


def _only_method(plan: RunPlan) -> MethodFacts:
    if len(plan.methods) != 1:
        raise InputError(f"an ablation is of one method, not of {len(plan.methods)}; name one")
    return find_method(plan.methods[0])


def _refuse_other_results(folder: RunFolder) -> None:
    for file in (folder.scores_file, folder.record_file):
        if file.exists() and not folder.is_ablation:
            raise InputError(f"{file} is of a run, which an ablation would replace; choose another --out")


def _plan_of_line(plan: RunPlan, method: str, label: str, settings: Mapping[str, str], seed: int) -> RunPlan:
    clash = sorted(set(settings) & set(plan.settings.get(method, {})))
    if clash:
        raise InputError(f"--set {method}.{clash[0]} is what this ablation changes; leave it out")
    return replace(
        plan,
        out=plan.out / label.replace(" ", "") / f"seed{seed}",
        options=replace(plan.options, seed=seed),
        settings={**plan.settings, method: {**plan.settings.get(method, {}), **settings}},
    )


def _take_back(runs: Sequence[RunPlan]) -> None:
    """Discard what the runs will overwrite, all of it before the first, so that after a stop they go on without it."""
    if any(own.overwrite for own in runs) and not is_helper():
        check(runs[0])  # the others differ in the seed, and in the settings that the method itself names
        for own in runs:
            RunFolder(own.out).discard(own.methods, own.dataset)
            rmtree(level_maps(own.out).root, ignore_errors=True)


def level_maps(out: Path) -> MapStore:
    """The maps of every level of a model, with the level, from 1, in the place of the method."""
    return MapStore(out / "level_maps")


def _scores_of_sets(plan: RunPlan, facts: MethodFacts, sets: Sequence[tuple[int, ...]]) -> list[Score]:
    from aseg_bench.training.trained import TrainedModel

    if not run(plan).scores:
        return []
    test = [
        sample
        for sample in find_samples(plan.dataset, plan.data_root, plan.categories, plan.reading)
        if sample.split == "test"
    ]
    store = level_maps(plan.out)
    checkpoint = RunFolder(plan.out).checkpoint_file(facts.name, plan.dataset)
    model = TrainedModel.from_checkpoint(checkpoint, plan.options.device)
    _check_levels(sets, _keep_level_maps(store, model, test, plan.options.quiet))
    protocol = find_protocol(plan.protocol, plan.mask_rule)
    scores: list[Score] = []
    for levels in track(sets, "scoring level sets", len(sets), plan.options.quiet):
        for (dataset, category), samples in by_category(test).items():
            case = Case(_braced(levels), dataset, category)
            maps = _products(store, levels, samples)
            scores += score_category(case, samples, maps, protocol=protocol, metrics=(*ABLATED, _RATE)).scores
    return scores


def _check_levels(sets: Sequence[tuple[int, ...]], n_levels: int) -> None:
    for levels in sets:
        if not levels or not set(levels) <= set(range(1, n_levels + 1)):
            raise InputError(f"there are no levels {_braced(levels)}; choose --levels from 1 to {n_levels}")


def _keep_level_maps(store: MapStore, model: Segmenter, test: Sequence[Sample], quiet: bool) -> int:
    """Write every level's maps that are not there yet, at the size the model works at; returns how many levels."""

    def maps_of(sample: Sample) -> NDArray[np.float32]:
        picture = Image.fromarray(picture_of(sample))
        image = picture.resize(model.size[::-1], Image.Resampling.BILINEAR)
        return model.level_maps([np.asarray(image)])[0]

    n_levels = len(maps_of(test[0]))
    missing = {sample: None for level in range(n_levels) for sample in store.missing(str(level + 1), test)}
    for sample in track(missing, "maps of the levels", len(missing), quiet):
        for level, scores in enumerate(maps_of(sample), start=1):
            store.write(str(level), AnomalyMap(sample, scores))
    return n_levels


def _products(store: MapStore, levels: Sequence[int], samples: Sequence[Sample]) -> LazySequence[NDArray[np.float32]]:
    """Products over levels, image by image, read when asked for."""
    maps = [store.maps(str(level), samples) for level in levels]

    def product(index: int) -> NDArray[np.float32]:
        return np.asarray(np.prod([of_level[index] for of_level in maps], axis=0, dtype=np.float32))

    return LazySequence(len(samples), product)


def _written(
    plan: RunPlan, kind: Kind, labels: Sequence[str], by_seed: Mapping[int, Sequence[Score]]
) -> Ablation | None:
    if not any(by_seed.values()):  # a process of torchrun that only helps to train
        return None
    folder = RunFolder(plan.out)
    for seed, scores in by_seed.items():
        write_scores(folder.seed_file(seed), scores)
    folder.write_ablation(Ablation(kind.value, plan.methods[0], list(labels), list(by_seed)))
    folder.write_scores(merged_scores(list(by_seed.values())))  # after what says that they are its own
    return folder.ablation


def parse_levels(text: str) -> list[tuple[int, ...]]:
    """Sets of levels as typed, ``4,3;2`` for {4,3} and {2}.

    Raises:
        InputError: anything else, a level twice in a set, or a set twice, in whatever order.
    """
    if not re.fullmatch(r"\d+(,\d+)*(;\d+(,\d+)*)*", text.replace(" ", "")):
        raise InputError(f"--levels {text!r} is not like 4;4,3;4,3,2,1")
    sets = [tuple(int(level) for level in part.split(",")) for part in text.replace(" ", "").split(";")]
    distinct = {frozenset(levels) for levels in sets}
    if len(distinct) < len(sets) or any(len(set(levels)) < len(levels) for levels in sets):
        raise InputError(f"--levels {text} names a level twice in a set, or a set twice; name each once")
    return sets


def parse_seeds(text: str) -> list[int]:
    """Seeds as typed, ``0,1,2``.

    Raises:
        InputError: anything else, or a seed twice.
    """
    seeds = [int(part) for part in text.split(",") if part.strip().isdigit()]
    if len(seeds) < len(text.split(",")) or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text} is not like 0,1,2")
    return seeds


def _braced(levels: Sequence[int]) -> str:
    return "{" + ",".join(str(level) for level in levels) + "}"
