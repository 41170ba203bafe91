import re
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib import rcParams
from PIL import Image
from scipy.stats import norm

from aseg_bench.metrics import evaluate_maps
from aseg_bench.records import Case, Score
from aseg_bench.reporting.figures import levels_figure, write_figures, write_levels_figures, write_published_figures
from aseg_bench.reporting.figures.curves import curves_figure, distributions_figure
from aseg_bench.reporting.figures.inflation import (
    agreement,
    binormal_ap,
    inflation_figure,
    published_points,
    score_points,
)
from aseg_bench.reporting.figures.panels import chosen_images
from aseg_bench.reporting.figures.ranks import ranks_figure
from aseg_bench.reporting.figures.slices import slice_scores, slices_figure
from aseg_bench.reporting.figures.style import file_name, looks, new_figure, printed, save, style
from aseg_bench.reporting.figures.thresholds import thresholds_figure
from aseg_bench.reporting.figures.toy import EXCESS, toy_predictions, toy_truth
from aseg_bench.reporting.published import published
from aseg_bench.runs.scores import read_scores, write_scores
from tests.categories import WICKED, make_category


def scores_of(values: dict[tuple[str, str, str], float | None]) -> list[Score]:
    return [Score(Case(m, "toys", c), metric, v, 9, "exact") for (m, c, metric), v in values.items()]


@pytest.fixture(scope="module")
def some_scores():
    random = np.random.default_rng(0)
    return scores_of(
        {
            (method, category, metric): float(random.uniform(low, 1))
            for method in ("good", WICKED)
            for category in ("screw", "cable", "grid")
            for metric, low in (("pixel_auroc", 0.9), ("pixel_ap", 0.1), ("dsc", 0.0), ("anomaly_rate", 0.99))
        }
    )


def test_a_found_threshold_and_the_best_one_are_two_ends_of_a_line():
    found = {("good", "screw"): 0.2, ("good", "grid"): 0.4, (WICKED, "grid"): 0.3, (WICKED, "screw"): None}
    best = dict.fromkeys(found, 0.5)
    scores = [*scores_of({(*place, "seg_f1"): value for place, value in found.items()}),
              *scores_of({(*place, "pixel_f1_max"): value for place, value in best.items()})]  # fmt: skip
    figure = thresholds_figure(scores, looks(["good", WICKED]), {})
    (axes,) = figure.axes
    lines = [sorted((100 * f, 100 * b) for f, b in ends) for ends in ([(0.2, 0.5), (0.4, 0.5)], [(0.3, 0.5)])]
    drawn = [sorted((line[0][0], line[1][0]) for line in part.get_segments()) for part in axes.collections]
    assert [np.round(part, 9).tolist() for part in drawn] == [[list(pair) for pair in part] for part in lines]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["screw", "grid"]
    assert thresholds_figure([one for one in scores if one.metric != "seg_f1"], looks(["good"]), {}) is None


def test_the_toy_has_the_asked_excess_and_the_metrics_of_the_core():
    truth = toy_truth()
    for excess, toy in zip(EXCESS, toy_predictions(), strict=True):
        predicted = toy.scores > toy.scores.min()
        assert truth[predicted].sum() == truth.sum()
        assert predicted.sum() == (1 + excess) * truth.sum()
        assert toy.values["pixel_ap"] == pytest.approx(1 / (1 + excess))
        assert toy.values["dsc"] == pytest.approx(2 / (2 + excess))


def test_the_toy_shows_the_papers_point():
    last = toy_predictions()[-1].values
    assert last["pixel_auroc"] > 0.94
    assert last["pixel_ap"] < 0.04
    assert last["dsc"] < 0.07


@pytest.mark.parametrize("prevalence", [0.1, 0.01])
def test_binormal_ap_is_that_of_simulated_scores(prevalence):
    random, n = np.random.default_rng(1), 400_000
    truth = random.random(n) < prevalence
    scores = random.normal(size=n) + 2.0 * truth
    found = evaluate_maps(scores[None, None], truth[None, None], metrics=["pixel_auroc", "pixel_ap"])
    assert found["pixel_auroc"] == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.003)
    assert found["pixel_ap"] == pytest.approx(binormal_ap(np.array(norm.cdf(2 / np.sqrt(2))), prevalence), abs=0.01)


