"""What corruptions of the test images cost, beside the clean ones."""

from collections.abc import Mapping
from statistics import fmean

from aseg_bench.corruptions import CORRUPTIONS, STRENGTHS, clean_of, parsed, parts_of
from aseg_bench.methods import MethodFacts
from aseg_bench.records import MEAN
from aseg_bench.reporting.cells import DASH, Cell, Footnotes, Table, heading, result_text, told_seeds
from aseg_bench.runs.scores import Key, Result

ROBUSTNESS = "robustness"
METRIC = "pixel_ap"


def clean_results(results: Mapping[Key, Result]) -> dict[Key, Result]:
    """All but those of corrupted data sets that are scored clean, too: these have a table of their own."""
    there = {key.dataset for key in results}
    return {key: one for key, one in results.items() if not is_beside_clean(key.dataset, there)}


def is_beside_clean(dataset: str, there: set[str]) -> bool:
    """Whether a data set is a corrupted one and the clean one is there."""
    return dataset != clean_of(dataset) and clean_of(dataset) in there


def robustness_tables(
    results: Mapping[Key, Result], methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> list[Table]:
    """One table per clean data set that was corrupted: methods by strengths, a block for each corruption.

    Args:
        results: from ``merge_runs``.
        methods: facts of the methods by name; an unknown name prints as it is.
        datasets: labels of the data sets by key; an unknown key prints as it is.
    """
    means = {key: one for key, one in results.items() if (key.category, key.metric) == (MEAN, METRIC)}
    there = {key.dataset for key in means}
    found: dict[str, dict[str, dict[int, str]]] = {}
    for dataset in dict.fromkeys(key.dataset for key in means):
        if is_beside_clean(dataset, there):
            clean, named = parts_of(dataset)
            kind, strength = parsed(named)
            found.setdefault(clean, {}).setdefault(kind, {})[strength] = dataset
    tables = []
    for clean, by_kind in found.items():
        names = dict.fromkeys((key.method, key.protocol) for key in means if clean_of(key.dataset) == clean)
        several, notes, blocks = len({protocol for _, protocol in names}) > 1, Footnotes(), []
        for kind in filter(by_kind.get, CORRUPTIONS):
            rows = []
            for method, protocol in names:
                label = methods[method].label if method in methods else method
                label = f"{label} [{protocol}]" if several else label
                places = [clean, *(by_kind[kind].get(strength, "") for strength in STRENGTHS)]
                if not any(Key(method, protocol, place, MEAN, METRIC) in means for place in places[1:]):
                    continue
                of = [means.get(Key(method, protocol, place, MEAN, METRIC)) for place in places]
                rows.append([Cell(label), *_row(of, notes)])
            blocks.append((CORRUPTIONS[kind].label, rows))
        caption = (
            f"{heading(METRIC)} on {datasets.get(clean, clean)} with corrupted test images, by strength, with the "
            "change from clean in points; last its mean over the strengths that were scored. Training images are clean."
        )
        caption = told_seeds(caption, [one for key, one in means.items() if clean_of(key.dataset) == clean])
        header = [Cell(title) for title in ("Method", "Clean", *map(str, STRENGTHS), "Mean change")]
        tables.append(Table(f"{clean}_{ROBUSTNESS}", caption, header, blocks, notes.by_letter()))
    return tables


def _row(of: list[Result | None], notes: Footnotes) -> list[Cell]:
    """The clean value, one per strength with its change, and the mean change."""
    clean, *others = (None if one is None else one.value for one in of)
    changes = [None if clean is None or value is None else 100 * (value - clean) for value in others]
    cells = [
        Cell(
            result_text(one, METRIC), notes=notes.letters(one) if one else "", aside="" if by is None else f"{by:+.2f}"
        )
        for one, by in zip(of, [None, *changes], strict=True)
    ]
    known = [change for change in changes if change is not None]
    return [*cells, Cell(f"{fmean(known):+.2f}" if known else DASH)]
