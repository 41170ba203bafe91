"""Tables 4 and 5 of the source paper on any data set: components and levels of a method, beside the paper's numbers.

<out>/<line>/seed<n>/            one run of the runner per line of the table and seed
<out>/seed<n>/level_maps/        every level's maps, kept once and multiplied in any combination
<out>/seed<n>/figures/           some of them beside their product and the truth, as in Figure 5
<out>/by_seed/seed<n>.csv        every score, with the line or the set of levels in the place of the method
<out>/scores.csv                 their means over the seeds
<out>/ablation.json              what was varied: kind, method, lines, seeds
<out>/tables.md, .tex, .csv
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, groupby
from pathlib import Path
from shutil import rmtree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.analysis.scored_maps import scored_maps
from aseg_bench.errors import InputError
from aseg_bench.files import written_whole
from aseg_bench.images import read_image
from aseg_bench.methods import MethodFacts, Segmenter, find_method
from aseg_bench.predictions.store import MapStore
from aseg_bench.progress import track
from aseg_bench.protocols import find_protocol
from aseg_bench.records import MEAN, AnomalyMap, Case, Sample, Score
from aseg_bench.reporting import Table
from aseg_bench.reporting.figures import write_levels_figures
from aseg_bench.reporting.paper import paper_own_tables
from aseg_bench.reporting.report import CATEGORIES, Report, known_names
from aseg_bench.reporting.tables import DASH, RATE, Cell, ablation_table, category_tables, heading, printed
from aseg_bench.reporting.writing import write_formats
from aseg_bench.runs.runner import (
    ABLATION,
    RECORD,
    SCORES,
    RunPlan,
    check,
    dataset_labels,
    discard,
    find_samples,
    is_helper,
    run,
)
from aseg_bench.runs.scores import Key, Result, merge_runs, merged_scores, read_scores, write_scores
from aseg_bench.scoring.categories import mean_scores, score_category

LEVEL_MAPS = "level_maps"
METRICS_SHOWN = ("pixel_ap", "dsc")
PAPER_LEVELS = ((4,), (3,), (2,), (1,), (4, 3), (4, 1), (4, 3, 2), (4, 3, 2, 1))
BY_SEED = "by_seed"


class Kind(StrEnum):
    """What an ablation varies."""

    COMPONENTS = "components"
    LEVELS = "levels"


_NUMBERS = {Kind.COMPONENTS: "4", Kind.LEVELS: "5"}  # of the paper's tables


def ablate_components(plan: RunPlan, seeds: Sequence[int]) -> list[Table]:
    """Train and score every line of Table 4 under the same budget and seeds; finished lines are not trained again.

    Args:
        plan: of a run of one method; its settings go into every line, and ``out`` is the folder of all.
        seeds: each line is trained once with each.

    Returns:
        Table 4 beside the paper's numbers, and pixel AP by category. Both are also written into ``plan.out``.

    Raises:
        InputError: the method has no such lines, ``out`` holds a run, or whatever ``run`` refuses.
    """
    facts = _only_method(plan)
    if not facts.ablation:
        raise InputError(f"{facts.label} names no components to leave out; choose another --method")
    _refuse_other_results(plan.out)
    labels = [f"line {number}" for number in range(1, len(facts.ablation) + 1)]
    runs = [
        [_plan_of_line(plan, facts.name, *line, seed) for line in zip(labels, facts.ablation, strict=True)]
        for seed in seeds
    ]
    _take_back(list(chain.from_iterable(runs)))
    by_seed = [
        [
            replace(score, case=replace(score.case, method=label))
            for label, own in zip(labels, of_seed, strict=True)
            for score in run(own)
        ]
        for of_seed in runs
    ]
    return _written(plan, Kind.COMPONENTS, labels, dict(zip(seeds, by_seed, strict=True)))


def ablate_levels(plan: RunPlan, seeds: Sequence[int], sets: Sequence[tuple[int, ...]] = PAPER_LEVELS) -> list[Table]:
    """Score products of every set of levels of one trained model per seed, without training again (Table 5).

    Args:
        plan: of a run of one method; ``out`` is the folder of all.
        seeds: one model is trained with each.
        sets: levels to multiply, 1 is the shallowest; the last set is the one that gaps are measured from.

    Returns:
        Table 5 beside the paper's numbers, and pixel AP by category. Both are also written into ``plan.out``.

    Raises:
        InputError: the method has no levels, there is no such level, ``out`` holds a run, or whatever ``run`` refuses.
    """
    facts = _only_method(plan)
    if facts.model is None or not facts.ablation:
        raise InputError(f"{facts.label} has no maps by level; choose another --method")
    preset = facts.presets().get(plan.options.preset) if facts.presets else None
    if used := getattr(preset, "levels", ()):
        _check_levels(sets, max(used))
    _refuse_other_results(plan.out)
    labels = [_braced(levels) for levels in sets]
    runs = [replace(plan, out=plan.out / f"seed{seed}", options=replace(plan.options, seed=seed)) for seed in seeds]
    _take_back(runs)
    by_seed = [_scores_of_sets(own, facts, sets) for own in runs]
    return _written(plan, Kind.LEVELS, labels, dict(zip(seeds, by_seed, strict=True)))


def is_ablation(folder: Path) -> bool:
    """Whether a finished ablation lies in the folder."""
    return (folder / ABLATION).is_file()


def ablation_report(folder: Path, tables: Sequence[str] | None = None) -> Report:
    """The table of a finished ablation beside the paper's numbers, and pixel AP by category.

    Args:
        folder: that an ablation has written.
        tables: ``4`` or ``5``, whichever it is, and ``categories``; None takes both.

    Raises:
        InputError: the folder is damaged, or there is no such table.
    """
    try:
        record = json.loads((folder / ABLATION).read_text(encoding="utf-8"))
        kind, labels = Kind(record["kind"]), list(record["lines"])
        files = [folder / BY_SEED / f"seed{seed}.csv" for seed in record["seeds"]]
        label = find_method(record["method"]).label
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / ABLATION} is damaged ({error}); run the ablation again with --out {folder}"
        ) from None
    by_seed = [read_scores(file) for file in files]
    results = merge_runs(by_seed)
    ((key, data),) = dataset_labels(chain.from_iterable(by_seed)).items()
    n_seeds = f", mean of {len(by_seed)} seeds" if len(by_seed) > 1 else ""
    caption = (
        f"{label} by {kind} on {data}{n_seeds}, the gap to the last line in parentheses; beside it the paper's "
        "numbers on MVTec-AD, other images and another budget."
    )
    number = _NUMBERS[kind]
    categories = [table for table in category_tables(results, {}, {key: data}) if table.key.endswith("_pixel_ap")]
    made = {number: [_beside_paper(number, caption, labels, results)], CATEGORIES: categories}
    return Report([table for name in known_names(tables, list(made)) for table in made[name]])


def _beside_paper(number: str, caption: str, labels: Sequence[str], results: Mapping[Key, Result]) -> Table:
    """Table 4 or 5 with our numbers and the paper's behind them."""
    paper = paper_own_tables()[int(number) - 1]
    (_, printed_rows), *_ = paper.blocks
    if number == _NUMBERS[Kind.COMPONENTS]:
        heads, theirs = [row[:-2] for row in printed_rows], [row[-2:] for row in printed_rows]
    else:
        known = {row[1].text: row[-2:] for row in printed_rows}
        heads = [[Cell(str(1 + label.count(","))), Cell(label)] for label in labels]
        theirs = [known.get(label, [Cell(DASH), Cell(DASH)]) for label in labels]
    found = {(key.method, key.metric): result for key, result in results.items() if key.category == MEAN}
    columns = {
        heading(metric): [printed(found.get((label, metric)), metric) for label in labels] for metric in METRICS_SHOWN
    }
    ours = ablation_table(f"table{number}", caption, paper.header[:-2], heads, columns)
    (_, own_rows), *_ = ours.blocks
    rows = [[*own, *other] for own, other in zip(own_rows, theirs, strict=True)]
    header = [*ours.header, Cell("paper pAP"), Cell("paper DSC")]
    return replace(ours, header=header, blocks=[("", rows)], notes=paper.notes)


