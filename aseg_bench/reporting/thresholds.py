"""Table "thresholds": metrics at a threshold that was found on normal images, beside the best F1 of all thresholds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean

from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.datasets.mvtec_ad_2 import light_of
from aseg_bench.errors import listed
from aseg_bench.methods import MethodFacts
from aseg_bench.metrics import AT_THRESHOLD, THRESHOLDS
from aseg_bench.reporting.cells import DASH, Cell, Table, heading
from aseg_bench.reporting.tables import FOUND, mean_table
from aseg_bench.runs.record import FoundThreshold
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import Key, Result
from aseg_bench.runs.thresholds import where_of

THRESHOLD = "thresholds"
_AT = " at threshold"
_SHOWN = (AT_THRESHOLD[0], "pixel_f1_max", *AT_THRESHOLD[1:])


def threshold_tables(
    results: Mapping[Key, Result],
    runs: Sequence[Results],
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
) -> list[Table]:
    """A table for each data set on which runs have found thresholds: methods by metrics at it, and the best F1.

    Args:
        results: from ``marked``.
        runs: whose records say how the thresholds were found.
        methods: facts of the methods by name.
        datasets: labels of the data sets by key.
    """
    tables = []
    for dataset in dict.fromkeys(key.dataset for key in results if key.metric in AT_THRESHOLD):
        here = {key: result for key, result in results.items() if key.dataset == dataset}
        found = {name: one for run in runs for name, one in found_in(run, dataset).items()}
        by_way: dict[str, list[str]] = {}
        for name, one in found.items():
            by_way.setdefault(way_of(one), []).append(methods[name].label if name in methods else name)
        ways = [way if len(by_way) == 1 else f"{way} ({listed(names)})" for way, names in by_way.items()]
        said = f" A pixel is called anomalous above the threshold of its category: {'; '.join(ways)}." if ways else ""
        table = mean_table(f"{THRESHOLD}_{dataset}", said, here, methods, datasets, _SHOWN)
        if table is not None:
            header = [replace(cell, text=cell.text.removesuffix(_AT)) for cell in table.header]  # as its caption says
            tables.append(replace(table, header=header))
    return tables


def light_tables(
    maps: Sequence[Sequence[ScoredMaps]], methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> list[Table]:
    """SegF1 of the test images of each light, for data sets whose images say theirs: lights down, methods across.

    Args:
        maps: by category, of every method, with their counts.
        methods: facts of the methods by name.
        datasets: labels of the data sets by key.
    """
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for scored in chain.from_iterable(maps):
        if scored.counts.found is None:
            continue
        lights = [light_of(sample) for sample in scored.samples]
        counts = scored.counts.confusion(scored.counts.found)
        for light in sorted(set(filter(None, lights))):
            here = [place for place, own in enumerate(lights) if own == light]
            hits, alarms, misses = (int(kind[here].sum()) for kind in counts)
            if hits + misses:
                f1 = 2 * hits / (2 * hits + alarms + misses)
                values[scored.case.dataset, scored.case.method, light].append(f1)
    tables = []
    for dataset in dict.fromkeys(dataset for dataset, _, _ in values):
        names, lights = (list(dict.fromkeys(key[place] for key in values if key[0] == dataset)) for place in (1, 2))
        rows = [
            [Cell(light), *(Cell(_percent(values.get((dataset, name, light), ()))) for name in names)]
            for light in sorted(lights)
        ]
        caption = (
            f"{heading(FOUND)} on {datasets.get(dataset, dataset)} by light of the test images, good ones included: "
            "means over the categories that have anomalous images in it, each at one threshold for all lights."
        )
        labels = [methods[name].label if name in methods else name for name in names]
        header = [Cell("Light"), *map(Cell, labels)]
        tables.append(Table(f"lights_{dataset}", caption, header, [("", rows)]))
    return tables


def _percent(values: Sequence[float]) -> str:
    return f"{100 * fmean(values):.2f}" if values else DASH


def found_in(run: Results, dataset: str) -> dict[str, FoundThreshold]:
    """The thresholds of a run on a data set, by method."""
    return {
        method: case.threshold
        for (method, key), case in run.record.cases.items()
        if key == dataset and case.threshold is not None
    }


def way_of(found: FoundThreshold) -> str:
    """How a threshold was found, for instance ``mean + 3 deviations on 9 images of the validation split``."""
    label = THRESHOLDS[found.rule].label if found.rule in THRESHOLDS else found.rule
    return f"{label} on {found.n_images} normal images {where_of(found.split)}"
