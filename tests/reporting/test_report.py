"""The commands report, compare and published, from finished runs to their files."""

import csv
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from aseg_bench.reporting.figures import FORMATS
from tests.conftest import Call, Installed, Point, facts_of


@pytest.fixture
def run(installed: Installed, call: Call, tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a finished run of the tiny data set."""

    def make(name: str, *words: object) -> Path:
        out = tmp_path / name
        where = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", out, "--quiet", "--no-page")
        assert call("run", "--methods", "near,far", *where, *words).code == 0
        return out

    return make


def edit(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_a_report_of_one_run_lies_in_the_run(run: Callable[..., Path], call: Call) -> None:
    folder = run("a")
    outcome = call("report", folder)
    assert outcome.code == 0
    assert "Pixel AUROC" in outcome.out
    page = (folder / "report" / "report.html").read_text()
    assert "of the pixels are anomalous" in page
    assert "bolt" in page
    assert "of the pixels are anomalous" in outcome.out
    assert {path.name for path in (folder / "report").iterdir()} >= {"tables.md", "tables.tex", "tables.csv"}
    assert "of the pixels are anomalous" in (folder / "report" / "findings.txt").read_text()


def test_nothing_of_an_older_report_stays_beside_a_new_one_and_nothing_else_is_touched(
    run: Callable[..., Path], call: Call
) -> None:
    folder = run("a")
    assert call("report", folder, "--quiet").code == 0
    own = folder / "report" / "figures" / "my own.png"
    own.write_bytes(b"")
    before = {path for path in (folder / "report").rglob("*") if path.is_file()}
    assert {"report.html", "tables.tex", "inflation.csv"} <= {path.name for path in before}
    assert call("report", folder, "--quiet", "--no-page", "--format", "md").code == 0
    after = {path.name for path in (folder / "report").rglob("*") if path.is_file()}
    assert after == {
        "tables.md",
        "scores.json",
        "findings.txt",
        ".written",
        own.name,
        "inflation.csv",
        "inflation_summary.csv",
    }


def test_the_papers_of_the_methods_lie_beside_the_tables_each_once(
    run: Callable[..., Path], call: Call, monkeypatch: pytest.MonkeyPatch, installed: Installed
) -> None:
    folder = run("a")
    both = [Point(name, name, partial(facts_of, name, bibtex="@misc{one,\n}\n")) for name in ("near", "far")]
    monkeypatch.setattr(installed, "points", both)
    assert call("report", folder, "--quiet", "--no-page").code == 0
    assert (folder / "report" / "references.bib").read_text() == "@misc{one,\n}\n"


def test_seeds_are_merged_into_mean_and_deviation(run: Callable[..., Path], call: Call, tmp_path: Path) -> None:
    first, second = run("a"), run("b", "--seed", 1)
    with (second / "scores.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["method"], row["metric"]) == ("near", "pixel_auroc")]
    for value in {row["value"] for row in rows if row["category"] != "mean"}:
        edit(second / "scores.csv", f",pixel_auroc,{value},", f",pixel_auroc,{float(value) - 0.02},")
    outcome = call("report", first, second, "--tables", "1", "--out", tmp_path / "both", "--format", "md", "--no-page")
    assert outcome.code == 0
    assert re.search(r"\d ± 1\.41", (tmp_path / "both" / "tables.md").read_text())
    told = json.loads((tmp_path / "both" / "scores.json").read_text())
    (mean,) = (
        row for row in told if (row["method"], row["category"], row["metric"]) == ("near", "mean", "pixel_auroc")
    )
    assert list(mean["by_run"]) == ["1", "2"]
    assert mean["value"] == pytest.approx(np.mean(list(mean["by_run"].values())))
    assert mean["deviation"] == pytest.approx(0.02 / np.sqrt(2))
    assert not (tmp_path / "both" / "tables.tex").exists()
    beside = first.parent / "report"
    assert str(beside / "tables.md") in call("report", first, second, "--no-page", "--format", "md").out


def test_only_seeds_are_merged(run: Callable[..., Path], call: Call, tmp_path: Path) -> None:
    first, same, other = run("a"), run("b"), run("c", "--seed", 1)
    edit(other / "run.json", '"half": false', '"half": true')
    report = ("--out", tmp_path / "both", "--no-page")
    assert "both hold near/mvtec_ad with seed 0; report on one" in call("report", first, same, *report).error
    assert "both hold near/mvtec_ad, with half True and False; only" in call("report", first, other, *report).error
    sized = run("d", "--seed", 1, "--map-size", "image")
    assert "with map_size image and model; only" in call("report", first, sized, *report).error


def test_images_that_have_changed_since_are_a_gap_in_a_report_and_an_error_in_a_comparison(
    run: Callable[..., Path], call: Call, tiny: Path
) -> None:
    folder = run("a")
    mask = next((tiny / "bolt" / "ground_truth").rglob("*.png"))
    mask.write_bytes((tiny / "nut" / "test" / "good" / "000.png").read_bytes())
    assert "have changed since" in call("compare", folder).error
    outcome = call("report", folder)
    assert outcome.code == 0
    assert "have changed since" in outcome.err
    assert "No maps were kept" in (folder / "report" / "report.html").read_text()


def test_means_over_other_images_are_told_and_not_ranked(run: Callable[..., Path], call: Call, tmp_path: Path) -> None:
    first, part = run("a"), run("b", "--categories", "bolt", "--seed", 1)
    rows = [line.replace("near,", "part,", 1) for line in (part / "scores.csv").read_text().splitlines(keepends=True)]
    (part / "scores.csv").write_text("".join(row for row in rows if not row.startswith("far,")))
    (part / "run.json").unlink()
    outcome = call("report", first, part, "--mixed", "--out", tmp_path / "c", "--format", "md", "--tables", "2")
    table = (tmp_path / "c" / "tables.md").read_text()
    assert outcome.code == 0
    assert "on 5 test images" in table
    assert "on 10 test images" in table
    assert not re.search(r"\*\*\d|<u>", table)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b",anomaly_rate,0.", b",anomaly_rate,4.", "no fraction from 0 to 1"),
        (b"near", b"n\xe9ar", "utf-8"),
    ],
)
def test_scores_that_are_none_are_refused_with_their_place(
    run: Callable[..., Path], call: Call, old: bytes, new: bytes, said: str
) -> None:
    path = run("a") / "scores.csv"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert said in call("report", path.parent).error


def test_a_case_that_is_made_again_is_not_finished(run: Callable[..., Path], call: Call) -> None:
    folder = run("a")
    record = json.loads((folder / "run.json").read_text())
    del record["cases"]["far/mvtec_ad"]["seconds"]
    (folder / "run.json").write_text(json.dumps(record))
    assert "is not finished with far/mvtec_ad; run again" in call("report", folder).error


def test_other_numbers_of_test_images_than_published_are_told(call: Call, tiny: Path, installed: Installed) -> None:
    for category, name in (("bolt", "screw"), ("nut", "wood")):
        (tiny / category).rename(tiny / name)
    where = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", tiny.parent / "out", "--no-page")
    said = " ".join(call("run", "--methods", "near", *where).out.split())
    assert (
        "2 of 2 categories of MVTec-AD have other numbers of test images than were published "
        "(screw 5 instead of 160, wood 5 instead of 79)" in said
    )


def test_runs_on_other_images_are_refused_unless_asked_for(
    run: Callable[..., Path], call: Call, tmp_path: Path
) -> None:
    first, second = run("a"), run("b")
    checksum = json.loads((first / "run.json").read_text())["datasets"]["mvtec_ad"]["checksum"]
    edit(second / "run.json", checksum, "0" * len(checksum))
    assert "different images of mvtec_ad" in call("report", first, second, "--out", tmp_path / "c", "--no-page").error
    mixed = ("report", first, second, "--out", tmp_path / "c", "--mixed")
    assert "with data 0000" in call(*mixed).error  # one name's numbers on other images do not merge
    assert call(*mixed, "--as", "here,there").code == 0


def test_runs_under_other_protocols_are_refused_unless_asked_for(
    run: Callable[..., Path], call: Call, tmp_path: Path
) -> None:
    first, second = run("a"), run("b")
    edit(second / "scores.csv", ",exact,", ",uniad,")
    assert "different protocols" in call("report", first, second, "--out", tmp_path / "c", "--no-page").error
    assert "[uniad]" in call("report", first, second, "--out", tmp_path / "c", "--mixed").out


def test_a_missing_category_and_a_run_named_twice_are_refused(run: Callable[..., Path], call: Call) -> None:
    folder = run("a")
    assert "a is named twice" in call("report", folder, folder, "--out", folder / "twice").error
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(line for line in lines if not line.startswith("far,mvtec_ad,nut")))
    assert "is not finished with far/mvtec_ad" in call("report", folder).error


def test_an_empty_and_a_half_written_run_are_named(run: Callable[..., Path], call: Call, tmp_path: Path) -> None:
    assert "scores.csv does not exist" in call("report", tmp_path).error
    folder = run("a")
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(line for line in lines if not line.startswith("far,")))
    assert "is not finished with far/mvtec_ad" in call("report", folder).error
    (folder / "scores.csv").write_text(lines[0])
    assert "holds no score" in call("report", folder).error
    for damaged in ("{", "[]", '{"datasets": {"mvtec_ad": {}}}'):
        (folder / "run.json").write_text(damaged)
        assert "run.json is damaged" in call("report", folder).error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("report",), "name one or several runs, or give --paper"),
        (("report", "--paper", "--tables", "9"), "no 9 here; known: 1, 2, 3, 4, 5"),
        (("published", "--method", "UniAs D"), "did you mean UniAD, UniAS"),
        (("published", "--dataset", "nowhere"), "no published number has the dataset nowhere"),
    ],
)
def test_what_is_not_there_is_a_clear_error(call: Call, words: tuple[str, ...], error: str) -> None:
    assert error in call(*words).error


def test_the_papers_tables_are_printed_and_written(call: Call, tmp_path: Path) -> None:
    outcome = call("report", "--paper", "--out", tmp_path, "--no-page")
    assert outcome.code == 0
    assert "52.59" in outcome.out
    assert "printed as 52.29" in outcome.out
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "tables.csv",
        "tables.html",
        "tables.md",
        "tables.tex",
    ]


def test_published_inflation_is_drawn_beside_the_papers_tables_with_its_numbers(call: Call, tmp_path: Path) -> None:
    assert call("report", "--paper", "--out", tmp_path, "--quiet").code == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    figures = ("inflation_published_mvtec_ad", "inflation_published_visa", "toy")
    drawn = {f"{figure}.{ending}" for figure in figures for ending in FORMATS}
    assert names == {"inflation_published.csv", "inflation_published_summary.csv", *drawn}


def test_missing_maps_are_a_gap_of_the_report(run: Callable[..., Path], call: Call) -> None:
    folder = run("a")
    next((folder / "maps" / "far").rglob("*.tiff")).unlink()
    outcome = call("report", folder)
    assert outcome.code == 0
    assert "lacks 1 maps of far on mvtec_ad" in outcome.err
    assert "lacks 1 maps of far on mvtec_ad" in (folder / "report" / "report.html").read_text()
    shown = (folder / "report" / "gallery" / "0" / "data.js").read_text()
    assert '"Near"' in shown
    assert '"Far"' not in shown


def test_a_report_of_several_runs_shows_the_maps_of_each_method_once(
    run: Callable[..., Path], call: Call, tmp_path: Path
) -> None:
    first, second, out = run("a"), run("b", "--seed", 1), tmp_path / "both"
    assert call("report", first, second, "--out", out, "--quiet").code == 0
    shown = (out / "gallery" / "0" / "data.js").read_text()
    assert (shown.count('"Near"'), shown.count('"Far"')) == (1, 1)
    page = (out / "report.html").read_text()
    assert "Gallery and figures of maps show near and far as of the run a." in page
    assert f"the gallery show those of {second}" not in page


def test_published_numbers_are_found_and_written(call: Call, tmp_path: Path) -> None:
    words = ("published", "--method", "uniad", "--dataset", "mvtec", "--metric", "pixel_ap")
    assert "44.42" in call(*words).out
    assert call(*words, "--category", "all", "--out", tmp_path / "uniad.csv").code == 0
    with (tmp_path / "uniad.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["category"] for row in rows} >= {"mean", "screw"}
    assert {row["method"] for row in rows} == {"UniAD"}


def test_compare_writes_intervals_around_the_exact_scores(run: Callable[..., Path], call: Call) -> None:
    folder = run("a")
    outcome = call("compare", folder, "--methods", "near,far", "--replicates", "200", "--quiet")
    assert outcome.code == 0
    with (folder / "scores.csv").open() as file:
        scores = {(row["method"], row["category"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    with (folder / "report" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["category"] for row in rows} == {"bolt", "nut", "mean"}
    for row in rows:
        if not row["second"]:
            assert float(row["estimate"]) == pytest.approx(float(scores[row["method"], row["category"], row["metric"]]))
        assert float(row["low"]) <= float(row["estimate"]) <= float(row["high"])
    twins = [row for row in rows if row["second"]]  # near and far see with the same eyes
    assert {float(row["estimate"]) for row in twins} == {0}
    assert {float(row["p_holm"]) for row in twins} == {1}


def test_compare_names_an_unknown_method_and_missing_maps(run: Callable[..., Path], call: Call) -> None:
    folder = run("a")
    assert "holds no scores of nearr; did you mean near" in call("compare", folder, "--methods", "nearr").error
    next((folder / "maps" / "far").rglob("*.tiff")).unlink()
    assert "lacks 1 maps of far" in call("compare", folder).error
