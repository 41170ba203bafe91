"""A run from a YAML file, the file that a run leaves, and a run that only says what it would do."""

import json
from pathlib import Path

import pytest
import yaml

from aseg_bench.methods import Estimate
from aseg_bench.records import Sample
from tests.conftest import Call, Distance, Installed, run_on


def test_the_file_that_a_run_leaves_repeats_it(call: Call, installed: Installed, tiny: Path) -> None:
    typed = ("--seed", 3, "--set", "near.x=1", "--mask-rule", ">127", "--categories", "nut,bolt", "--half")
    assert call(*run_on(tiny, *typed)).code == 0
    kept = tiny.parent / "out/config.yaml"
    installed.diary.clear()
    assert call("run", "--config", kept, "--quiet").code == 0
    assert installed.diary == []  # all is finished under these very conditions
    again = tiny.parent / "again"
    assert call("run", "--config", kept, "--out", again, "--quiet").code == 0
    assert (again / "scores.csv").read_bytes() == (tiny.parent / "out/scores.csv").read_bytes()
    cases = [json.loads((folder / "run.json").read_text())["cases"]["near/mvtec_ad"] for folder in (kept.parent, again)]
    assert cases[0]["seed"] == 3
    by_the_way = {"seconds", "peak_bytes", "made", "scored"}  # times, commands and dates
    assert {key for key in cases[0] if cases[0][key] != cases[1][key]} <= by_the_way
    first, second = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (kept.parent, again))
    assert first | {"out": str(again)} == second


def test_lists_and_mappings_stand_for_commas_and_settings(call: Call, installed: Installed, tiny: Path) -> None:
    said = {"methods": ["near", "far"], "dataset": "mvtec_ad", "data-root": str(tiny), "page": False,
            "set": {"near.x": 2}, "categories": ["nut"],
            "out": str(tiny.parent / "out"), "max-minutes": 2.5}  # fmt: skip
    file = tiny.parent / "mine.yaml"
    file.write_text(yaml.safe_dump(said))
    assert call("run", "--config", file, "--quiet", "--seed", 5).code == 0
    record = json.loads((tiny.parent / "out/run.json").read_text())
    case = record["cases"]["near/mvtec_ad"]
    assert (case["seed"], case["settings"], case["max_minutes"]) == (5, {"x": "2"}, 2.5)
    assert record["datasets"]["mvtec_ad"]["categories"] == ["nut"]
    assert not (tiny.parent / "out/report/report.html").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method: near", "there is no option method; did you mean methods"),
        ("data_root: x", "there is no option data_root; did you mean data-root"),
        ("half: 3", "half is 3; write true or false"),
        ("seed: true", "seed is True; it is not a switch"),
        ("out: {a: b}", "out is a mapping"),
        ("- methods", "holds no options"),
        ("mask-rule: >0", "as YAML"),
        ("config: x.yaml", "there is no option config"),
    ],
)
def test_a_wrong_file_is_one_error_before_any_work(
    call: Call, installed: Installed, tiny: Path, text: str, said: str
) -> None:
    file = tiny.parent / "mine.yaml"
    file.write_text(text)
    error = call(*run_on(tiny, "--config", file)).error
    assert said in error
    assert str(file) in error
    assert installed.diary == []


def test_a_wrong_value_in_a_file_is_refused_as_a_typed_one_is(call: Call, installed: Installed, tiny: Path) -> None:
    file = tiny.parent / "mine.yaml"
    file.write_text("seed: many")
    outcome = call(*run_on(tiny, "--config", file))
    assert outcome.code == 2
    assert "--seed" in outcome.err
    assert installed.diary == []


def test_a_dry_run_says_what_is_there_and_due_and_does_nothing(call: Call, installed: Installed, tiny: Path) -> None:
    (tiny / "nut/test/hole/notes.md").write_text("seen")
    call(*run_on(tiny, methods="far"))
    installed.diary.clear()
    maps = tiny.parent / "out/maps/far/mvtec_ad"
    words = run_on(tiny, "--dry-run", methods=f"near,far,read=maps:{maps}")
    before = {path: path.stat().st_mtime_ns for path in (tiny.parent / "out").rglob("*")}
    outcome = call(*words)
    assert outcome.code == 0
    assert "mvtec_ad: 2 categories, 8 training images, 10 test images: 6 anomalous, 4 good" in outcome.out
    assert "notes.md" in outcome.out
    assert "near: it is trained and maps 10 images" in outcome.out
    assert "far: its maps are finished" in outcome.out
    assert f"read: its maps of 10 images are read from {maps}" in outcome.out
    assert "how long near will take is not known before" in outcome.out
    assert installed.diary == []
    assert {path: path.stat().st_mtime_ns for path in (tiny.parent / "out").rglob("*")} == before
    assert "no method neer" in call(*run_on(tiny, "--dry-run", methods="neer")).error


def test_a_dry_run_says_about_how_long_it_will_take(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(method: Distance, train: list[Sample], test: list[Sample]) -> Estimate:
        return Estimate(100.0 * len(train) + len(test), "7 steps timed here")

    monkeypatch.setattr(Distance, "estimate", estimate, raising=False)
    told = call(*run_on(tiny, "--dry-run", methods="near,far")).out
    assert "near: it is trained and maps 10 images, in about 14 min (estimated from 7 steps timed here)" in told
    assert f"all goes into {tiny.parent / 'out'}, in about 27 min; " in told
    assert "on top" not in call(*run_on(tiny, "--dry-run", "--train-only")).out
    assert not (tiny.parent / "out").exists()
