"""The leaderboard shows the means of every run and pack below a folder, and says what it leaves out."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.reporting.leaderboard import leaderboard
from aseg_bench.reporting.published import published
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.publishing import pack
from aseg_bench.runs.runner import run
from tests.conftest import Call, Installed, write_category


@pytest.fixture
def plan(tiny: Path, installed: Installed) -> RunPlan:
    folder = tiny.parent / "runs"
    return RunPlan(["near", "far"], "mvtec_ad", folder / "a", tiny, options=MethodOptions(quiet=True))


def rows_of(page: Path) -> list[list[str]]:
    body = re.search(r"<tbody>(.*)</tbody>", page.read_text(encoding="utf-8"), re.S)
    assert body
    lines = body[1].split("</tr>")[:-1]
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)] for line in lines]


def test_every_run_and_pack_has_a_row_per_method_with_its_means(plan: RunPlan, tmp_path: Path) -> None:
    results = run(plan)
    run(replace(plan, methods=["near"], out=plan.out.with_name("b"), categories=["nut"]))
    pack(plan.out.with_name("b"), plan.out.with_name("other.aseg.zip"))
    for path in sorted(plan.out.with_name("b").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    board = leaderboard(plan.out.parent, tmp_path / "site")
    assert (board.n_runs, list(board.left_out)) == (2, [])
    rows = rows_of(board.page)
    found = [(row[0], row[8], row[15]) for row in rows]  # method, categories, source
    assert found == [("Far", "2", "a"), ("Near", "2", "a"), ("Near", "1", "other")]
    frame: pd.DataFrame = results.to_frame()
    means = frame[(frame["category"] == "mean") & (frame["metric"] == "pixel_ap")].set_index("method")["value"]
    assert [row[4] for row in rows[:2]] == [f"{100 * means['far']:.2f}", f"{100 * means['near']:.2f}"]


def test_the_same_scores_and_damaged_packs_are_left_out_and_told(plan: RunPlan, tmp_path: Path) -> None:
    run(plan)
    pack(plan.out)
    plan.out.with_name("bad.aseg.zip").write_bytes(b"PK")
    with pytest.warns(UserWarning, match="left out"):
        board = leaderboard(plan.out.parent, tmp_path / "site")
    assert board.n_runs == 1
    assert [re.sub(r"\S*/", "", text)[:40] for text in board.left_out] == [
        "a.aseg.zip has the very scores of a",
        "bad.aseg.zip is not a whole pack (File i",
    ]
    text = board.page.read_text(encoding="utf-8")
    assert "Left out" in text
    assert str(tmp_path) not in text


def test_published_numbers_stand_beside_runs_on_the_same_categories(tmp_path: Path, installed: Installed) -> None:
    names = sorted(set(published(dataset="visa")["category"]) - {"mean"})
    for name in names:
        write_category(tmp_path / "visa", name, n_train=1, n_good=1, n_hole=1)
    options = MethodOptions(quiet=True)
    whole = RunPlan(["near"], "mvtec_ad", tmp_path / "runs" / "whole", tmp_path / "visa", options=options)
    run(whole)
    assert "published" not in {row[9] for row in rows_of(leaderboard(tmp_path / "runs", tmp_path / "s").page)}
    for file in ("scores.csv", "run.json"):
        text = (whole.out / file).read_text(encoding="utf-8")
        (whole.out / file).write_text(text.replace("mvtec_ad", "visa"), encoding="utf-8")
    rows = rows_of(leaderboard(tmp_path / "runs", tmp_path / "s").page)
    (uniad,) = {row[4] for row in rows if row[0] == "UniAD" and row[15].startswith("UniAD")} or {""}
    assert uniad in set(published("UniAD", "visa", "mean", "pixel_ap", "one-for-all")["value_percent"]) | {"", "–"}
    assert {row[9] for row in rows} == {"measured", "published"}


def test_a_folder_without_any_run_is_refused(tmp_path: Path, call: Call) -> None:
    assert "no finished run and no pack" in call("leaderboard", tmp_path, "--out", tmp_path / "s").error
    with pytest.raises(InputError, match="there is no folder"):
        leaderboard(tmp_path / "none", tmp_path / "s")
