import csv
import io
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from aseg_bench.methods import MethodFacts
from aseg_bench.records import Case, Score
from aseg_bench.reporting import Table, report_tables, terminal, write_tables
from aseg_bench.reporting.cells import DASH, Cell, ranks
from aseg_bench.reporting.html import html
from aseg_bench.reporting.markdown import markdown
from aseg_bench.reporting.tables import ablation_table, main_table
from aseg_bench.reporting.writing import tables_csv
from aseg_bench.runs.scores import merge_runs

EVIL = "=a_b & <script>|*[x]"
METHODS = {"uni_as": MethodFacts("uni_as", "UniAS", "WACV 2025", "", "", "")}


def scores_of(values: Mapping[tuple[str, str, str], float | None], metric: str = "pixel_ap") -> list[Score]:
    return [
        Score(Case(*case), metric, value, 9, "exact", "" if value is not None else "no anomalous pixel")
        for case, value in values.items()
    ]


def table_named(key: str, *runs: list[Score]) -> Table:
    return next(table for table in report_tables(runs, methods=METHODS) if table.key == key)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for _, rows in table.blocks for row in rows]


TWO_SETS = scores_of(
    {
        ("uni_as", "a", "pill"): 0.65124,
        ("uni_as", "b", "pill"): 0.4,
        ("uniad", "a", "pill"): 0.65119,
        ("uniad", "b", "pill"): None,
    }
)


def test_best_and_second_go_by_the_printed_value() -> None:
    assert ranks(["65.12", "65.12", "40.06", "40.06", "1.00"], True) == ["best", "best", "second", "second", ""]
    assert ranks(["65.12", "65.13 ± 4.00", DASH], True) == ["second", "best", ""]
    assert ranks(["1.00", "2.00"], False) == ["best", "second"]


@pytest.mark.parametrize(("printed", "higher"), [(["65.12"], True), (["1.00", "2.00"], None), (["1.00", DASH], True)])
def test_nothing_is_best_without_a_rival_or_a_direction(printed: list[str], higher: bool | None) -> None:
    assert set(ranks(printed, higher)) == {""}


def test_table_2_has_methods_down_and_data_sets_across_with_their_mean() -> None:
    table = table_named("table2", TWO_SETS)
    assert [cell.text for cell in table.header] == ["Method", "a", "b", "Mean"]
    assert texts(table) == [["UniAS", "65.12", "40.00", "52.56"], ["uniad", "65.12", DASH, "65.12"]]


def test_table_3_has_the_best_f1_beside_the_dsc_of_each_data_set() -> None:
    dsc = {("uni_as", "a", "pill"): 0.018, ("uniad", "a", "pill"): 0.49, ("uni_as", "b", "pill"): 0.2}
    best = {("uni_as", "a", "pill"): 0.41, ("uniad", "a", "pill"): 0.4}
    one = [score for score in scores_of(dsc, "dsc") if score.case.dataset == "a"]
    table = table_named("table3", one + scores_of(best, "pixel_f1_max"))
    assert [cell.text for cell in table.header] == ["Method", "DSC", "Best F1"]
    assert texts(table) == [["UniAS", "1.80", "41.00"], ["uniad", "49.00", "40.00"]]
    assert "DSC (%) and Best F1 (%) by data set" in table.caption
    table = table_named("table3", scores_of(dsc, "dsc") + scores_of(best, "pixel_f1_max"))
    heads = ["Method", "a, DSC", "a, Best F1", "b, DSC", "b, Best F1", "Mean, DSC", "Mean, Best F1"]
    assert [cell.text for cell in table.header] == heads
    assert [cell.text for cell in table_named("table3", one).header] == ["Method", "a"]  # scores without the best F1


def test_the_main_table_of_one_data_set_has_methods_down_and_metrics_across() -> None:
    values = {"pixel_auroc": 0.9, "pixel_ap": 0.4, "pixel_f1_max": 0.5, "dsc": 0.3, "anomaly_rate": 0.0195}
    found = [score for metric, value in values.items() for score in scores_of({("uni_as", "a", "pill"): value}, metric)]
    found += scores_of({("uniad", "a", "pill"): 0.6})
    (table,) = main_table(merge_runs([found]), METHODS, {"a": "Set A"}, (1, 2, 3))
    assert [cell.text for cell in table.header] == ["Method", "Pixel AUROC", "Pixel AP", "DSC", "Best F1"]
    assert texts(table) == [["UniAS", "90.00", "40.00", "30.00", "50.00"], ["uniad", DASH, "60.00", DASH, DASH]]
    assert table.caption.startswith("Set A: one category, in per cent.")
    assert "is 1.95" in table.caption
    (only,) = main_table(merge_runs([found]), METHODS, {}, (2, 3))
    assert [cell.text for cell in only.header] == ["Method", "Pixel AP", "DSC", "Best F1"]


def test_a_tie_in_print_is_best_twice() -> None:
    (_, rows), *_ = table_named("table2", TWO_SETS).blocks
    assert [row[1].rank for row in rows] == ["best", "best"]


def test_an_undefined_value_is_a_dash_with_its_reason_and_its_mean_does_not_compete() -> None:
    table = table_named("table2", TWO_SETS)
    (_, (first, second)), *_ = table.blocks
    assert table.notes[second[2].notes] == "defined in 0 of 1 categories"
    assert table.notes[second[3].notes] == "mean of 1 of 2 data sets"
    assert first[3].rank == second[3].rank == ""


