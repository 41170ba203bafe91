from statistics import fmean

from aseg_bench.analysis.areas import AreaScore, area_scores
from aseg_bench.analysis.slices import AREAS
from aseg_bench.records import Case
from aseg_bench.reporting.areas import area_means, area_tables
from aseg_bench.reporting.figures.areas import areas_figure
from aseg_bench.reporting.figures.style import looks
from aseg_bench.reporting.tables import DASH


def texts(table):
    return {(title, row[0].text): [cell.text for cell in row[1:]] for title, rows in table.blocks for row in rows}


def test_an_area_is_the_mean_of_the_categories_with_such_defects():
    scores = [
        AreaScore(Case("m", "d", category), area, n, ap, 0.5, 0.25, 0.0, 0.125)
        for category, area, n, ap in (("a", AREAS[0], 3, 0.25), ("b", AREAS[0], 4, 0.75), ("b", AREAS[4], 1, 0.5))
    ]
    (table,) = area_tables(scores, {"m": "Mine"}, {"d": "Data"}, "map", 1)
    found = texts(table)
    assert found["Defects (categories)", "all"] == ["7 (2)", DASH, DASH, DASH, "1 (1)"]
    assert found["Pixel AP (%)", "Mine"] == ["50.00", DASH, DASH, DASH, "50.00"]
    assert found["DSC (%)", "Mine"] == ["12.50", DASH, DASH, DASH, "12.50"]
    assert "native" in table.caption
    assert "native" not in area_tables(scores, {}, {}, "image", 1)[0].caption


def test_methods_whose_truth_has_other_defects_have_counts_of_their_own():
    scores = [
        AreaScore(Case(name, "d", "a"), AREAS[0], n, 0.1, 0.1, 0.1, 0.0, 0.1) for name, n in (("m", 3), ("other", 2))
    ]
    (table,) = area_tables(scores, {}, {}, "map", 1)
    assert [row[1].text for row in table.blocks[0][1]] == ["3 (1)", "2 (1)"]


def test_the_figure_shows_the_means(category):
    scores = [score for maps in category for score in area_scores(maps)]
    (means,) = area_means(scores).values()
    figure = areas_figure(means, looks(list(means)), {})
    for line, by_area in zip(figure.axes[0].get_lines(), means.values(), strict=True):
        assert line.get_ydata().tolist() == [100 * by_area[area].pixel_ap for area in AREAS if area in by_area]
    assert fmean(score.recall for score in scores) > 0