def test_binormal_ap_of_chance_is_the_prevalence():
    assert binormal_ap(np.array([0.5]), 0.03) == pytest.approx([0.03])


def test_points_pair_metrics_and_leave_out_means_and_undefined_values(tmp_path):
    values = {
        ("m", "screw", "pixel_auroc"): 0.9,
        ("m", "screw", "pixel_ap"): 0.5,
        ("m", "cable", "pixel_auroc"): 0.8,
        ("m", "cable", "pixel_ap"): None,
    }
    write_scores(tmp_path / "scores.csv", scores_of(values))  # with means
    points = score_points(read_scores(tmp_path / "scores.csv"))
    assert points[["category", "pixel_auroc", "pixel_ap"]].to_numpy().tolist() == [["screw", 0.9, 0.5]]


def test_tau_of_a_perfect_and_of_a_reversed_order():
    n = np.arange(8) / 10
    points = pd.DataFrame({"dataset": "d", "category": n.astype(str), "pixel_auroc": n, "pixel_ap": n})
    assert agreement(points)["kendall_tau"] == pytest.approx(1)
    assert agreement(points.assign(pixel_ap=-n))["kendall_tau"] == pytest.approx(-1)
    assert np.isnan(agreement(points[:2])["kendall_tau"])


def test_no_point_of_the_inflation_figure_lies_outside_the_axes():
    random = np.random.default_rng(0)
    auroc = np.append(random.uniform(0.95, 0.999, 30), [0.0, 0.3, 1.0])
    values = {("m", str(i), key): v for i, x in enumerate(auroc) for key, v in (("pixel_auroc", x), ("pixel_ap", 0.5))}
    figure = inflation_figure(score_points(scores_of(values)), "toys", {})
    axis = next(axis for axis in figure.axes if axis.get_xlabel() == "Pixel AUROC (%)")
    drawn = np.concatenate([dots.get_offsets() for dots in axis.collections])[:, 0]
    assert len(drawn) == len(auroc)
    assert axis.get_xlim()[0] <= drawn.min() < drawn.max() <= axis.get_xlim()[1]


def test_published_points_stand_in_one_source():
    points = published_points(published())
    own = points[(points["method"] == "UniAS") & (points["source_key"] == "unias_paper")]
    mvtec = own[own["dataset"] == "mvtec_ad"]
    assert mvtec[["pixel_auroc", "pixel_ap"]].to_numpy().tolist() == [[pytest.approx(0.9822), pytest.approx(0.6512)]]
    runs = ["method", "dataset", "setting", "source_key", "variant", "reproduced_by"]
    n_kinds = points.assign(mean=points["category"] == "mean").groupby(runs)["mean"].nunique()
    assert (n_kinds == 1).all()
    assert not points["reproduced_by"].str.contains("reprinted").any()
    logged = points[points["source_key"] == "ader_log_100e"]["method"].unique()
    repeated = points["method"].isin(logged) & (points["source_key"] == "ader_benchmark_readme_100e")
    assert len(logged) > 10
    assert not points[repeated & (points["dataset"] == "mvtec_ad")].shape[0]
    assert points.loc[points["source_key"] == "aupimo_benchmark", "caution"].str.contains("trapezoids").all()


def test_published_numbers_show_the_papers_point(tmp_path):
    figures = write_published_figures(tmp_path, ["png"])
    assert [figure.dataset for figure in figures] == ["", "mvtec_ad", "visa"]  # the toy is the paper's
    summary = pd.read_csv(tmp_path / "inflation_published_summary.csv").set_index("dataset")
    visa = summary.loc["visa"]
    assert visa["n_high"] > visa["n_points"] / 2
    assert visa["ap_high"] - visa["ap_low"] > 0.5
    assert 0 < visa["low"] < visa["kendall_tau"] < visa["high"] < 0.7