def test_table_1_has_the_anomaly_rate_and_the_mean_row() -> None:
    cases = {("uni_as", "a", "pill"): 0.9, ("uni_as", "b", "pill"): 0.8}
    rates = {("uni_as", "a", "pill"): 0.1317, ("uni_as", "b", "pill"): 0.03}
    table = table_named("table1", scores_of(cases, "pixel_auroc") + scores_of(rates, "anomaly_rate"))
    assert texts(table) == [["a", "13.17", "90.00"], ["b", "3.00", "80.00"], ["Mean", "8.09", "85.00"]]


def test_categories_stand_in_their_own_table_above_their_mean() -> None:
    cases = {("uni_as", "a", "pill"): 0.2, ("uni_as", "a", "screw"): 0.4}
    rows = texts(table_named("a_pixel_ap", scores_of(cases)))
    assert [(row[0], row[-1]) for row in rows] == [("pill", "20.00"), ("screw", "40.00"), ("Mean", "30.00")]


def test_seeds_show_their_deviation_in_every_column() -> None:
    runs = [scores_of({("uni_as", data, "pill"): value for data in "ab"}) for value in (0.2, 0.4)]
    assert texts(table_named("table2", *runs)) == [["UniAS", *["30.00 ± 14.14"] * 3]]


def test_a_mean_over_data_sets_says_which_are_not_whole_and_is_not_ranked_with_whole_ones() -> None:
    places = [(data, category) for data in "ab" for category in ("pill", "screw")]
    whole = {(method, *place): 0.2 for method in ("uni_as", "x") for place in places}
    table = table_named("table2", scores_of({**whole, ("x", "b", "pill"): 0.9, ("x", "b", "screw"): None}))
    ours, theirs = (row[-1] for row in table.blocks[0][1])
    assert (ours.text, ours.notes, theirs.text, theirs.rank) == ("20.00", "", "55.00", "")
    assert table.notes[theirs.notes] == "b defined in 1 of 2 categories"


def test_one_data_set_has_no_mean_over_data_sets() -> None:
    one, two = (scores_of({("uni_as", data, "pill"): 0.2 for data in keys}) for keys in ("a", "ab"))
    assert [cell.text for cell in table_named("table2", one).header] == ["Method", "a"]
    assert [cell.text for cell in table_named("table2", two).header] == ["Method", "a", "b", "Mean"]


def test_a_method_without_a_data_set_is_a_marked_gap() -> None:
    table = table_named("table2", scores_of({("uni_as", "a", "pill"): 0.3, ("uniad", "b", "pill"): 0.2}))
    assert texts(table)[0] == ["UniAS", "30.00", DASH, "30.00"]
    assert "not scored" in table.notes.values()


def test_mixed_protocols_get_a_row_each() -> None:
    official = [Score(Case("uni_as", "a", "pill"), "pixel_ap", 0.3, 9, "official")]
    exact = scores_of({("uni_as", "a", "pill"): 0.4})
    tables = report_tables([exact, official], methods=METHODS, mixed=True)
    table = next(table for table in tables if table.key == "table2")
    assert [row[0] for row in texts(table)] == ["UniAS [exact]", "UniAS [official]"]


def test_gaps_of_an_ablation_are_those_of_the_printed_values() -> None:
    heads = [[Cell("plain")], [Cell("broken")], [Cell("full")]]
    texts = ["30.10 ± 1.00", DASH, "40.00 ± 2.00"]
    table = ablation_table("table4", "Caption.", [Cell("Variant")], heads, {"pAP": texts}, {"pAP": ["9.80", "", ""]})
    (_, rows), *_ = table.blocks
    assert [row[1].aside for row in rows] == ["9.90", "", ""]
    assert [row[1].rank for row in rows] == ["second", "", "best"]
    assert table.notes == {"a": "gap printed as 9.80"}


def evil_tables() -> list[Table]:
    scores = scores_of({(EVIL, EVIL, EVIL): 0.2, ("uni_as", EVIL, EVIL): None})
    return report_tables([scores])


def test_html_holds_no_tag_that_a_user_typed() -> None:
    tags = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.add(tag)

    Parser().feed(html(evil_tables()))
    assert "script" not in tags
    assert "table" in tags


def test_markdown_keeps_its_columns_whatever_the_names() -> None:
    lines = [line for line in markdown(evil_tables()).splitlines() if line.startswith("|")]
    assert "<script>" not in "".join(lines)
    assert {line.replace(r"\|", "").count("|") for line in lines} == {3, 5}


def test_csv_holds_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(tables_csv(evil_tables()))))
    assert {"'" + EVIL} <= {cell for row in rows for cell in row}
    assert not [cell for row in rows for cell in row if cell.startswith("=")]


def test_terminal_shows_names_as_they_are() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    for table in evil_tables():
        console.print(terminal(table))
    assert EVIL in console.export_text()


def test_write_tables_writes_each_format(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, TWO_SETS, formats=("md", "tex", "html", "csv"))
    assert [path.name for path in paths] == ["tables.md", "tables.tex", "tables.html", "tables.csv"]
    assert "65.12" in (tmp_path / "tables.md").read_text()
