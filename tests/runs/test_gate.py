import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from aseg_bench.errors import TrainingError
from aseg_bench.records import Case, Score
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.scores import write_scores
from aseg_bench.scoring.categories import SCORING
from tests.conftest import Call, Distance, Installed, facts_of, run_on
from tests.runs.test_thresholds import run_ad_2, write_ad_2

Rows = dict[tuple[str, str], float | None]
PLAIN: Rows = {
    ("bolt", "pixel_ap"): 0.5,
    ("nut", "pixel_ap"): 0.3,
    ("bolt", "pixel_fpr_at_95_tpr"): 0.2,
    ("nut", "pixel_fpr_at_95_tpr"): 0.1,
    ("bolt", "anomaly_rate"): 0.1,
    ("nut", "anomaly_rate"): 0.1,
}
Made = Callable[..., Path]


class Failing(Distance):
    def fit(self, train: object) -> None:
        raise TrainingError("the loss is not finite")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Writes the scores of a run, into a folder of the name."""

    def make(name: str, changed: Rows | None = None, method: str = "near", stamp: str = "exact") -> Path:
        rows = {**PLAIN, **(changed or {})}
        scores = [
            Score(Case(method, "mvtec_ad", category), metric, value, 5, stamp, "" if value is not None else "all void")
            for (category, metric), value in rows.items()
        ]
        out = tmp_path / name
        out.mkdir()
        write_scores(out / "scores.csv", scores)
        return out

    return make


def test_what_reaches_its_bounds_passes_with_one_line(made: Made, call: Call) -> None:
    outcome = call("gate", made("run"), "--min", "pixel_ap=0.3", "--min", "mean:pixel_ap=0.4")
    assert (outcome.code, outcome.out) == (0, "passes: 4 comparisons\n")


def test_every_cell_below_its_bound_fails_with_a_line(made: Made, call: Call) -> None:
    outcome = call("gate", made("run"), "--min", "pixel_ap=0.45", "--min", "nut:pixel_ap=0.2")
    assert outcome.code == 1
    assert outcome.out.splitlines() == [
        "fails: near, mvtec_ad nut, pixel_ap: 0.3 is below 0.45",
        "fails: near, mvtec_ad mean, pixel_ap: 0.4 is below 0.45",
    ]


def test_where_lower_is_better_the_bound_is_the_highest_value(made: Made, call: Call) -> None:
    run = made("run")
    assert call("gate", run, "--min", "pixel_fpr_at_95_tpr=0.2").code == 0
    outcome = call("gate", run, "--min", "bolt:pixel_fpr_at_95_tpr=0.15")
    assert outcome.out == "fails: near, mvtec_ad bolt, pixel_fpr_at_95_tpr: 0.2 is above 0.15\n"


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_run_passes_against_itself_and_fails_in_what_got_worse(made: Made, call: Call, direction: int) -> None:
    base = made("base")
    worse = made("worse", {("bolt", "pixel_ap"): 0.5 - 0.1 * direction, ("nut", "pixel_fpr_at_95_tpr"): 0.2})
    assert call("gate", base, "--against", base).code == 0
    outcome = call("gate", worse, "--against", base, "--metrics", "pixel_ap")
    lines = outcome.out.splitlines()
    assert (outcome.code, len(lines)) == ((1, 2) if direction == 1 else (0, 1))
    if direction == 1:
        assert lines[0] == f"fails: near, mvtec_ad bolt, pixel_ap: 0.4 is below 0.5 (0.5 in {base})"
        assert " mean, pixel_ap" in lines[1]
    outcome = call("gate", worse, "--against", base, "--metrics", "pixel_fpr_at_95_tpr")
    assert f"nut, pixel_fpr_at_95_tpr: 0.2 is above 0.1 (0.1 in {base})" in outcome.out
    assert call("gate", worse, "--against", base, "--tolerance", "0.1").code == 0


def test_a_tolerance_reaches_exactly_as_far_as_it_says(made: Made, call: Call) -> None:
    base, run = made("base"), made("run", {("bolt", "pixel_ap"): 0.49, ("nut", "pixel_ap"): 0.29})
    assert call("gate", run, "--against", base, "--tolerance", "0.01").code == 0
    assert call("gate", run, "--against", base, "--tolerance", "0.0099").code == 1


def test_a_cell_without_a_value_fails_and_says_why(made: Made, call: Call) -> None:
    base, run = made("base"), made("run", {("nut", "pixel_ap"): None})
    lines = call("gate", run, "--min", "pixel_ap=0").out.splitlines()
    assert lines[0] == "fails: near, mvtec_ad nut, pixel_ap: has no value: all void"
    assert f"has no value (0.3 in {base}): all void" in call("gate", run, "--against", base).out
    assert call("gate", base, "--against", run).code == 0  # what had no value before is not lost
    fewer = made("fewer")
    write_scores(fewer / "scores.csv", [one for one in RunFolder(base).scores if one.case.category == "bolt"])
    assert f"nut, pixel_ap: has no value (0.3 in {base}): not in the run" in call("gate", fewer, "--against", base).out


def test_json_has_the_same_cells(made: Made, call: Call) -> None:
    run = made("run")
    outcome = call("gate", run, "--min", "nut:pixel_ap=0.45", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out) == {
        "passed": False,
        "n_checked": 1,
        "failures": [
            {
                "method": "near",
                "dataset": "mvtec_ad",
                "category": "nut",
                "metric": "pixel_ap",
                "value": 0.3,
                "bound": 0.45,
                "reason": "0.3 is below 0.45",
            }
        ],
    }
    assert json.loads(call("gate", run, "--min", "pixel_ap=0.1", "--json").out)["passed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to check; give --min"),
        (("--min", "pixel_ap"), "--min pixel_ap is not METRIC=VALUE"),
        (("--min", "pixel_ap=much"), "is not METRIC=VALUE"),
        (("--min", "pixel_app=0.4"), "no metric 'pixel_app'; did you mean pixel_ap"),
        (("--min", "pixel_ap=40"), "divide percentages by 100"),
        (("--min", "pixel_ap=nan"), "divide percentages by 100"),
        (("--min", "anomaly_rate=0.1"), "neither direction is better"),
        (("--min", "dsc=0.1"), "has no dsc; run again with --metrics, or choose of pixel_ap"),
        (("--min", "bold:pixel_ap=0.1"), "no category bold; did you mean bolt"),
        (("--min", "pixel_ap=0.1", "--metrics", "dsc"), "give it with --against"),
        (("--against", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_checked_is_one_error(
    made: Made, call: Call, words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in call("gate", made("run"), *words).error


def test_a_method_that_has_failed_fails(call: Call, installed: Installed, tiny: Path) -> None:
    installed.add(facts_of("failing", build=lambda options: Failing("failing", options)))
    call(*run_on(tiny, "--keep-going", methods="near,failing"))
    outcome = call("gate", tiny.parent / "out", "--min", "pixel_ap=0")
    assert outcome.code == 1
    assert outcome.out == "fails: failing, mvtec_ad: has no scores, as it failed: the loss is not finite\n"


def test_a_method_that_lacks_a_bounded_cell_or_was_never_scored_fails(made: Made, call: Call) -> None:
    folder = made("run")
    lacking = write_other(folder, [("bolt", "pixel_auroc", 0.9)])
    outcome = call("gate", folder, "--min", "pixel_ap=0.3", "--min", "nut:pixel_ap=0.3")
    assert outcome.code == 1
    assert f"{lacking}, mvtec_ad mean, pixel_ap: has no value: not in the run" in outcome.out
    assert f"{lacking}, mvtec_ad nut, pixel_ap: has no value: not in the run" in outcome.out
    RunFolder(folder).write_record(replace(RunFolder(folder).record, planned=[("late", "mvtec_ad")]))
    assert "late, mvtec_ad: has no scores" in call("gate", folder, "--min", "pixel_ap=0.3").out


def write_other(folder: Path, rows: list[tuple[str, str, float]]) -> str:
    others = [Score(Case("other", "mvtec_ad", category), metric, value, 5, "exact") for category, metric, value in rows]
    write_scores(folder / "scores.csv", [*RunFolder(folder).scores, *others])
    return "other"


def test_runs_without_a_common_cell_are_one_error(made: Made, call: Call) -> None:
    run = made("run")
    for other in (made("far", method="far"), made("native", stamp="native")):
        assert "have no cell in common" in call("gate", run, "--against", other).error


def test_numbers_at_thresholds_of_other_rules_are_not_compared(
    call: Call, installed: Installed, tmp_path: Path
) -> None:
    root = write_ad_2(tmp_path / "ad_2", objects=("can",))
    runs = [tmp_path / name for name in ("run", "base", "plain")]
    for run, rule in zip(runs, ("max", "mean_3std", ""), strict=True):
        assert call(*run_ad_2(root, *(("--threshold", rule) if rule else ()), "--out", run)).code == 0
    error = call("gate", runs[0], "--against", runs[1]).error
    assert f"{runs[0]} and {runs[1]} both hold near/mvtec_ad_2, with threshold max and mean_3std" in error
    assert "--metrics" in error
    assert call("gate", runs[0], "--against", runs[1], "--metrics", "pixel_ap,pixel_auroc").code == 0
    assert call("gate", runs[0], "--against", runs[2]).code == 0  # which has no number at a threshold
    assert "seg_f1: has no value" in call("gate", runs[2], "--against", runs[0]).out


def test_trainings_with_other_images_held_out_are_not_compared(call: Call, installed: Installed, tiny: Path) -> None:
    assert call(*run_on(tiny, "--threshold", "max")).code == 0
    assert call(*run_on(tiny, out="base")).code == 0
    run, base = tiny.parent / "out", tiny.parent / "base"
    assert "both hold near/mvtec_ad, with held_out 0.1 and 0.0" in call("gate", run, "--against", base).error
    assert call("gate", run, "--min", "pixel_ap=0").code == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scoring": 1}, f"with scoring version {SCORING} and 1"),
        ({"scored_at": {"bolt": "12 x 16", "nut": "24 x 32"}}, "with maps of bolt at 24 x 32 and 12 x 16"),
    ],
)
def test_pixels_that_were_scored_otherwise_are_not_compared(
    call: Call, installed: Installed, tiny: Path, changed: dict[str, object], said: str
) -> None:
    assert call(*run_on(tiny)).code == 0
    run, base = tiny.parent / "out", tiny.parent / "base"
    shutil.copytree(run, base)
    assert call("gate", run, "--against", base).code == 0
    content = json.loads((base / "run.json").read_text())
    content["cases"]["near/mvtec_ad"] |= changed
    (base / "run.json").write_text(json.dumps(content))
    assert f"both hold near/mvtec_ad, {said}" in call("gate", run, "--against", base).error


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="the action's script is for bash")
def test_the_action_of_github_hands_on_its_inputs_and_the_exit_code(made: Made, tmp_path: Path) -> None:
    action = yaml.safe_load((Path(__file__).parents[2] / ".github/actions/gate/action.yml").read_text())
    step = action["runs"]["steps"][-1]
    command = tmp_path / "bin/aseg-bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aseg_bench "$@"\n')
    command.chmod(0o755)

    def outcome(**given: object) -> tuple[int, str]:
        inputs = {name: str(given.get(name, one.get("default"))) for name, one in action["inputs"].items()}
        words = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], text)
            for name, text in step["env"].items()
        }
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, **words, "PATH": path})
        return done.returncode, done.stdout

    assert "${{" not in step["run"]
    run, base = made("run"), made("base", {("bolt", "pixel_ap"): 0.9})
    assert outcome(run=run, min="pixel_ap=0.3\n\nmean:pixel_ap=0.4\n") == (0, "passes: 4 comparisons\n")
    code, out = outcome(run=run, min="pixel_ap=0.1", against=base, tolerance=0.3, metrics="pixel_ap")
    assert code == 1
    assert re.fullmatch(r"fails: near, mvtec_ad bolt, pixel_ap: 0\.5 is below 0\.6 .*\n", out)
