from decimal import Decimal
from importlib.resources import files

import pytest

from aseg_bench.errors import InputError
from aseg_bench.reporting.cells import Table
from aseg_bench.reporting.paper import paper_own_tables
from aseg_bench.reporting.published import paper_data, published, published_table, sources


def paper_table(number: int) -> Table:
    return paper_own_tables()[number - 1]


def cell_and_note(table: Table, row: str, column: str) -> tuple[str, str]:
    index = [cell.text for cell in table.header].index(column)
    cell = next(cells[index] for _, rows in table.blocks for cells in rows if cells[0].text == row)
    return cell.text, table.notes.get(cell.notes, "")


def test_the_package_data_is_small() -> None:
    assert sum(len(file.read_bytes()) for file in (files("aseg_bench.reporting") / "data").iterdir()) < 300_000


def test_every_number_says_setting_and_source_and_is_unique() -> None:
    frame = published()
    assert len(frame) > 30_000
    assert set(frame["setting"]) == {"one-for-all", "one-for-one"}
    assert set(frame["source_key"]) <= set(sources()["source_key"])
    key = ["method", "setting", "dataset", "category", "metric", "source_key", "variant", "reproduced_by"]
    assert not frame.duplicated(key).any()
    assert frame["value_percent"].map(Decimal).between(-1, 101).all()


def test_a_query_finds_names_in_any_spelling() -> None:
    found = published(method="uni_as", dataset="mvtec", metric="pixel_ap", source="unias_paper_t2")
    assert found["value_percent"].tolist() == ["65.12"]


def test_means_of_printed_categories_are_the_printed_means_or_are_cautioned() -> None:
    frame = published(source="ader_log_100e", dataset="visa", metric="pixel_ap")
    frame["value"] = frame["value_percent"].map(float)
    by_method = frame[frame["category"] != "mean"].groupby("method")["value"].mean()
    means = frame[frame["category"] == "mean"].set_index("method")["value"]
    assert (by_method - means).abs().max() < 1e-3
    wrong = published(source="anomalib_readme", dataset="mvtec", category="mean", method="UniNet", metric="image_auroc")
    assert wrong["caution"].tolist() == ["the 15 printed categories have the mean 96.2533"]


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match="no published number has the method UniAx; did you mean UniA"):
        published(method="UniAx")


def test_the_published_table_names_source_variant_and_caution() -> None:
    table = published_table(published(method="unias", dataset="mvtec", metric="dsc"))
    assert any("unias_repo_readme" in note for note in table.notes.values())
    assert any(note.startswith("caution: the released code") for note in table.notes.values())


@pytest.mark.parametrize(
    ("number", "row", "column", "recomputed", "note"),
    [
        (2, "UniAS", "Mean", "52.59", "printed as 52.29"),
        (2, "PatchCore", "Mean", "45.69", ""),
        (3, "UniAS", "Mean", "45.92", "printed as 46.03"),
        (3, "RD4AD", "Mean", "24.04", "printed as 24.02"),
        (3, "PatchCore", "Mean", "39.45", "printed as 39.44"),
    ],
)
def test_recomputed_means_are_marked_where_print_differs(
    number: int, row: str, column: str, recomputed: str, note: str
) -> None:
    assert cell_and_note(paper_table(number), row, column) == (recomputed, note)


def test_every_arithmetic_inconsistency_of_the_paper_is_marked() -> None:
    notes = {note for table in paper_own_tables() for note in table.notes.values()}
    marked = {note.removeprefix("gap ") for note in notes if "printed as" in note}
    arithmetic = paper_data("inconsistencies").query("kind in ['arithmetic', 'rounding']")
    assert marked == {f"printed as {printed}" for printed in arithmetic["printed"]}


def test_the_best_of_table_1_is_the_one_the_paper_prints_in_bold() -> None:
    bold = paper_data("tables123").query("table == 'Table 1' and bold == '1'")["column"].tolist()
    table = paper_table(1)
    best = [
        head.text for _, rows in table.blocks for row in rows for head, cell in zip(table.header, row, strict=True)
        if cell.rank == "best"
    ]  # fmt: skip
    assert best == bold


def test_gaps_of_tables_4_and_5_add_up_to_the_full_model() -> None:
    for number in (4, 5):
        for _, rows in paper_table(number).blocks:
            for cells in (row[-2:] for row in rows[:-1]):
                for cell, full in zip(cells, rows[-1][-2:], strict=True):
                    assert Decimal(cell.text) + Decimal(cell.aside) == Decimal(full.text)
