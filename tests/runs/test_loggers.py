"""What trackers of experiments get: losses by step, and the scores at the end."""

import pickle
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aseg_bench.methods import Logger
from aseg_bench.runs.loggers import LOGGERS, make_logger
from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Distance, Installed, run_on

HEARD: list[tuple[Any, ...]] = []


class Listener:
    """Notes what it hears, of its method."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        HEARD.append((name, "made", folder.name))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        HEARD.append((self.name, step, metrics))

    def finalize(self, status: str) -> None:
        HEARD.append((self.name, "end", status))


OWN = f"{__name__}:Listener"


@pytest.fixture(autouse=True)
def nothing_heard() -> None:
    HEARD.clear()


def test_a_logger_of_ones_own_gets_the_scores_of_each_method_once(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distance, "about", {"training": {"steps": 7, "of": 7, "seconds": 1.0}}, raising=False)
    words = run_on(tiny, "--logger", OWN, methods="near,far")
    assert call(*words).code == 0
    kept = {
        f"{score.metric}/{score.case.category}": score.value
        for score in read_scores(tiny.parent / "out/scores.csv")
        if score.case.method == "near" and score.value is not None
    }
    (step, found), (_, end) = [what for name, *what in HEARD if name == "near/mvtec_ad"][1:]
    assert (step, end) == (7, "success")
    means = {key: value for key, value in found.items() if "/" not in key}
    assert {key: value for key, value in found.items() if key not in means} == kept
    assert means["pixel_ap"] == pytest.approx((kept["pixel_ap/bolt"] + kept["pixel_ap/nut"]) / 2)
    assert [name for name, *what in HEARD if what[0] == 7] == ["near/mvtec_ad", "far/mvtec_ad"]
    HEARD.clear()
    assert call(*words).code == 0  # all is finished
    assert not [what for _, *what in HEARD if what[0] == 7]


def test_a_method_that_fails_ends_its_logger_as_failed(call: Call, installed: Installed, tiny: Path) -> None:
    installed.interrupt = "far fit"
    assert call(*run_on(tiny, "--logger", OWN, methods="near,far")).code == 130
    assert [(name, how) for name, what, how in HEARD if what == "end"] == [
        ("near/mvtec_ad", "success"),
        ("far/mvtec_ad", "failed"),
    ]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("wandbb", "no logger wandbb; did you mean wandb"),
        (f"{__name__}:nobody", "names no function"),
        *((key, f"pip install {key}") for key in LOGGERS if find_spec(key) is None),
    ],
)
def test_a_logger_that_is_not_there_is_one_error_before_any_work(
    call: Call, installed: Installed, tiny: Path, key: str, said: str
) -> None:
    assert said in call(*run_on(tiny, "--logger", key)).error
    assert installed.diary == []


def of_wandb(notes: list[Any]) -> SimpleNamespace:
    def init(**given: Any) -> SimpleNamespace:
        notes.append(given["name"])
        return SimpleNamespace(
            log=lambda values, step: notes.append((values, step)),
            finish=lambda exit_code=0: notes.append("failed" if exit_code else "end"),
        )

    return SimpleNamespace(init=init)


def of_mlflow(notes: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(
        set_experiment=lambda project: None,
        start_run=lambda run_name: notes.append(run_name),
        log_metrics=lambda values, step: notes.append((values, step)),
        end_run=lambda status: notes.append({"FINISHED": "end", "FAILED": "failed"}[status]),
    )


@pytest.mark.parametrize(("key", "fake"), [("wandb", of_wandb), ("trackio", of_wandb), ("mlflow", of_mlflow)])
def test_the_run_of_a_tracker_begins_with_the_first_numbers_and_ends_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, fake: Any
) -> None:
    notes: list[Any] = []
    monkeypatch.setitem(sys.modules, key, fake(notes))
    logger: Logger = make_logger(key, tmp_path / "training", "near/tiny")
    logger.finalize("success")
    assert notes == []
    logger = pickle.loads(pickle.dumps(logger))  # as it comes to a process of a distributed training
    logger.log_metrics({"loss": 2.0}, 10)
    logger.log_metrics({"pixel_ap": 0.5}, 20)
    logger.finalize("success")
    logger.finalize("success")
    assert notes == ["near/tiny", ({"loss": 2.0}, 10), ({"pixel_ap": 0.5}, 20), "end"]
    logger.log_metrics({"loss": 2.0}, 10)
    logger.finalize("failed")
    assert notes[-1] == ("end" if key == "trackio" else "failed")
