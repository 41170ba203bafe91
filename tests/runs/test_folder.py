"""A run's folder has one owner, which reads each file once, writes it whole, and knows what older versions wrote."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aseg_bench.analysis.scored_maps import LevelCounts
from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.records import Case, Finding
from aseg_bench.reporting.report import report
from aseg_bench.runs import folder as folder_room
from aseg_bench.runs import runner
from aseg_bench.runs.evaluation import evaluate
from aseg_bench.runs.findings import OLDER
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts, Record
from aseg_bench.runs.record_file import RECORD_VERSION
from aseg_bench.runs.runner import run
from tests.conftest import Installed

CASE = CaseRecord(
    Conditions(data="0f", seed=3, max_minutes=5, settings={"n_steps": "9"}),
    about={"all_settings": {"n_steps": 9}, "device": "cpu"},
    seconds={"fit": 1.5, "predict": 0.2},
    findings=[Finding("odd", "it is odd", Case("near", "mvtec_ad", "bolt"))],
    scoring=2,
    of_maps=(Finding("clamped", "they are clamped", Case("near", "mvtec_ad", "bolt")),),
    scored_at={"bolt": "24 x 32"},
)
RECORD = Record({"mvtec_ad": DataFacts("0f", ["bolt"], None, 4, 5)}, {("near", "mvtec_ad"): CASE})
FIRST = {  # as 0.1.0 wrote it
    "aseg_bench": "0.1.0",
    "datasets": {"mvtec_ad": {"root": None, "categories": ["bolt"], "n_train": 4, "n_test": 5, "checksum": "0f"}},
    "cases": {
        "near/mvtec_ad": {
            "data": "0f", "seed": 3, "preset": "cpu", "backbone": None, "backbone_weights": None, "max_minutes": 5.0,
            "precision": "auto", "half": False, "settings": {"n_steps": "9"}, "all_settings": {"n_steps": 9},
            "device": "cpu", "seconds": {"fit": 1.5, "predict": 0.2},
        }
    },
}  # fmt: skip


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_record(RECORD)
    assert RunFolder(tmp_path).record == RECORD


def test_a_record_of_the_first_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(FIRST))
    first = replace(CASE, findings=[], scoring=1, of_maps=(), scored_at={})
    assert RunFolder(tmp_path).record == replace(RECORD, cases={("near", "mvtec_ad"): first})


def test_evaluated_maps_that_the_second_version_only_told_of_are_cases_of_unknown_maps(tmp_path: Path) -> None:
    odd = {"kind": "odd", "text": "it is odd", "method": "mine", "dataset": "mvtec_ad", "category": "bolt"}
    (tmp_path / "run.json").write_text(json.dumps({**FIRST, "version": 2, "evaluated": [odd]}))
    case = RunFolder(tmp_path).record.cases["mine", "mvtec_ad"]
    assert (case.is_evaluated, case.conditions.data, case.conditions.maps) == (True, "0f", "")
    assert case.findings == [Finding("odd", "it is odd", Case("mine", "mvtec_ad", "bolt"))]
    folder = RunFolder(tmp_path)
    folder.write_record(folder.record)
    assert RunFolder(tmp_path).record == folder.record


def test_a_record_of_a_newer_version_is_refused_with_its_number(tmp_path: Path) -> None:
    newer = {**FIRST, "version": RECORD_VERSION + 1, "aseg_bench": "9.0"}
    (tmp_path / "run.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match=rf"is of version {RECORD_VERSION + 1}, written by aseg-bench 9.0"):
        _ = RunFolder(tmp_path).record


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("cases", "near/mvtec_ad", "seed"), "three", r"cases.near/mvtec_ad.seed is 'three'"),
        (("cases", "near/mvtec_ad", "half"), 0, r"cases.near/mvtec_ad.half is 0"),
        (("cases", "near/mvtec_ad", "settings"), {"a": 1}, r"cases.near/mvtec_ad.settings is"),
        (("cases", "near/mvtec_ad"), [], r"is damaged"),
        (("cases",), [], r"is damaged"),
        (("datasets", "mvtec_ad", "categories"), "bolt", r"datasets.mvtec_ad.categories is 'bolt'"),
        (("datasets", "mvtec_ad"), {}, r"datasets.mvtec_ad: .*checksum"),
    ],
)
def test_a_damaged_record_says_what_is_wrong(tmp_path: Path, place: tuple[str, ...], value: Any, said: str) -> None:
    content = json.loads(json.dumps(FIRST))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        _ = RunFolder(tmp_path).record


@pytest.fixture
def plan(tiny: Path, installed: Installed) -> RunPlan:
    return RunPlan(["near", "far"], "mvtec_ad", tiny.parent / "out", tiny, options=MethodOptions(quiet=True))


def test_finished_work_is_not_done_again(plan: RunPlan, installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(plan).scores
    files = {path: path.stat().st_mtime_ns for path in plan.out.rglob("*") if path.is_file()}
    installed.diary.clear()
    monkeypatch.delattr(runner, "score_meeting")
    monkeypatch.delattr(MapStore, "read")
    assert run(plan).scores == first
    assert installed.diary == []
    assert {path: path.stat().st_mtime_ns for path in plan.out.rglob("*") if path.is_file()} == files


def test_what_changed_is_scored_again_and_nothing_else(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(plan).scores
    scored: list[Case] = []
    score = runner.score_meeting
    monkeypatch.setattr(
        runner, "score_meeting", lambda case, *given, **named: scored.append(case) or score(case, *given, **named)
    )
    changed = plan.out / "maps/near/mvtec_ad/nut/test/hole/001.tiff"
    other = plan.out / "maps/near/mvtec_ad/nut/test/good/000.tiff"
    changed.write_bytes(other.read_bytes())
    scores = run(plan).scores
    assert scored == [Case("near", "mvtec_ad", "nut")]
    assert [score.case for score in scores] == [score.case for score in first]
    assert scores != first
    scored.clear()
    run(replace(plan, methods=["far"], protocol="native", mixed=True))
    assert scored == [Case("far", "mvtec_ad", name) for name in ("bolt", "nut")]


def test_what_an_older_version_has_scored_is_scored_again_also_after_a_report(plan: RunPlan) -> None:
    first = run(plan).scores
    record = json.loads((plan.out / "run.json").read_text())
    del record["version"], record["cases"]["near/mvtec_ad"]["scoring"]
    (plan.out / "run.json").write_text(json.dumps(record))
    folder = RunFolder(plan.out)
    folder.write_scores([replace(score, value=0.5) for score in folder.scores])
    made = report([plan.out], page=False)
    assert [text for text in made.findings if "scored by another version" in text] == [f"Near: {OLDER}"]
    again = {score.case.method: [] for score in first}
    for score in run(plan).scores:
        again[score.case.method].append(score)
    assert again["near"] == [score for score in first if score.case.method == "near"]
    assert not [text for text in report([plan.out], page=False).findings if "scored by another version" in text]


def test_a_run_reads_each_file_once_and_writes_it_once_per_finished_case(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(replace(plan, methods=["near"]))
    done: Counter[str] = Counter()
    for name in ("read_scores", "write_scores", "record_of", "_write_json"):
        function = getattr(folder_room, name)
        monkeypatch.setattr(
            folder_room, name, lambda *given, name=name, function=function: done.update([name]) or function(*given)
        )
    run(plan)
    assert done["read_scores"] == done["record_of"] == 1
    assert done["write_scores"] == 2  # a category each
    assert (
        done["_write_json"] == 5
    )  # when it is planned, before the maps of the new case, when they are there, and a category each


def test_a_report_of_a_finished_run_opens_only_the_maps_that_it_shows(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(plan)
    monkeypatch.delattr(LevelCounts, "save")
    with monkeypatch.context() as patch:
        patch.delattr(MapStore, "read")
        report([results], page=False)
    opened: Counter[int] = Counter()
    read = Meeting._read
    monkeypatch.setattr(Meeting, "_read", lambda meeting, index: opened.update([index]) or read(meeting, index))
    report([results])
    assert max(opened.values()) <= 2 * 2 * 3  # methods, categories; for the gallery, the panels and their look-up


def test_the_maps_of_a_run_are_a_dump_like_any_other(plan: RunPlan) -> None:
    first = run(plan).scores
    maps = plan.out / "maps" / "near" / "mvtec_ad"
    given = {"name": "copy", "dataset": "mvtec_ad", "data_root": plan.data_root, "out": plan.out.parent / "eval"}
    evaluated = evaluate(maps, **given)
    assert not [text for text in evaluated.findings if "left out" in text]  # the counts beside them
    assert [score.value for score in evaluated.results.scores] == [
        score.value for score in first if score.case.method == "near"
    ]
