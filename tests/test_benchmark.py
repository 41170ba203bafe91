import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from aseg_bench.analysis.resampling import Resampled
from aseg_bench.errors import InputError
from benchmarks import claims, differences, scale
from benchmarks.browser import why_not
from benchmarks.coverage import KINDS
from benchmarks.coverage import write_report as write_coverage
from benchmarks.memory import COMMANDS
from benchmarks.memory import write_report as write_memory
from benchmarks.peers import SCENES, TOOLS
from benchmarks.scale_report import QUICK
from benchmarks.scale_report import write_report as write_scale
from benchmarks.speed import FULL, LONGEST, NOT_INSTALLED, Run, _left_out, installed_version

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_a_quick_race_writes_the_whole_report(tmp_path):
    command = [sys.executable, ROOT / "benchmark.py", "speed", "--quick", "--out", tmp_path]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {f"speed.{kind}" for kind in ("md", "csv", "json", "png")}
    record = json.loads((tmp_path / "speed.json").read_text())
    assert {(run["scene"], run["tool"]) for run in record["runs"]} == {
        (scene, tool) for scene in SCENES for tool in ("ours", "ours_all", "scikit_learn")
    }
    exact = [bar for bar in record["bars"] if bar["what"].startswith("largest deviation")]
    assert exact[0]["holds"]
    assert "| aseg-bench: all metrics" in (tmp_path / "speed.md").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
