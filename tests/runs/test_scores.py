from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aseg_bench.errors import InputError
from aseg_bench.records import Case, Score
from aseg_bench.runs.scores import COLUMNS, Key, csv_text, frame_of, merge_runs, plain_text, read_scores, write_scores

SCORE = Score(Case("uni_as", "demo", "bottle"), "pixel_ap", 0.1 + 0.2, 83, "exact")
KEY = Key("uni_as", "exact", "demo", "bottle", "pixel_ap")


def test_scores_come_back_to_the_last_bit(tmp_path: Path) -> None:
    scores = [
        SCORE,
        Score(Case("=1+1", "a,b", 'quo"te\nline'), "dsc", None, 3, "exact", "-no anomalous pixel"),
        Score(Case("'=1", "ä", "nut"), "pixel_auroc", 5e-324, 3, "exact"),
    ]
    write_scores(tmp_path / "scores.csv", scores)
    assert read_scores(tmp_path / "scores.csv") == scores


def test_header_is_the_documented_one(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", [SCORE])
    header, row, mean = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "method,dataset,category,metric,value,n_images,protocol,undefined_because"
    assert row == "uni_as,demo,bottle,pixel_ap,0.30000000000000004,83,exact,"
    assert mean == row.replace("bottle", "mean")


def test_means_follow_each_method_and_data_set_and_are_not_read_back(tmp_path: Path) -> None:
    def score(method: str, category: str, value: float | None) -> Score:
        reason = "" if value is not None else "no pixel is anomalous"
        return Score(Case(method, "d", category), "pixel_ap", value, 2, "exact", reason)

    scores = [score("b", "x", 0.2), score("b", "y", 0.4), score("b", "z", None), score("a", "x", 1.0)]
    write_scores(tmp_path / "scores.csv", scores)
    assert read_scores(tmp_path / "scores.csv") == scores
    frame = frame_of(scores)
    written = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False, na_values={"value": ""})
    pd.testing.assert_frame_equal(frame, written)
    assert list(zip(frame["method"], frame["category"], strict=True)) == [
        ("b", "x"), ("b", "y"), ("b", "z"), ("b", "mean"), ("a", "x"), ("a", "mean"),
    ]  # fmt: skip
    means = frame[frame["category"] == "mean"]
    assert list(means["value"]) == [pytest.approx(0.3), 1.0]
    assert list(means["n_images"]) == [6, 2]
    assert list(means["undefined_because"]) == ["defined in 2 of 3 categories", ""]


@given(st.text(alphabet="'=+-@\t\r\nab"))
def test_no_text_cell_is_a_formula_and_each_comes_back(text: str) -> None:
    assert not csv_text(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert plain_text(csv_text(text)) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "lacks the columns method"),
        (",".join(COLUMNS) + "\n", "holds no score"),
        (",".join(COLUMNS) + "\nm,d,c,dsc,zero,1,exact,\n", "line 2.*zero"),
        (",".join(COLUMNS) + "\nm,d,c,dsc,nan,1,exact,\n", "line 2: value is nan"),
        (",".join(COLUMNS) + "\nm,d,c,dsc\n", "line 2"),
    ],
)
def test_a_damaged_file_says_where(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "scores.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path / "scores.csv")


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="aseg-bench run"):
        read_scores(tmp_path / "scores.csv")


def test_seeds_merge_into_mean_and_sample_deviation() -> None:
    merged = merge_runs([[replace(SCORE, value=value)] for value in (0.2, 0.4, 0.6)])[KEY]
    assert merged.value == pytest.approx(0.4)
    assert merged.deviation == pytest.approx(0.2)
    assert list(merged.by_run) == [1, 2, 3]


def test_one_run_has_no_deviation() -> None:
    assert merge_runs([[SCORE]])[KEY].deviation is None


def test_an_undefined_run_is_told_and_not_counted() -> None:
    undefined = replace(SCORE, value=None, undefined_because="no anomalous pixel")
    merged = merge_runs([[SCORE], [undefined]])[KEY]
    assert merged.value == SCORE.value
    assert merged.note == "mean of 1 of 2 runs; no anomalous pixel"
    assert merge_runs([[undefined]])[KEY].value is None


def test_mixed_protocols_are_refused_unless_asked_for() -> None:
    runs = [[SCORE], [replace(SCORE, protocol="uni_as")]]
    with pytest.raises(InputError, match=r"exact \(uni_as\); uni_as \(uni_as\)"):
        merge_runs(runs)
    assert len(merge_runs(runs, mixed=True)) == 4  # a category and its mean each


def test_other_test_images_are_refused_unless_asked_for() -> None:
    runs = [[SCORE], [replace(SCORE, n_images=80)]]
    with pytest.raises(InputError, match="different numbers of test images: 83"):
        merge_runs(runs)
    merged = merge_runs(runs, mixed=True)[KEY]
    assert merged.by_run.keys() == {1, 2}
    assert merged.note == "runs on different test images"


def test_a_cell_scored_twice_in_one_run_is_refused() -> None:
    with pytest.raises(InputError, match="run 1 scores uni_as / exact / demo / bottle / pixel_ap twice"):
        merge_runs([[SCORE, SCORE]])
