"""Table "cost": what training and maps of the live methods took, beside their scores."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from aseg_bench.methods import MethodFacts
from aseg_bench.records import MEAN
from aseg_bench.reporting.cells import DASH, Cell, Footnotes, Table, heading, result_text, told_seeds
from aseg_bench.reporting.tables import RANKED
from aseg_bench.runs.record import CaseRecord
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import Key, Result

COST = "cost"
_MEGA = 1e6
_GPU = "GPU (MB)"


def cost_table(
    results: Mapping[Key, Result],
    runs: Sequence[Results],
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
) -> Table | None:
    """One row per method and data set; what a record does not say, as one of saved maps, is a dash.

    Args:
        results: from ``marked``.
        runs: whose records say what it took.
        methods: facts of the methods by name.
        datasets: labels of the data sets by key.

    Returns:
        The table; None where the runs hold no live method.
    """
    live: dict[tuple[str, str], list[tuple[CaseRecord, int]]] = {}
    for record in (run.record for run in runs):
        for key, case in record.cases.items():
            if case.conditions.maps is None:
                n_images = record.datasets[key[1]].n_test if key[1] in record.datasets else 0
                n_images += case.threshold.n_images if case.threshold else 0  # which were mapped, too
                live.setdefault(key, []).append((case, n_images))
    if not live:
        return None
    metrics = [metric for metric in RANKED if any(key.metric == metric for key in results)]
    columns = dict(_COLUMNS)
    if not any(_number(case.about, "gpu_peak_bytes") for costs in live.values() for case, _ in costs):
        columns.pop(_GPU)
    several = len({key.protocol for key in results}) > 1
    notes, blocks = Footnotes(), []
    for dataset in dict.fromkeys(key.dataset for key in results):
        means = {key: result for key, result in results.items() if (key.dataset, key.category) == (dataset, MEAN)}
        rows = []
        for method, protocol in dict.fromkeys((key.method, key.protocol) for key in means):
            label = methods[method].label if method in methods else method
            cells = [Cell(f"{label} [{protocol}]" if several else label)]
            for metric in metrics:
                result = means.get(Key(method, protocol, dataset, MEAN, metric), Result({}, "not scored"))
                cells.append(Cell(result_text(result, metric), notes=notes.letters(result)))
            costs = live.get((method, dataset), [])
            rows.append([*cells, *(Cell(text_of(costs)) for text_of in columns.values())])
        blocks.append((datasets.get(dataset, dataset), rows))
    if len(blocks) == 1:
        blocks = [("", blocks[0][1])]
    caption = (
        "Costs of the live methods beside their scores: minutes of training, steps done of those planned, time per "
        "image (reading it and writing its map included), parameters in millions, peak of resident memory, bytes "
        "of all weights and banks; sizes are the largest of several runs."
    )
    caption = told_seeds(caption, results.values())
    header = ["Method", *map(heading, metrics), *columns]
    return Table(COST, caption, [Cell(title) for title in header], blocks, notes.by_letter())


def training_points(runs: Sequence[Results]) -> pd.DataFrame:
    """Pixel AP (mean of the categories) over minutes of training: ``run``, ``method``, ``dataset``, ``minutes``,
    ``pixel_ap``, ``n_images``.

    One row per run, data set and live method; where a run has learning curves on a data set, one for each moment of
    these, whose scores are of a part of the test images.
    """
    rows: list[pd.DataFrame] = []
    for number, run in enumerate(runs):
        for method, dataset in run.folder.record.cases:
            curve = run.folder.table(run.folder.curve_file(method, dataset))
            if curve is not None and {"seconds", "pixel_ap", "n_images"} <= set(curve):
                rows.append(curve.assign(run=number, method=method, dataset=dataset, minutes=curve["seconds"] / 60))
    curved = {(one["run"][0], one["dataset"][0]) for one in rows}
    for number, run in enumerate(runs):
        frame = run.to_frame()
        for (method, dataset), case in run.record.cases.items():
            minutes = minutes_of(case)
            where = (frame["method"] == method) & (frame["dataset"] == dataset) & (frame["category"] == MEAN)
            means = frame[where & (frame["metric"] == "pixel_ap")].dropna(subset="value")
            if minutes and len(means) and (number, dataset) not in curved:
                rows.append(means.rename(columns={"value": "pixel_ap"}).assign(run=number, minutes=minutes))
    return pd.concat([pd.DataFrame(columns=_POINTS), *rows])[_POINTS]


_POINTS = ["run", "method", "dataset", "minutes", "pixel_ap", "n_images"]
_Costs = Sequence[tuple[CaseRecord, int]]  # of one method on a data set: its case in each run, and the test images


def _number(about: Mapping[str, Any], *path: str) -> float | None:
    """A number of a record, whatever a method may have put in its place."""
    value: Any = about
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def minutes_of(case: CaseRecord) -> float | None:
    """Of ``fit``, or of the training where it went on over several calls of it."""
    if case.seconds is None or case.conditions.maps is not None or case.conditions.checkpoint is not None:
        return None
    return max(case.seconds.get("fit", 0.0), _number(case.about, "training", "seconds") or 0.0) / 60


def _per_image(case: CaseRecord, n_images: int) -> float | None:
    return 1000 * case.seconds.get("predict", 0.0) / n_images if case.seconds and n_images else None


def _time(of: Callable[[CaseRecord, int], float | None]) -> Callable[[_Costs], str]:
    def text(costs: _Costs) -> str:
        values = [value for cost in costs if (value := of(*cost)) is not None]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        return f"{fmean(values):.1f}{spread}" if values else DASH

    return text


def _largest(digits: int, *path: str) -> Callable[[_Costs], str]:
    def text(costs: _Costs) -> str:
        values = [value for case, _ in costs if (value := _number(case.about, *path)) is not None]
        return f"{max(values) / _MEGA:,.{digits}f}" if values else DASH

    return text


def steps_of(case: CaseRecord) -> str:
    """Steps of the training, done of those planned; empty where the record does not say."""
    done, planned = (_number(case.about, "training", name) for name in ("steps", "of"))
    return "" if done is None or planned is None else f"{done:,.0f} of {planned:,.0f}"


def backbone_of(case: CaseRecord) -> str:
    """Names of the feature extractor, or of several; empty where the record does not say."""
    settings = case.about.get("all_settings")
    own = settings.get("backbone") if isinstance(settings, Mapping) else None
    others = case.about.get("weights")  # of anomalib's models, by network
    return str(own or case.conditions.backbone or ", ".join(others if isinstance(others, Mapping) else ()))


def _texts(of: Callable[[CaseRecord], str]) -> Callable[[_Costs], str]:
    return lambda costs: "; ".join(dict.fromkeys(filter(None, (of(case) for case, _ in costs)))) or DASH


_COLUMNS: Mapping[str, Callable[[_Costs], str]] = {
    "Training (min)": _time(lambda case, _: minutes_of(case)),
    "Steps": _texts(steps_of),
    "ms per image": _time(_per_image),
    "Trained (M)": _largest(2, "parameters", "trained"),
    "Parameters (M)": _largest(2, "parameters", "all"),
    "Memory (MB)": _largest(0, "peak_bytes"),
    _GPU: _largest(0, "gpu_peak_bytes"),
    "Model (MB)": _largest(1, "model_bytes"),
    "Device": _texts(lambda case: str(case.about.get("device", ""))),
    "Backbone": _texts(backbone_of),
}
