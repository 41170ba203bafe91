"""A run into a folder where there is something already: it goes on, does nothing, or says what is in the way."""

import json
from pathlib import Path

import pytest
import tifffile

from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Installed, Outcome, run_on


def test_a_second_run_does_nothing_again(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    first = (tiny.parent / "out/scores.csv").read_bytes()
    installed.diary.clear()
    assert call(*run_on(tiny)).code == 0
    assert installed.diary == []
    assert (tiny.parent / "out/scores.csv").read_bytes() == first


def test_overwrite_does_everything_again(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    installed.diary.clear()
    call(*run_on(tiny, "--overwrite", "--seed", 1))
    assert installed.diary == ["near fit 8", "near predict 10"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", 1), "with seed 0, not 1"),
        (("--max-minutes", 5), "with max_minutes None, not 5"),
        (("--set", "near.x=1"), "with settings {}, not {'x': '1'}"),
        (("--half",), "with half False, not True"),
        (("--map-size", "image"), "with map_size model, not image"),
        (("--categories", "nut"), "on other images or categories"),
    ],
)
def test_a_finished_run_is_not_taken_for_one_under_other_conditions(
    call: Call, installed: Installed, tiny: Path, words: tuple[object, ...], said: str
) -> None:
    call(*run_on(tiny))
    error = call(*run_on(tiny, *words)).error
    assert said in error
    assert "--out" in error
    assert "--overwrite" in error


def test_an_interrupted_run_is_not_taken_for_one_under_other_conditions(
    call: Call, installed: Installed, tiny: Path
) -> None:
    installed.interrupt = "near fit"
    call(*run_on(tiny))
    assert "with seed 0, not 1" in call(*run_on(tiny, "--seed", 1)).error


@pytest.mark.parametrize("place", ["fit", "predict"])
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    call: Call, installed: Installed, tiny: Path, place: str
) -> None:
    installed.interrupt = f"far {place}"
    stopped = call(*run_on(tiny, methods="near,far"))
    assert stopped.code == 130
    assert stopped.err.strip() == f"stopped; {tiny.parent / 'out'} keeps what is finished, and the same command " + (
        "goes on from there"
    )
    assert {score.case.method for score in read_scores(tiny.parent / "out/scores.csv")} == {"near"}
    installed.diary.clear()
    installed.interrupt = ""
    assert call(*run_on(tiny, methods="near,far")).code == 0
    assert installed.diary == ["far fit 8", "far predict 10"]


def test_ctrl_c_while_overwriting_says_how_to_go_on(call: Call, installed: Installed, tiny: Path) -> None:
    words = run_on(tiny, methods="near,far")
    call(*words)
    installed.interrupt = "near fit"
    stopped = call(*words, "--seed", 1, "--overwrite")
    assert stopped.code == 130
    assert stopped.err.strip().endswith("goes on from there, without --overwrite if the work had begun")
    installed.diary.clear()
    installed.interrupt = ""
    assert call(*words, "--seed", 1) == Outcome(0, "", "")
    assert installed.diary == ["near fit 8", "near predict 10", "far fit 8", "far predict 10"]


def test_maps_of_another_data_set_are_refused_before_any_work(call: Call, installed: Installed, tiny: Path) -> None:
    (tiny / "bolt").rename(tiny / "screw")
    call(*run_on(tiny, out="other"))
    (tiny / "screw").rename(tiny / "bolt")
    maps = tiny.parent / "other/maps/near/mvtec_ad"
    installed.diary.clear()
    error = call(*run_on(tiny, methods=f"far,copied=maps:{maps}")).error
    assert "images without a map: bolt/test/good/000" in error
    assert installed.diary == []


def test_maps_that_no_run_recorded_are_not_touched(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    (tiny.parent / "out/run.json").unlink()
    assert "run without record" in call(*run_on(tiny)).error
    maps = tiny.parent / "out/maps/near/mvtec_ad"
    assert "overlaps" in call(*run_on(tiny, methods=f"near=maps:{maps}", out="out"), "--overwrite").error
    assert len(list(maps.rglob("*.tiff"))) == 10


def test_maps_that_have_changed_are_taken_again(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny, out="other"))
    maps = tiny.parent / "other/maps/near/mvtec_ad"
    words, scores = run_on(tiny, methods=f"mapped=maps:{maps}"), tiny.parent / "out/scores.csv"
    assert call(*words) == call(*words) == Outcome(0, "", "")
    for file in maps.rglob("*.tiff"):
        tifffile.imwrite(file, -tifffile.imread(file))
    first = read_scores(scores)
    outcome = call(*words)
    assert outcome.code == 0
    assert f"warning: {maps} has changed: the maps of mapped are taken from it again\n" in outcome.err
    assert read_scores(scores)[0].value == pytest.approx(1 - first[0].value)  # type: ignore[operator]
    assert "has changed" not in call(*words).err


def test_a_record_from_before_map_sizes_is_one_of_the_models(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    call(*run_on(tiny, "--seed", 1, out="other"))
    path = tiny.parent / "out/run.json"
    record = json.loads(path.read_text())
    assert record["cases"]["near/mvtec_ad"].pop("map_size") == "model"
    path.write_text(json.dumps(record))
    installed.diary.clear()
    together = ("--out", tiny.parent / "both", "--quiet", "--no-page")
    assert call("report", tiny.parent / "out", tiny.parent / "other", *together) == Outcome(0, "", "")
    assert call(*run_on(tiny)) == Outcome(0, "", "")
    assert installed.diary == []
    assert "with map_size model, not image" in call(*run_on(tiny, "--map-size", "image")).error


def test_a_record_without_a_checksum_of_the_maps_is_still_one(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny, out="other"))
    words = run_on(tiny, methods=f"mapped=maps:{tiny.parent / 'other/maps/near/mvtec_ad'}")
    call(*words)
    path = tiny.parent / "out/run.json"
    record = json.loads(path.read_text())
    del record["cases"]["mapped/mvtec_ad"]["maps_checksum"]
    path.write_text(json.dumps(record))
    assert call(*words) == Outcome(0, "", "")


def test_protocols_do_not_mix_unasked(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    installed.diary.clear()
    other = run_on(tiny, "--protocol", "native", methods="far")
    assert "different protocols" in call(*other).error
    assert installed.diary == []
    assert call(*other, "--mixed").code == 0
