"""The source paper's own Tables 1-5 (Ma et al., WACV 2025), with means and gaps recomputed from its cells."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd

from aseg_bench.reporting.cells import Cell, Footnotes, Table, ranks
from aseg_bench.reporting.published import PAPER_DATASETS, paper_data, published
from aseg_bench.reporting.tables import ablation_table

_CAPTIONS = {
    1: "Pixel AUROC (%) as printed by Ma et al. (WACV 2025), Table 1. AR is the Anomaly Rate.",
    2: "Pixel AP (%) as printed by Ma et al. (WACV 2025), Table 2, with recomputed means.",
    3: "DSC (%) as printed by Ma et al. (WACV 2025), Table 3, with recomputed means.",
    4: "Structural components on MVTec-AD (%), Ma et al. (WACV 2025), Table 4, with recomputed gaps in parentheses.",
    5: "Feature levels on MVTec-AD (%), Ma et al. (WACV 2025), Table 5, with recomputed gaps in parentheses.",
}
_STAR = " * taken from the method's own paper."


def paper_own_tables() -> list[Table]:
    """Tables 1-5 of the paper from data; a footnote stands where print and recomputation differ."""
    components = {
        "multi_level": "Multi-level",
        "sar_query": "SAR query",
        "conv3": "Conv3",
        "mg_cnn": "MG-CNN",
        "mgg_cnn": "MGG-CNN",
    }
    ticks = [
        [Cell("✓" if row[key] == "1" else "–") for key in components] for _, row in paper_data("table4").iterrows()
    ]
    levels = [
        [Cell(row["n_levels"]), Cell("{" + row["levels"].replace("+", ",") + "}")]
        for _, row in paper_data("table5").iterrows()
    ]
    return [
        _table1(),
        _table23(2),
        _table23(3),
        _ablation(4, [Cell(label) for label in components.values()], ticks),
        _ablation(5, [Cell("#Levels"), Cell("Levels")], levels),
    ]


def _table1() -> Table:
    cells = paper_data("tables123").query("table == 'Table 1'")
    methods = [name for name in cells["column"].unique() if name != "AR(%)"]
    printed = _published(1)
    one_for_one = set(printed.loc[printed["source_note"].str.contains("One-for-One"), "method"])
    notes = Footnotes()
    header = [Cell("Data set"), Cell("AR (%)")]
    header += [
        Cell(name, notes=notes.letter("originally one-for-one" if name in one_for_one else "")) for name in methods
    ]
    rows = []
    for place, dataset in (("mvtec", "mvtec_ad"), ("visa", "visa")):
        here = cells[cells["row"] == place]
        by_method = [here[here["column"] == method] for method in methods]
        medals = ranks([str(max(Decimal(value) for value in values["value"])) for values in by_method], True)
        row = [Cell(PAPER_DATASETS[dataset]), Cell(here.loc[here["column"] == "AR(%)", "value"].item())]
        for method, values, medal in zip(methods, by_method, medals, strict=True):
            main, *others = [_starred(cell) for _, cell in values.iterrows()]
            row.append(Cell(main, medal, notes.letter(_caution(printed, method, dataset)), ", ".join(others)))
        rows.append(row)
    return Table("paper_table1", _CAPTIONS[1] + _STAR, header, [("", rows)], notes.by_letter())


def _table23(number: int) -> Table:
    cells = paper_data("tables123").query(f"table == 'Table {number}'").set_index(["row", "column"])
    printed = _published(number)
    methods = list(dict.fromkeys(method for method, _ in cells.index))
    notes = Footnotes()
    columns = []
    for place, dataset in (("MVTec", "mvtec_ad"), ("VisA", "visa")):
        here = [cells.loc[(method, place)] for method in methods]
        medals = ranks([cell["value"] for cell in here], True)
        cautions = [_caution(printed, method, dataset) for method in methods]
        columns.append(
            [
                Cell(_starred(cell), medal, notes.letter(caution))
                for cell, medal, caution in zip(here, medals, cautions, strict=True)
            ]
        )
    pairs = [[Decimal(cells.loc[(method, place), "value"]) for place in ("MVTec", "VisA")] for method in methods]
    means = [_rounded(sum(pair, Decimal()) / 2) for pair in pairs]
    differences = [
        _printed_note(mean, cells.loc[(method, "Mean"), "value"]) for method, mean in zip(methods, means, strict=True)
    ]
    columns.append(
        [
            Cell(mean, medal, notes.letter(note))
            for mean, medal, note in zip(means, ranks(means, True), differences, strict=True)
        ]
    )
    venues = printed.set_index("method")["venue_year"].to_dict()
    labels = [Cell(method, aside=venues[method]) for method in methods]
    rows = [[label, *row] for label, row in zip(labels, zip(*columns, strict=True), strict=True)]
    header = [Cell(title) for title in ("Method", *PAPER_DATASETS.values(), "Mean")]
    star = _STAR if cells["starred"].eq("1").any() else ""
    return Table(f"paper_table{number}", _CAPTIONS[number] + star, header, [("", rows)], notes.by_letter())


def _ablation(number: int, header: Sequence[Cell], heads: Sequence[Sequence[Cell]]) -> Table:
    data = paper_data(f"table{number}")
    titles = {"pAP": "pixel_ap", "DSC": "dsc"}
    columns = {title: list(data[metric]) for title, metric in titles.items()}
    gaps = {title: list(data[f"{metric}_gap_printed"]) for title, metric in titles.items()}
    return ablation_table(f"paper_table{number}", _CAPTIONS[number], header, heads, columns, gaps)


def _published(number: int) -> pd.DataFrame:
    frame = published()
    return frame[frame["source_key"].str.startswith(f"unias_paper_t{number}")]


def _caution(printed: pd.DataFrame, method: str, dataset: str) -> str:
    here = printed[(printed["method"] == method) & (printed["dataset"] == dataset)]
    return "; ".join(caution for caution in here["caution"].unique() if caution)


def _starred(cell: Any) -> str:
    return str(cell["value"]) + ("*" if cell["starred"] == "1" else "")


def _rounded(value: Decimal) -> str:
    return str(value.quantize(Decimal("0.01"), ROUND_HALF_UP))


def _printed_note(recomputed: str, printed: str) -> str:
    return f"printed as {printed}" if printed and Decimal(printed) != Decimal(recomputed) else ""
