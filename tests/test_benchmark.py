import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import why_not
from benchmarks.coverage import KINDS
from benchmarks.coverage import write_report as write_coverage
from benchmarks.memory import COMMANDS
from benchmarks.memory import write_report as write_memory
from benchmarks.peers import SCENES, TOOLS
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
