import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aseg_bench.analysis.comparison import Comparison, compare_methods
from aseg_bench.analysis.resampling import RESAMPLED
from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.errors import InputError
from aseg_bench.metrics import evaluate_maps
from aseg_bench.records import Case, Score
from aseg_bench.reporting.comparison import comparison_csv, comparison_tables
from aseg_bench.reporting.latex import latex
from tests.categories import WICKED, make_category


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("images")
    categories = [make_category(folder, name, n_images=24) for name in ("screw", "pill", "capsule")]
    return compare_methods(categories, scores_of(categories), n_replicates=300)


def scores_of(categories: list[list[ScoredMaps]]) -> list[Score]:
    return [
        Score(maps.case, metric, value, len(maps.samples), "exact")
        for category in categories
        for maps in category
        for metric, value in evaluate_maps(maps.scores, maps.masks, metrics=RESAMPLED).items()
    ]


def test_every_category_and_the_mean_have_intervals_and_differences(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert len(rows) == 4 * 3 * 3  # places, metrics, two methods and their difference
    for row in rows:
        assert float(row["low"]) <= float(row["estimate"]) <= float(row["high"])


def test_a_letter_at_a_value_stands_for_the_method_below_it_and_nowhere_else(comparison: Comparison) -> None:
    tables = {table.key: table for table in comparison_tables(comparison, {}, {"toys": "Toys"})}
    (_, (good, wicked)), *_ = tables["intervals_pixel_ap"].blocks
    assert good[1].notes == "a"
    assert wicked[1].notes == ""
    assert {cell.notes for cell in (good[0], wicked[0], *tables["intervals_pixel_ap"].header)} == {""}
    assert tables["intervals_pixel_ap"].notes["a"] == f"above {WICKED} on the same images, p < 0.05 (paired, Holm)"
    (_, ((_, difference),)), *_ = tables["differences_pixel_ap"].blocks
    assert difference.text.startswith("+")
    assert difference.text.endswith("*")


def test_without_a_significant_difference_there_is_no_letter_and_no_legend(comparison: Comparison) -> None:
    alike = replace(
        comparison,
        numbers={
            place: {metric: dict.fromkeys(found, found[WICKED]) for metric, found in by_metric.items()}
            for place, by_metric in comparison.numbers.items()
        },
    )
    tables = [table for table in comparison_tables(alike, {}, {}) if "intervals" in table.key]
    assert {cell.notes for table in tables for _, rows in table.blocks for row in rows for cell in row} == {""}
    assert [table.notes for table in tables] == [{}] * len(tables)


def test_what_is_disqualified_takes_part_in_no_test_and_the_note_says_why(comparison: Comparison) -> None:
    why = "the DSC's threshold is at an end"
    doubted = replace(comparison, unranked={(("toys", place), "dsc", WICKED): why for place in ("screw", "mean")})
    before, after = ({table.key: table for table in comparison_tables(some, {}, {})} for some in (comparison, doubted))
    beaten = {key: tables["toys_intervals_dsc"].blocks[0][1] for key, tables in (("b", before), ("a", after))}
    values = {key: [[cell.text for cell in row] for row in rows] for key, rows in beaten.items()}
    assert values["a"] == values["b"]  # the numbers stay
    (screw,) = [row for row in beaten["a"] if row[0].text == "screw"]
    assert [cell.notes for cell in screw[1:]] == ["", ""]
    assert after["toys_intervals_dsc"].notes["not tested"] == f"{WICKED} on screw: {why}"
    assert after["differences_dsc"].blocks[0][1][0][1].text == "–"
    assert "over 3 categories" in before["ranks_dsc"].caption
    assert "over 2 categories" in after["ranks_dsc"].caption
    assert after["differences_pixel_ap"] == before["differences_pixel_ap"]
    rows = [row for row in csv.DictReader(io.StringIO(comparison_csv(doubted))) if row["metric"] == "dsc"]
    assert {row["category"] for row in rows if row["second"]} == {"pill", "capsule"}


def test_a_method_that_is_disqualified_everywhere_leaves_the_others_their_ranks(tmp_path: Path) -> None:
    categories = [make_category(tmp_path, name, methods=("good", "fair", "cut")) for name in ("screw", "pill")]
    found = compare_methods(categories, scores_of(categories), n_replicates=100)
    unranked = {(place, metric, "cut"): "cut short" for place in found.numbers for metric in RESAMPLED}
    tables = {table.key: table for table in comparison_tables(replace(found, unranked=unranked), {}, {})}
    assert [row[0].text for row in tables["ranks_pixel_ap"].blocks[0][1]] == ["good − fair"]


def test_a_category_interval_does_not_depend_on_the_other_categories(tmp_path: Path) -> None:
    categories = [make_category(tmp_path, name) for name in ("screw", "pill")]
    scores = scores_of(categories)
    alone, together = (compare_methods(some, scores, n_replicates=100) for some in (categories[:1], categories))
    first, second = (found.numbers["toys", "screw"]["pixel_ap"]["good"] for found in (alone, together))
    assert np.array_equal(first.replicates, second.replicates)


def test_a_single_anomalous_image_has_no_interval_and_an_unreadable_map_is_an_error(tmp_path: Path) -> None:
    whole, single = make_category(tmp_path), make_category(tmp_path, "pill", n_images=2)
    found = compare_methods([whole, single], scores_of([whole, single]), n_replicates=100)
    assert found.skipped == {("toys", "pill"): "a single normal or anomalous image, which cannot be resampled"}
    broken = replace(whole[0], scores=[whole[0].scores[0]])
    with pytest.raises(InputError, match="1 score maps and 9 masks"):
        compare_methods([[broken]], scores_of([whole]))


def test_a_category_that_one_method_cannot_be_resampled_on_is_left_out_for_all(tmp_path: Path) -> None:
    whole, other = make_category(tmp_path), make_category(tmp_path, "pill")
    vanished = replace(other[1], masks=[np.zeros_like(mask) for mask in other[1].masks])  # in a small map's frame
    found = compare_methods([whole, [other[0], vanished]], scores_of([whole, other]), n_replicates=100)
    assert ("toys", "pill") in found.skipped
    assert ("toys", "pill") not in found.numbers
    assert found.numbers["toys", "mean"]["dsc"].keys() == {maps.case.method for maps in whole}


def test_a_category_without_defects_is_left_out_with_its_reason(tmp_path: Path) -> None:
    screw, pill = (make_category(tmp_path, name) for name in ("screw", "pill"))
    empty = [
        ScoredMaps(maps.case, maps.samples, maps.scores, [np.zeros_like(mask) for mask in maps.masks]) for maps in pill
    ]
    found = compare_methods([screw, empty], scores_of([screw]), n_replicates=100)
    assert found.skipped == {("toys", "pill"): "no pixel is anomalous; pixel metrics have no interval"}
    tables = comparison_tables(found, {}, {})
    assert any("pill: no pixel is anomalous" in note for note in tables[0].notes.values())
    with pytest.raises(InputError, match=r"no category has scores that can be resampled \(pill: no pixel"):
        compare_methods([empty], [], n_replicates=100)


def test_a_category_with_few_anomalous_images_carries_a_caution(tmp_path: Path) -> None:
    category = make_category(tmp_path, "screw", n_images=6)
    found = compare_methods([category], scores_of([category]), n_replicates=100)
    assert found.few == {("toys", "screw"): 4}
    assert "screw: 4 anomalous" in comparison_tables(found, {}, {})[0].notes["caution"]


def test_several_data_sets_have_an_overall_mean(tmp_path: Path) -> None:
    here = make_category(tmp_path, "screw")
    there = [
        ScoredMaps(Case(maps.case.method, "other", "screw"), maps.samples, maps.scores, maps.masks) for maps in here
    ]
    found = compare_methods([here, there], scores_of([here, there]), n_replicates=100)
    overall = found.numbers["mean", "mean"]["dsc"]["good"]
    assert overall.estimate == pytest.approx(found.numbers["toys", "mean"]["dsc"]["good"].estimate)
    assert [cell.text for cell in comparison_tables(found, {}, {})[0].header] == ["Method", "toys", "other", "Mean"]


def test_tables_of_a_comparison_are_plain_text_for_any_name(comparison: Comparison) -> None:
    text = latex(comparison_tables(comparison, {}, {}))
    assert r"a\_b \& \textless{}script\textgreater{}\$x\$" in text