def test_chosen_images_are_the_extremes_of_mean_dice(category):
    truth = np.stack(category[0].masks)
    dice = np.zeros(len(truth))
    for maps in category:
        found = np.stack(maps.scores) >= maps.threshold
        dice += 2 * (found & truth).sum(axis=(1, 2)) / np.maximum((found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))), 1)
    anomalous = np.flatnonzero(truth.any(axis=(1, 2)))
    chosen = chosen_images(category)
    assert list(chosen) == ["worst", "median", "best"]
    assert chosen["worst"] == anomalous[dice[anomalous].argmin()]
    assert chosen["best"] == anomalous[dice[anomalous].argmax()]
    assert (dice[anomalous] <= dice[chosen["median"]]).sum() == (len(anomalous) + 1) // 2


def test_one_anomalous_image_is_chosen_once(tmp_path):
    assert len(chosen_images(make_category(tmp_path, n_images=2))) == 1


def test_slices_cover_every_anomalous_image_once_by_kind_and_once_by_size(category):
    maps = category[0]
    anomalous = [i for i, sample in enumerate(maps.samples) if sample.is_anomalous]
    for by in ("kind", "size"):
        assert sorted(i for some in maps.counts.slices if some.by == by for i in some.positions) == anomalous
    areas = [[maps.masks[i].sum() for i in some.positions] for some in maps.counts.slices if some.by == "size"]
    assert all(max(small) <= min(large) for small, large in pairwise(areas))


def test_slice_scores_are_those_of_the_slices_images_with_all_normal_ones(category):
    for maps in category:
        rows = slice_scores(maps)
        assert [row.slice_name for row in rows] == [some.name for some in maps.counts.slices]
        for row, some in zip(rows, maps.counts.slices, strict=True):
            chosen = [i for i, sample in enumerate(maps.samples) if i in some.positions or not sample.is_anomalous]
            scores, masks = np.stack(maps.scores)[chosen], np.stack(maps.masks)[chosen]
            assert row.pixel_ap == evaluate_maps(scores, masks, metrics=["pixel_ap"])["pixel_ap"]
            assert row.recall == pytest.approx((scores >= maps.threshold)[masks].mean())


def test_ranks_need_two_methods_and_two_common_categories(some_scores):
    assert ranks_figure([score for score in some_scores if score.case.method == "good"], "dsc", {}) is None
    assert ranks_figure([score for score in some_scores if score.case.category == "grid"], "dsc", {}) is None
    texts = [text.get_text() for text in ranks_figure(some_scores, "dsc", {"good": "Good One"}).axes[0].texts]
    assert any("Good One" in text for text in texts)


def test_every_figure_is_written_in_every_format_and_leaves_no_trace(tmp_path, category, some_scores):
    before = dict(rcParams)
    figures = write_figures(tmp_path, some_scores, [category])
    assert {figure.title for figure in figures if figure.category == "screw"} == {
        "Worst, median and best image",
        "Curves",
        "Distributions",
        "Kinds and sizes of defects",
    }
    assert len({path for figure in figures for path in figure.paths}) == sum(len(figure.paths) for figure in figures)
    for figure in figures:
        png, svg, pdf = figure.paths
        assert Image.open(png).width > 400
        assert b"<svg" in svg.read_bytes()
        assert pdf.read_bytes().startswith(b"%PDF")
    assert len(pd.read_csv(tmp_path / "inflation.csv")) == 6
    assert plt.get_fignums() == []
    assert dict(rcParams) == before


def test_legends_lie_inside_a_panel_and_the_slices_clear_of_theirs(category):
    method_looks = looks([maps.case.method for maps in category])
    rows = [row for maps in category for row in slice_scores(maps)]
    slices = slices_figure("screw", rows, method_looks, {})
    for figure in (curves_figure(category, method_looks, {}), distributions_figure(category, {}), slices):
        figure.draw_without_rendering()
        (legend,) = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
        box, panel = legend.get_window_extent(), legend.axes.get_window_extent()
        assert figure.legends == []
        assert panel.x0 - 1 <= box.x0 < box.x1 <= panel.x1 + 1
        assert panel.y0 - 1 <= box.y0 < box.y1 <= panel.y1 + 1
    drawn = [slices.axes[1].transData.transform(line.get_xydata()) for line in slices.axes[1].lines[: len(category)]]
    assert np.concatenate(drawn)[:, 1].max() < slices.axes[1].get_legend().get_window_extent().y0


