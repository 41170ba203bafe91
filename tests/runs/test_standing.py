from pathlib import Path

import pytest

from aseg_bench.errors import InputError, TrainingError
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import held
from aseg_bench.runs.standing import standings
from tests.conftest import Call, Distance, Installed, facts_of, run_on


class Failing(Distance):
    def fit(self, train: object) -> None:
        raise TrainingError("the loss is not finite at step 3")


class Buggy(Distance):
    def fit(self, train: object) -> None:
        raise ZeroDivisionError("division by zero")


@pytest.fixture
def failing(installed: Installed) -> Installed:
    installed.add(facts_of("failing", build=lambda options: Failing("failing", options)))
    installed.add(facts_of("buggy", build=lambda options: Buggy("buggy", options)))
    return installed


def states(out: Path) -> dict[str, tuple[str, str]]:
    return {one.method: (one.state, one.detail) for one in standings(out)[0]}


def test_a_run_that_keeps_going_finishes_the_others_and_says_why_one_failed(
    call: Call, failing: Installed, tiny: Path
) -> None:
    outcome, out = call(*run_on(tiny, "--keep-going", methods="failing,near,buggy")), tiny.parent / "out"
    assert outcome.code == 2
    assert "error: failing failed: the loss is not finite at step 3" in outcome.err
    assert states(out) == {
        "failing": ("failed", "the loss is not finite at step 3"),
        "near": ("done", "2 categories scored"),
        "buggy": ("failed", "ZeroDivisionError: division by zero"),
    }
    reported = call("report", out, "--no-page")
    assert reported.code == 0
    assert "Failing: failed and has no scores: the loss is not finite at step 3" in reported.out
    assert "error: failing failed" in call(*run_on(tiny, "--keep-going", methods="failing")).err


def test_without_it_a_run_stops_and_says_what_was_planned(call: Call, failing: Installed, tiny: Path) -> None:
    assert "the loss is not finite" in call(*run_on(tiny, methods="near,failing,far")).error
    found = states(tiny.parent / "out")
    assert {name: state for name, (state, _) in found.items()} == {
        "near": "done",
        "failing": "failed",
        "far": "planned",
    }


def test_a_run_that_was_stopped_says_how_far_it_came(call: Call, installed: Installed, tiny: Path) -> None:
    installed.interrupt = "far predict"
    assert call(*run_on(tiny, methods="near,far,mapped=maps:" + str(tiny))).code == 2  # no maps there: before any work
    assert call(*run_on(tiny, methods="near,far")).code == 130
    out = tiny.parent / "out"
    assert states(out)["far"] == ("stopped", "3 of 10 maps")
    with held(out):
        assert states(out)["far"][0] == "running"
    installed.interrupt = ""
    assert call(*run_on(tiny, methods="near,far")).code == 0
    assert states(out)["far"] == ("done", "2 categories scored")


def test_a_failure_leaves_no_scores_of_some_categories(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, n_kept = RunFolder.keep, 0

    def keep(folder: RunFolder, *given: object) -> None:
        nonlocal n_kept
        n_kept += 1
        if n_kept == 2:
            raise InputError("a map is damaged")
        whole(folder, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(RunFolder, "keep", keep)
    assert "a map is damaged" in call(*run_on(tiny)).error
    assert RunFolder(tiny.parent / "out").scores == []
    assert call(*run_on(tiny)).code == 0
    assert installed.diary == ["near fit 8", "near predict 10"]


def test_a_folder_without_a_run_is_one_error(call: Call, tmp_path: Path) -> None:
    assert "run.json does not exist" in call("status", tmp_path).error