def _only_method(plan: RunPlan) -> MethodFacts:
    if len(plan.methods) != 1:
        raise InputError(f"an ablation is of one method, not of {len(plan.methods)}; name one")
    return find_method(plan.methods[0])


def _refuse_other_results(out: Path) -> None:
    for name in (SCORES, RECORD):
        if (out / name).exists() and not is_ablation(out):
            raise InputError(f"{out / name} is of a run, which an ablation would replace; choose another --out")


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
    """Discard what the runs shall overwrite, all of it before the first, so that after a stop they go on without it."""
    if any(own.overwrite for own in runs) and not is_helper():
        check(runs[0])  # the others differ in the seed, and in the settings that the method itself names
        for own in runs:
            discard(own)
            rmtree(own.out / LEVEL_MAPS, ignore_errors=True)


def _scores_of_sets(plan: RunPlan, facts: MethodFacts, sets: Sequence[tuple[int, ...]]) -> list[Score]:
    from aseg_bench.training.trained import TrainedModel

    if not run(plan):
        return []
    test = [sample for sample in find_samples(plan.dataset, plan.data_root, plan.categories) if sample.split == "test"]
    store = MapStore(plan.out / LEVEL_MAPS)
    checkpoint = plan.out / "training" / facts.name / plan.dataset / "checkpoint.pt"
    n_levels = _keep_level_maps(
        store, TrainedModel.from_checkpoint(checkpoint, plan.options.device), test, plan.options.quiet
    )
    _check_levels(sets, n_levels)
    coarse_to_fine = [str(level) for level in range(n_levels, 0, -1)]
    write_levels_figures(plan.out / "figures", scored_maps(store, coarse_to_fine, test))
    protocol = find_protocol(plan.protocol)
    scores: list[Score] = []
    for levels in track(sets, "scoring level sets", len(sets), plan.options.quiet):
        for _, group in groupby(test, key=lambda sample: sample.category):
            samples = list(group)
            case = Case(_braced(levels), plan.dataset, samples[0].category)
            maps = _Product([store.maps(str(level), samples) for level in levels])
            scores += score_category(case, samples, maps, protocol=protocol, metrics=(*METRICS_SHOWN, RATE))
    return mean_scores(scores)