def test_figures_are_the_same_bytes_each_time(tmp_path, some_scores):
    first, second = (write_figures(tmp_path / name, some_scores) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert [path.read_bytes() for path in one.paths] == [path.read_bytes() for path in other.paths]


def test_a_category_without_a_defect_still_lets_the_others_be_drawn(tmp_path, category):
    normal = make_category(tmp_path, "tile", n_images=1)
    figures = write_figures(tmp_path, [], [normal, category], formats=["png"])
    assert {figure.category for figure in figures} == {"", "screw"}


@pytest.mark.parametrize("scores", [np.zeros((48, 48)), np.eye(48)])
def test_maps_of_one_or_two_values_are_drawn(tmp_path, category, scores):
    maps = replace(category[0], scores=[scores] * len(category[0].samples))
    assert len(write_figures(tmp_path, [], [[maps]], formats=["png"])) == 5


def test_processes_draw_what_one_process_draws(tmp_path, stored):
    apart = write_figures(tmp_path / "apart", [], stored, formats=["png"])
    together = [write_figures(tmp_path / "together", [], [category], formats=["png"]) for category in stored]
    apart, *together = ([one for one in figures if one.category] for figures in (apart, *together))
    assert len(apart) == 4 * len(stored)
    for one, other in zip(apart, chain.from_iterable(together), strict=True):
        assert one.paths[0].read_bytes() == other.paths[0].read_bytes()


def test_levels_are_multiplied(category):
    levels = {f"level {4 - i}": maps.scores[1] for i, maps in enumerate(category)}
    figure = levels_figure([(category[0].picture(1), levels, category[0].masks[1])])
    titles = [axis.get_title() for axis in figure.axes]
    product = figure.axes[titles.index("product")].images[0].get_array()
    assert np.allclose(product, category[0].scores[1].astype(float) * category[1].scores[1])


def test_levels_are_drawn_per_category_with_an_image_of_each_kind(tmp_path, category):
    levels = [replace(maps, case=replace(maps.case, method=str(2 - i))) for i, maps in enumerate(category)]
    (figure,) = write_levels_figures(tmp_path, [levels])
    assert figure.category == "screw"
    assert [path.suffix for path in figure.paths] == [".png", ".svg", ".pdf"]
    width, height = Image.open(figure.paths[0]).size
    assert 2 * width / 6 < height < 3 * width / 5  # two kinds of defect; image, two levels, product and truth


def test_names_do_not_become_paths_formulas_or_hidden_legends(tmp_path):
    assert re.fullmatch(r"[\w-]+", file_name("../../etc", "a b<c>"), re.ASCII)
    assert len({file_name(name) for name in ("a_b", "a b", "a/b", "ä_b")}) == 4
    assert len(file_name("a" * 300)) < 100
    assert file_name("a" * 300) != file_name("a" * 301)
    assert printed("_m$x$") == r" _m\$x\$"
    with style():
        figure = new_figure(2, 2)
        figure.subplots().set_title(printed("cost $_{"))
    assert save(figure, tmp_path, "x", ["svg"])[0].is_file()


def test_a_name_in_letters_that_the_font_lacks_is_drawn_without_a_warning(tmp_path, recwarn):
    with style():
        figure = new_figure(2, 2)
        figure.subplots().set_title(printed("方法"))
    assert save(figure, tmp_path, "x", ["png"])[0].is_file()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_long_names_stay_inside_the_diagram_of_ranks(tmp_path):
    names = ["efficientad_small_wrn50", "my_method_v2", "patchcore_wrn101"]
    values = {(name, str(i), "dsc"): (i + k) % 3 / 3 for k, name in enumerate(names) for i in range(5)}
    figure = ranks_figure(scores_of(values), "dsc", {})
    save(figure, tmp_path, "ranks", ["png"])
    renderer = figure.canvas.get_renderer()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.width, text.get_text()


def test_looks_differ():
    names = [f"m{i}" for i in range(20)]
    assert len({(look.colour, look.marker) for look in looks(names).values()}) == 20
