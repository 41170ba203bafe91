"""Which metrics a command computes and prints, and which it refuses."""

import json
from pathlib import Path

import pytest

from aseg_bench.metrics import DEFAULT_METRICS, METRICS
from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Installed, run_on


@pytest.fixture
def maps(call: Call, installed: Installed, tiny: Path) -> Path:
    call(*run_on(tiny))
    return tiny.parent / "out/maps/near/mvtec_ad"


def eval_on(tiny: Path, maps: Path, *words: object) -> tuple[object, ...]:
    return ("eval", maps, "--dataset", "mvtec_ad", "--data-root", tiny, "--out", tiny.parent / "eval", *words)


@pytest.mark.parametrize("command", ["run", "eval"])
def test_an_unknown_metric_is_refused_before_any_work(
    call: Call, installed: Installed, tiny: Path, command: str
) -> None:
    words = run_on(tiny) if command == "run" else eval_on(tiny, tiny / "no maps are there")
    said = call(*words, "--metrics", "dsc,aupro").error
    assert said.startswith("there is no metric 'aupro'; did you mean aupimo, aupro_0.3")
    assert installed.diary == []
    assert not (tiny.parent / "out").exists()


def test_eval_prints_the_categories_and_their_mean(call: Call, maps: Path, tiny: Path) -> None:
    shown = call(*eval_on(tiny, maps)).out
    rows = [line.split() for line in shown.splitlines()]
    assert [row[0] for row in rows if row and row[0] in {"bolt", "nut", "Mean"}] == ["bolt", "nut", "Mean"]
    assert all(label in shown for label in ("Pixel AUROC", "Pixel AP", "DSC", "Best F1", "AUPRO"))


@pytest.mark.parametrize("command", ["run", "eval"])
def test_the_metrics_asked_for_are_scored_and_printed_and_no_others(
    call: Call, maps: Path, tiny: Path, command: str
) -> None:
    words = ("run", *run_on(tiny, out="again")[3:]) if command == "run" else eval_on(tiny, maps)
    outcome = call(*words, "--metrics", "aupro_0.3,recall")
    assert outcome.code == 0
    assert "AUPRO (%)   Recall at DSC (%)" in outcome.out
    scores = read_scores(tiny.parent / ("again" if command == "run" else "eval") / "scores.csv")
    assert {score.metric for score in scores} == {"aupro_0.3", "recall"}
    mean = 100 * sum(score.value or 0 for score in scores if score.metric == "recall") / 2
    assert f"{mean:.2f}" in next(line for line in outcome.out.splitlines() if "Mean" in line)


def test_a_run_with_other_metrics_is_scored_again_and_not_made_again(
    call: Call, installed: Installed, tiny: Path
) -> None:
    call(*run_on(tiny, "--metrics", "recall"))
    installed.diary.clear()
    assert call(*run_on(tiny)).code == 0
    assert installed.diary == []
    assert {score.metric for score in read_scores(tiny.parent / "out/scores.csv")} == set(DEFAULT_METRICS)


def test_every_metric_is_listed_with_all_that_is_known_of_it(call: Call) -> None:
    listed = json.loads(call("metrics", "--json").out)
    assert [row["key"] for row in listed] == list(METRICS)
    assert {row["key"] for row in listed if row["usual"]} == set(DEFAULT_METRICS)
    for row, metric in zip(listed, METRICS.values(), strict=True):
        assert (row["what_it_is"], row["source"], row["unit"]) == (metric.summary, metric.source, metric.unit)
        assert row["better"] == {True: "higher", False: "lower", None: None}[metric.higher_is_better]
        assert metric.key in call("metrics").out
