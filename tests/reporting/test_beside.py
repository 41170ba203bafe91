from collections.abc import Sequence
from dataclasses import replace

import pytest

from aseg_bench.methods import MethodFacts
from aseg_bench.records import Case, Score
from aseg_bench.reporting.beside import beside_published, published_tables
from aseg_bench.reporting.published import published
from aseg_bench.runs.scores import Key, Result, merge_runs

VISA = sorted(set(published(dataset="visa")["category"]) - {"mean"})
DATASETS = {"visa": "VisA"}


def results_on(categories: Sequence[str], method: str = "uniad") -> dict[Key, Result]:
    return merge_runs([[Score(Case(method, "visa", category), "pixel_ap", 0.4, 9, "exact") for category in categories]])


def test_deviations_are_measured_minus_published() -> None:
    frame = beside_published(results_on(VISA), {}, DATASETS)
    row = frame[(frame["source_key"] == "unias_paper_t2") & (frame["category"] == "mean")].iloc[0]
    assert (row["value_percent"], row["measured"]) == ("34.32", pytest.approx(40))
    assert row["deviation"] == pytest.approx(40 - 34.32)
    assert set(frame["setting"]) == {"one-for-all"}


def test_a_subset_of_categories_has_no_published_mean() -> None:
    frame = beside_published(results_on(VISA[:2]), {}, DATASETS)
    assert set(frame["category"]) == set(VISA[:2])


def test_a_mean_of_a_method_on_a_part_or_undefined_somewhere_has_no_published_mean() -> None:
    part = results_on(VISA[:2], "rd4ad")
    frame = beside_published({**results_on(VISA), **part}, {}, DATASETS)
    assert set(frame.loc[frame["category"] == "mean", "measured_as"]) == {"uniad"}
    gap = {key: replace(result, note="defined in 11 of 12 categories") for key, result in results_on(VISA).items()}
    assert "mean" not in set(beside_published(gap, {}, DATASETS)["category"])


def test_a_custom_set_in_the_same_layout_has_no_published_numbers() -> None:
    assert beside_published(results_on([*VISA, "my own part"]), {}, DATASETS).empty


def test_published_numbers_stand_in_a_block_of_their_own_with_star_source_and_caution() -> None:
    methods = {"ours": MethodFacts("ours", "Our UniAD", "", "", "", "", published="UniAD")}
    results = results_on(VISA, "ours")
    frame = beside_published(results, methods, DATASETS)
    (table,) = published_tables(frame, results, methods, DATASETS)
    (measured_title, measured), (published_title, rows) = table.blocks
    assert (measured_title, published_title) == ("Measured", "Published")
    assert [cell.text for cell in measured[0]] == ["Our UniAD", "40.00"]
    first = rows[0]
    assert (first[0].text, first[1].text, first[1].aside) == ("UniAD", "34.32*", "+5.68")
    assert "unias_paper_t2" in table.notes[first[0].notes]
    weak = next(row for row in rows if "mambaad_appendix" in table.notes[row[0].notes])
    assert table.notes[weak[1].notes].startswith("caution: ")