def _check_levels(sets: Sequence[tuple[int, ...]], n_levels: int) -> None:
    for levels in sets:
        if not levels or not set(levels) <= set(range(1, n_levels + 1)):
            raise InputError(f"there are no levels {_braced(levels)}; choose --levels from 1 to {n_levels}")


def _keep_level_maps(store: MapStore, model: Segmenter, test: Sequence[Sample], quiet: bool) -> int:
    """Write every level's maps that are not there yet, at the size the model works at; returns how many levels."""
    size = (model.image_size, model.image_size)

    def level_maps(sample: Sample) -> NDArray[np.float32]:
        image = Image.fromarray(read_image(sample.image_path)).resize(size, Image.Resampling.BILINEAR)
        return model.level_maps([np.asarray(image)])[0]

    n_levels = len(level_maps(test[0]))
    missing = {sample: None for level in range(n_levels) for sample in store.missing(str(level + 1), test)}
    for sample in track(missing, "maps of the levels", len(missing), quiet):
        for level, scores in enumerate(level_maps(sample), start=1):
            store.write(str(level), AnomalyMap(sample, scores))
    return n_levels


@dataclass(frozen=True)
class _Product(Sequence[NDArray[np.float32]]):
    """Products over levels, image by image, read when asked for."""

    levels: Sequence[Sequence[NDArray[np.float32]]]

    def __len__(self) -> int:
        return len(self.levels[0])

    def __getitem__(self, index: int) -> NDArray[np.float32]:  # type: ignore[override]
        product: NDArray[np.float32] = np.prod([maps[index] for maps in self.levels], axis=0, dtype=np.float32)
        return product


def _written(plan: RunPlan, kind: Kind, labels: Sequence[str], by_seed: Mapping[int, Sequence[Score]]) -> list[Table]:
    if not any(by_seed.values()):  # a process of torchrun that only helps to train
        return []
    for seed, scores in by_seed.items():
        write_scores(plan.out / BY_SEED / f"seed{seed}.csv", scores)
    record = {"kind": kind, "method": plan.methods[0], "lines": labels, "seeds": list(by_seed)}
    with written_whole(plan.out / ABLATION) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    write_scores(plan.out / SCORES, merged_scores(list(by_seed.values())))  # after what says that they are its own
    made = ablation_report(plan.out)
    write_formats(plan.out, made.tables, ("md", "tex", "csv"))
    return list(made.tables)


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
