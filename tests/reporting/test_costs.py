"""Table "cost" says what the records say, old and damaged ones included, and leaves a dash where they say nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aseg_bench.methods import CUT_SHORT, MEAN_PICTURE, NOT_LEARNED
from aseg_bench.records import Case, Finding, Score
from aseg_bench.reporting.cells import DASH, Table
from aseg_bench.reporting.costs import cost_table, training_points
from aseg_bench.reporting.diagnosis import diagnose
from aseg_bench.reporting.figures import write_figures
from aseg_bench.reporting.tables import category_tables, paper_tables
from aseg_bench.reporting.writing import tables_csv
from aseg_bench.runs.findings import marked
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts, Record
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import Key, merge_runs
from aseg_bench.scoring.categories import SCORING

ABOUT = {
    "device": "cuda:0",
    "all_settings": {"backbone": "resnet18.tv_in1k"},
    "training": {"steps": 600, "of": 1200, "seconds": 90.0},
    "parameters": {"trained": 1_250_000, "all": 11_000_000},
    "model_bytes": 44_040_000,
    "peak_bytes": 1_234_567_890,
    "gpu_peak_bytes": 2_000_000_000,
}
CUT = Finding(CUT_SHORT, "training cut short: 600 of 1,200 steps; --max-minutes ended it", Case("cut", "toys", ""))


def run_of(
    folder: Path,
    abouts: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Sequence[float]],
    findings: Sequence[Finding] = (),
    fit: float = 120.0,
) -> Results:
    """A finished run: the record of each method, and its pixel AP on screws and pills."""
    cases = {
        (name, "toys"): CaseRecord(
            Conditions(maps=None if name in abouts else "dump"),
            abouts.get(name, {"gpu_peak_bytes": 1}),
            {"fit": fit, "predict": 3.0},
            scoring=SCORING,
            of_maps=[finding for finding in findings if finding.case.method == name],
        )
        for name in values
    }
    own = RunFolder(folder)
    own.write_record(Record({"toys": DataFacts("0f", ["pill", "screw"], None, 4, 60)}, cases))
    own.write_scores(
        [
            Score(Case(name, "toys", category), metric, value, 30, "exact")
            for name, row in values.items()
            for category, value in zip(("screw", "pill"), row, strict=True)
            for metric in ("pixel_auroc", "pixel_ap", "dsc", "pixel_f1_max")
        ]
    )
    return Results.of(own)


def cells(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[cell.text for cell in row] for _, rows in table.blocks for row in rows]


def results_of(*runs: Results) -> dict[Key, Any]:
    return marked(merge_runs([run.scores for run in runs]), runs)


def test_every_cost_of_the_record_stands_in_its_column(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"cut": ABOUT}, {"cut": (0.4, 0.6), "read": (0.1, 0.2)}, [CUT])
    table = cost_table(results_of(run), [run], {}, {})
    assert table is not None
    assert dict(zip((cell.text for cell in table.header), cells(table)[0], strict=True)) == {
        "Method": "cut",
        "Pixel AUROC (%)": "50.00",
        "Pixel AP (%)": "50.00",
        "DSC (%)": "50.00",
        "Training (min)": "2.0",
        "Steps": "600 of 1,200",
        "ms per image": "50.0",
        "Trained (M)": "1.25",
        "Parameters (M)": "11.00",
        "Memory (MB)": "1,235",
        "GPU (MB)": "2,000",
        "Model (MB)": "44.0",
        "Device": "cuda:0",
        "Backbone": "resnet18.tv_in1k",
    }
    assert cells(table)[1] == ["read", "15.00", "15.00", "15.00", *[DASH] * 10]  # saved maps cost nothing here
    assert table.notes == {"a": "training cut short: 600 of 1,200 steps"}
    assert "training cut short" in tables_csv([table])


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"device": "cpu", "all_settings": {"n_steps": 9}},  # as 0.1.1 wrote it
        {"training": {}, "parameters": 3, "all_settings": None, "model_bytes": "9", "weights": 1, "peak_bytes": True},
    ],
)
def test_a_record_that_says_less_is_read_and_its_gaps_are_dashes(tmp_path: Path, about: Mapping[str, Any]) -> None:
    run = run_of(tmp_path, {"near": about}, {"near": (0.4, 0.6)})
    row = cells(cost_table(results_of(run), [run], {}, {}))[0]
    assert row == ["near", *["50.00"] * 3, "2.0", DASH, "50.0", *[DASH] * 4, about.get("device", DASH), DASH]


def test_without_a_live_method_there_is_no_table(tmp_path: Path) -> None:
    run = run_of(tmp_path, {}, {"read": (0.1, 0.2)})
    assert cost_table(results_of(run), [run], {}, {}) is None
    assert training_points([run]).empty


def test_a_training_that_went_on_counts_all_of_its_time(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"near": ABOUT}, {"near": (0.4, 0.6)}, fit=6.0)
    assert cells(cost_table(results_of(run), [run], {}, {}))[0][4] == "1.5"


def test_seeds_give_a_spread_of_times_the_largest_size_and_a_point_each(tmp_path: Path) -> None:
    more = {**ABOUT, "model_bytes": 50_000_000, "training": {"steps": 1200, "of": 1200, "seconds": 9}}
    runs = [
        run_of(tmp_path / "a", {"near": ABOUT}, {"near": (0.4, 0.6)}, fit=60),
        run_of(tmp_path / "b", {"near": more}, {"near": (0.6, 0.8)}, fit=180),
    ]
    row = cells(cost_table(results_of(*runs), runs, {}, {}))[0]
    assert (row[4], row[5], row[11]) == ("2.2 ± 1.1", "600 of 1,200; 1,200 of 1,200", "50.0")  # 90 s and 180 s
    points = training_points(runs)
    assert points["minutes"].tolist() == [1.5, 3.0]
    assert points["pixel_ap"].tolist() == pytest.approx([0.5, 0.7])
    (figure,) = [
        figure
        for figure in write_figures(tmp_path / "figures", [], trainings=points, formats=["svg"])
        if figure.title == "Pixel AP over minutes of training"
    ]
    assert all(path.is_file() for path in figure.paths)


def test_a_learning_curve_takes_the_place_of_the_points_of_its_run(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / name, {"near": ABOUT, "far": ABOUT}, {"near": (0.4, 0.6), "far": (0.1, 0.1)})
        for name in ("a", "b")
    ]
    file = runs[0].folder.curve_file("near", "toys")
    file.parent.mkdir(parents=True)
    file.write_text("step,seconds,pixel_ap,n_images\n1,30,0.2,12\n2,60,0.3,12\n")
    points = training_points(runs)
    assert points[["run", "method", "minutes", "pixel_ap", "n_images"]].values.tolist() == [
        [0, "near", 0.5, 0.2, 12],
        [0, "near", 1.0, 0.3, 12],
        [1, "near", 2.0, 0.5, 60],
        [1, "far", 2.0, 0.1, 60],
    ]
    assert write_figures(tmp_path / "figures", [], trainings=points, formats=["svg"])


def test_a_training_that_was_cut_short_is_marked_everywhere_and_neither_best_nor_ranked(tmp_path: Path) -> None:
    values = {"cut": (0.9, 0.9), "near": (0.5, 0.5), "far": (0.4, 0.4)}
    run = run_of(tmp_path, dict.fromkeys(values, ABOUT), values, [CUT])
    results = results_of(run)
    for table in (*paper_tables(results, {}, {}), *category_tables(results, {}, {})):
        by_method = {cell.text: cell for _, rows in table.blocks for row in rows for cell in row[1:]}
        assert (by_method["90.00"].rank, by_method["50.00"].rank, by_method["40.00"].rank) == ("", "best", "second")
        assert table.notes[by_method["90.00"].notes] == "training cut short: 600 of 1,200 steps"
    (diagnosis,) = diagnose(results, {}, {})
    assert diagnosis.findings[0].startswith("On toys, near has the highest pixel AUROC")
    assert [row[2].aside for row in diagnosis.table.blocks[0][1]] == ["", "1", "2"]


@pytest.mark.parametrize(("kind", "is_best"), [(NOT_LEARNED, False), (MEAN_PICTURE, True)])
def test_only_what_has_not_learned_at_all_is_unranked_there_and_in_the_mean(
    tmp_path: Path, kind: str, is_best: bool
) -> None:
    finding = Finding(kind, "has not learned: so much", Case("cut", "toys", "screw"))
    run = run_of(
        tmp_path,
        {"cut": ABOUT, "near": {}, "far": {}},
        {"cut": (0.9,) * 2, "near": (0.5,) * 2, "far": (0.4,) * 2},
        [finding],
    )
    results = results_of(run)
    (table,) = [table for table in category_tables(results, {}, {}) if table.key == "toys_pixel_ap"]
    ranks = {row[0].text: row[2].rank for _, rows in table.blocks for row in rows}
    assert ranks == {"screw": "best" if is_best else "", "pill": "best", "Mean": "best" if is_best else ""}
    assert set(table.notes.values()) >= {"has not learned", "screw: has not learned"}


def test_a_note_and_a_mark_of_one_cell_are_two_footnotes(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"cut": ABOUT}, {"cut": (0.9, 0.9)}, [CUT])
    undefined = Score(Case("cut", "toys", "nut"), "pixel_ap", None, 9, "exact", "no anomalous pixel")
    results = marked(merge_runs([[*run.scores, undefined]]), [run])
    (table,) = [table for table in paper_tables(results, {}, {}) if table.key == "table2"]
    assert table.blocks[0][1][0][1].notes == "a,b"
    assert "defined in 2 of 3 categories; training cut short" in tables_csv([table])
