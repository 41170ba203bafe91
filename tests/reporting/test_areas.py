from statistics import fmean

import pytest

from aseg_bench.analysis.areas import AreaScore, area_scores
from aseg_bench.analysis.slices import AREAS
from aseg_bench.records import MEAN, Case
from aseg_bench.reporting.areas import SHOWN, area_means, area_tables
from aseg_bench.reporting.cells import DASH
from aseg_bench.reporting.figures.areas import areas_figure
from aseg_bench.reporting.figures.style import looks
from aseg_bench.runs.scores import Key, Result


def texts(table):
    return {(title, row[0].text): [cell.text for cell in row[1:]] for title, rows in table.blocks for row in rows}


def test_an_area_is_the_mean_of_the_categories_with_such_defects():
    scores = [
        AreaScore(Case("m", "d", category), area, n, ap, 0.5, 0.25, 0.0, 0.125)
        for category, area, n, ap in (("a", AREAS[0], 3, 0.25), ("b", AREAS[0], 4, 0.75), ("b", AREAS[4], 1, 0.5))
    ]
    (table,) = area_tables(scores, {}, {"m": "Mine"}, {"d": "Data"}, "map", 1)
    found = texts(table)
    assert found["Defects (categories)", "all"] == ["7 (2)", DASH, DASH, DASH, "1 (1)"]
    assert found["Pixel AP (%)", "Mine"] == ["50.00", DASH, DASH, DASH, "50.00"]
    assert found["DSC (%)", "Mine"] == ["12.50", DASH, DASH, DASH, "12.50"]
    assert "native" in table.caption
    assert "native" not in area_tables(scores, {}, {}, {}, "image", 1)[0].caption


def test_methods_whose_truth_has_other_defects_have_counts_of_their_own():
    scores = [
        AreaScore(Case(name, "d", "a"), AREAS[0], n, 0.1, 0.1, 0.1, 0.0, 0.1) for name, n in (("m", 3), ("other", 2))
    ]
    (table,) = area_tables(scores, {}, {}, {}, "map", 1)
    assert [row[1].text for row in table.blocks[0][1]] == ["3 (1)", "2 (1)"]


def ranked(results, other_defects=False):
    ours, theirs = (Case(name, "d", "a") for name in ("m", "other"))
    scores = [
        AreaScore(ours, AREAS[0], 3, 0.2, 0.3, 0.5, 0.25, 0.4),
        AreaScore(ours, AREAS[1], 3, 0.2, 0.3, 0.5, 0.25, 0.4),
        AreaScore(theirs, AREAS[0], 2 if other_defects else 3, 0.1, 0.3, 0.1, 0.5, 0.6),
    ]
    (table,) = area_tables(scores, results, {}, {}, "map", 1)
    return {(title, row[0].text): row[1:] for title, rows in table.blocks[1:] for row in rows}, table.notes


def mean_of(method, metric, **options):
    return {Key(method, "exact", "d", MEAN, metric): Result({1: 0.5}, "", **options)}


PLAIN = mean_of("m", "pixel_ap") | mean_of("m", "dsc") | mean_of("other", "pixel_ap") | mean_of("other", "dsc")


def test_the_best_of_an_area_is_marked_in_the_direction_of_each_metric():
    cells, notes = ranked(PLAIN)
    medals = {key: row[0].rank for key, row in cells.items()}
    assert [medals[title, "m"] for title in SHOWN.values()] == ["best", "best", "", "best", "second"]
    assert [medals[title, "other"] for title in SHOWN.values()] == ["second", "best", "", "second", "best"]
    assert all(cell.rank == "" for row in cells.values() for cell in row[1:])  # without a rival
    assert not notes


def test_what_is_odd_about_a_method_is_a_footnote_there_and_keeps_it_from_being_best():
    odd = mean_of("m", "dsc", marks=("the threshold is at an extreme",), is_disqualified=True)
    cells, notes = ranked(PLAIN | odd)
    assert list(notes.values()) == ["the threshold is at an extreme"]
    for name, title in SHOWN.items():
        is_at_threshold = name in ("recall", "missed", "dsc")
        assert cells[title, "m"][0].notes == ("a" if is_at_threshold else "")
        assert not cells[title, "m"][3].notes  # no such defect
        if is_at_threshold:
            assert {cells[title, method][0].rank for method in ("m", "other")} == {""}


@pytest.mark.parametrize(("results", "other_defects"), [({}, False), (PLAIN, True)])
def test_nothing_is_best_of_what_is_not_known_to_be_alike(results, other_defects):
    cells, _ = ranked(results, other_defects)
    assert {cell.rank for row in cells.values() for cell in row} == {""}


def test_the_figure_shows_the_means(category):
    scores = [score for maps in category for score in area_scores(maps)]
    (means,) = area_means(scores).values()
    figure = areas_figure(means, looks(list(means)), {})
    for line, by_area in zip(figure.axes[0].get_lines(), means.values(), strict=True):
        assert line.get_ydata().tolist() == [100 * by_area[area].pixel_ap for area in AREAS if area in by_area]
    assert fmean(score.recall for score in scores) > 0