def test_a_quick_measurement_of_reports_names_every_bar(tmp_path):
    command = [sys.executable, ROOT / "benchmark.py", "report", "--quick", "--out", tmp_path]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    bars = json.loads((tmp_path / "report.json").read_text())["bars"]
    assert len(bars) == (5 if why_not() else 8)
    assert all(bar["value"] > 0 for bar in bars)
    assert "2 methods, 2 categories, 16 test images of 64 x 64 pixels" in (tmp_path / "report.md").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_a_quick_measurement_of_memory_has_few_maps_and_many(tmp_path, monkeypatch):
    title = "run, a TIFF file per map"
    monkeypatch.setattr("benchmarks.memory.COMMANDS", {title: COMMANDS[title]})
    write_memory(tmp_path, tmp_path / "work", quick=True)
    rows = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert [(row["command"], row["images"]) for row in rows] == [(title, 2), (title, 4)]
    assert all(row["peak (MB)"] > 50 for row in rows)
    assert "maps of 64 x 64 pixels" in (tmp_path / "memory.md").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_quick_measurements_of_scale_are_kept_and_add_up_to_a_report(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {name: run for name, run in QUICK.items() if not name.startswith("mvtec")}
    write_scale(tmp_path, ["2000"], quick=True)
    monkeypatch.setattr(
        "benchmarks.scale_report.measured",
        lambda run: getattr(scale, run.what)(str(run.n_images), *map(str, run.others)),  # in this process
    )
    for name in ("20000", "wire-2", "bounded-10000"):
        write_scale(tmp_path, [name], quick=True)
    rows = json.loads((tmp_path / "scale.json").read_text())["runs"]
    assert {name: row["n_images"] for name, row in rows.items()} == {name: run.n_images for name, run in names.items()}
    for key, (lower, upper) in rows["bounded-10000"]["bounds"].items():
        assert lower <= rows["20000"]["values"][key] <= upper  # of the same 20 maps
    text = (tmp_path / "scale.md").read_text()
    titles = ("Claims", "Exact", "Bytes over the wire", "Bounded", "Extrapolated, not measured")
    assert all(f"\n## {title}" in text for title in titles)
    assert " nan" not in text


def test_a_quick_simulation_of_intervals_has_every_kind_and_metric(tmp_path):
    write_coverage(tmp_path, n_cases=3)
    rows = [line for line in (tmp_path / "coverage.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(KINDS) * 3


@pytest.mark.parametrize("scene", SCENES)
def test_scenes_are_seeded(scene):
    one, two = SCENES[scene](4, 64), SCENES[scene](4, 64)
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.masks, two.masks)
    assert one.scores.dtype == np.float32


def test_scenes_are_what_they_are_called():
    assert SCENES["smooth"](24, 512).masks.mean() == pytest.approx(0.03, abs=0.005)
    assert SCENES["worst"](4, 64).masks.mean() == pytest.approx(0.5, abs=0.02)
    assert len(np.unique(SCENES["few"](4, 64).scores)) < 150
    assert len(np.unique(SCENES["smooth"](4, 64).scores)) > 10_000


@pytest.mark.parametrize("name", [name for name, tool in TOOLS.items() if tool.match])
def test_a_peer_comes_near_our_value_on_every_metric_it_has(name):
    peer = TOOLS[name]
    if installed_version(peer.package) == NOT_INSTALLED:
        pytest.skip(f"{peer.package} is not installed")
    scene = SCENES["smooth"](4, 400)  # AUPIMO needs 100,000 pixels of normal images
    exact = TOOLS[peer.match].run(scene)
    for key, value in peer.run(scene).items():
        assert value == pytest.approx(exact[key], abs=0.02), key  # some bin


def test_a_peer_that_is_not_there_or_too_slow_is_left_out(monkeypatch):
    run = Run("smooth", 80, "scikit_learn")
    assert _left_out(run, []) == ""
    assert _left_out(run, [Run("smooth", 20, "scikit_learn", [LONGEST / 3])]).startswith("would take longer")
    monkeypatch.setattr("benchmarks.speed.installed_version", lambda package: NOT_INSTALLED)
    assert _left_out(run, []) == NOT_INSTALLED


def test_the_full_race_has_the_promised_sizes():
    assert [round(n * FULL.side**2 / 1e6) for n in FULL.n_images] == [5, 20, 80]


def numbers_of(estimates, rng, spread=0.01):
    """Resampled metrics of categories that have these values."""
    return {
        ("set", f"category {index}"): {
            metric: Resampled(value, value + spread * rng.standard_normal(400), None, 0.0)
            for metric in ("pixel_auroc", "pixel_ap")
        }
        for index, value in enumerate(estimates)
    }


def test_a_difference_counts_images_that_both_systems_share_once_and_the_spread_over_seeds():
    rng = np.random.default_rng(0)
    noise = numbers_of([0.5, 0.6], rng)
    lower = {
        place: {metric: replace(number, estimate=number.estimate - 0.1, replicates=number.replicates - 0.1)}
        for place, by in noise.items()
        for metric, number in by.items()
        if metric == "pixel_ap"
    }
    first, second = differences.System("a", [noise, noise]), differences.System("b", [lower, lower])
    apart = differences.difference(first, second, spread_of=first)
    assert (apart.estimate, apart.low, apart.high) == pytest.approx((0.1, 0.1, 0.1))  # all noise is of shared images
    assert apart.verdict == "supported"
    assert differences.difference(second, first, spread_of=first).verdict == "not supported"
    values = rng.normal(0.5, 0.04, 6)
    seeds = differences.System("c", [numbers_of([value], rng, 0.0) for value in values])
    fixed = differences.System("d", [numbers_of([0.5], rng, 0.0)] * 2)
    apart = differences.difference(seeds, fixed, spread_of=seeds)
    low, high = stats.ttest_1samp(values - 0.5, 0).confidence_interval(0.95)  # the one source of spread
    assert (apart.low, apart.high) == pytest.approx((low, high))
    assert apart.verdict == "not decidable here"


@pytest.mark.parametrize(("ap", "verdict"), [(0.3, "supported"), (0.7, "not supported")])
def test_auroc_inflates_where_it_is_high_and_pixel_ap_is_low(ap, verdict):
    high, low = (numbers_of([value] * 3, np.random.default_rng(0)) for value in (0.96, ap))
    numbers = {
        place: {"pixel_auroc": high[place]["pixel_auroc"], "pixel_ap": by["pixel_ap"]} for place, by in low.items()
    }
    assert claims._inflation([differences.System("a", [numbers])] * 2).verdict == verdict


def test_a_quick_look_at_the_claims_has_a_verdict_on_each(tiny, tmp_path):
    out = tmp_path / "claims.md"
    claims.write_report(out, tmp_path / "work", [tiny], quick=True)
    text = out.read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    verdicts = [row[3].strip() for row in rows if len(row) == 5]
    assert len(verdicts) == 1 + 2 + 1 + 2 + 6 + 1
    assert set(verdicts[1:]) <= {"supported", "not supported", "not decidable here"}
    assert "python benchmark.py claims --data-root tiny --quick" in text
    systems = {row[1].strip(): row for row in rows if len(row) == 9}
    assert systems["UniAS"][2].strip() == "2"
    (score, *_) = [
        row
        for row in csv.DictReader((tmp_path / "work/others/seed0/scores.csv").open())
        if (row["method"], row["category"], row["metric"]) == ("uniad", "bolt", "pixel_ap")
    ]
    assert systems["UniAD"][6].strip() == f"{100 * float(score['value']):.1f}"  # the runner's own score
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "bolt").mkdir(parents=True)
    with pytest.raises(InputError, match="have one name; rename one"):
        claims.write_report(out, tmp_path / "work", [tiny, elsewhere], quick=True)


def test_a_quick_live_run_keeps_all_that_a_report_is_made_of_but_no_weights(tmp_path):
    command = [
        sys.executable,
        ROOT / "benchmark.py",
        "live",
        "--quick",
        "--work",
        tmp_path / "w",
        "--out",
        tmp_path / "r",
    ]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    kept = {str(path.relative_to(tmp_path / "r")) for path in (tmp_path / "r").rglob("*") if path.is_file()}
    assert {"scores.csv", "run.json", "training/uni_as/demo/curve.csv", "report/report.html"} <= kept
    assert [name for name in kept if name.endswith((".pt", ".tiff"))] == []
    with (tmp_path / "r/training/uni_as/demo/curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "4", "8"]
    assert "| PatchCore" in (tmp_path / "r/report/tables.md").read_text()
