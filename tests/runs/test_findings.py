"""What is odd reaches the numbers that it is about, in every table, and keeps them from being best where it must."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from aseg_bench.methods import CUT_SHORT
from aseg_bench.metrics import AT_PR_THRESHOLD, METRICS
from aseg_bench.records import Case, Finding, Score
from aseg_bench.reporting.cells import Table
from aseg_bench.reporting.diagnosis import diagnose
from aseg_bench.reporting.html import html
from aseg_bench.reporting.latex import latex
from aseg_bench.reporting.markdown import markdown
from aseg_bench.reporting.tables import category_tables, paper_tables
from aseg_bench.runs.findings import findings_of, marked, shown_methods
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts, Record
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import merge_runs
from aseg_bench.scoring.categories import DEGENERATE, FAINT, SCORING

VALUES = {"top": 0.9, "near": 0.5, "far": 0.4}
PLACES = ("screw", "pill")


def run_of(
    folder: Path,
    findings: Sequence[Finding] = (),
    sizes: Mapping[str, str] | None = None,
    of_data: Sequence[Finding] = (),
) -> Results:
    """A finished run in which ``top`` leads everywhere, by every metric."""
    own = RunFolder(folder)
    cases = {
        (name, "toys"): CaseRecord(
            Conditions(maps="dump"),
            seconds={"fit": 0, "predict": 1},
            scoring=SCORING,
            findings=[one for one in findings if one.case.method == name],
            scored_at=dict.fromkeys(PLACES, (sizes or {}).get(name, "224 x 224")),
        )
        for name in VALUES
    }
    own.write_record(Record({"toys": DataFacts("0f", sorted(PLACES), None, findings=of_data)}, cases))
    own.write_scores(
        [
            Score(
                Case(name, "toys", place), metric, value if METRICS[metric].higher_is_better else 1 - value, 9, "exact"
            )
            for name, value in VALUES.items()
            for place in PLACES
            for metric in METRICS
        ]
    )
    return Results.of(own)


def disqualified(run: Results, method: str, category: str) -> set[str]:
    results = marked(merge_runs([run.scores]), [run])
    return {
        key.metric for key, one in results.items() if key[0] == method and key[3] == category and one.is_disqualified
    }


def tables_of(run: Results) -> list[Table]:
    results, shown = marked(merge_runs([run.scores]), [run]), shown_methods([run])
    inflation = [diagnosis.table for diagnosis in diagnose(results, shown, {})]
    return [*paper_tables(results, shown, {}), *category_tables(results, shown, {}), *inflation]


@pytest.mark.parametrize("kind", [DEGENERATE, FAINT])
def test_a_threshold_at_an_extreme_is_told_at_the_metrics_of_that_threshold_alone(tmp_path: Path, kind: str) -> None:
    text = "the DSC's threshold is at an end, so DSC says little"
    run = run_of(tmp_path, [Finding(kind, f"{text}: see pixel_f1_max", Case("top", "toys", "screw"))])
    assert {"dsc", "iou", "recall", "fp_pixels"} <= AT_PR_THRESHOLD
    assert not {"pixel_ap", "pixel_f1_max", "aupro_0.3", "image_auroc"} & AT_PR_THRESHOLD
    for category, expected in (("screw", AT_PR_THRESHOLD), ("mean", AT_PR_THRESHOLD), ("pill", set())):
        assert disqualified(run, "top", category) == expected
    tables = {table.key: table for table in tables_of(run)}
    best = {cells[0].text: [cell.text for cell in cells if cell.rank == "best"]
            for _, rows in tables["toys_dsc"].blocks for cells in rows}  # fmt: skip
    assert best == {"screw": ["50.00"], "pill": ["90.00"], "Mean": ["50.00"]}
    assert f"screw: {text}" in tables["table3"].notes.values()
    for render in (markdown, latex, html):
        assert "threshold is at an end" in render([tables["table3"]])


def test_maps_of_different_sizes_are_not_ranked_by_pixels_and_every_table_says_so(tmp_path: Path) -> None:
    run = run_of(tmp_path, sizes={"top": "28 x 28"})
    told = "maps of different sizes (28 x 28: top; 224 x 224: far, near)"
    assert [text.startswith(told) for text in findings_of([run])] == [True]
    assert "--protocol native" in findings_of([run])[0]
    for table in tables_of(run):
        is_of_images = table.key.removeprefix("toys_").startswith("image_")
        cells = [cell for _, rows in table.blocks for row in rows for cell in row[1:]]
        assert any(cell.rank == "best" for cell in cells) == is_of_images, table.key
        assert any(note.startswith(told) for note in table.notes.values()) != is_of_images, table.key


def test_maps_of_one_size_are_ranked(tmp_path: Path) -> None:
    assert findings_of([run_of(tmp_path)]) == []


def test_a_training_that_was_cut_short_has_it_in_its_name_in_every_table(tmp_path: Path) -> None:
    text = "training cut short: 300 of 600 steps; --max-minutes ended it"
    run = run_of(tmp_path, [Finding(CUT_SHORT, text, Case("top", "toys", ""))])
    for table in tables_of(run):
        names = [cell.text for cell in (*table.header, *(row[0] for _, rows in table.blocks for row in rows))]
        assert "top (cut short)" in names, table.key
        assert "top" not in names
        assert "training cut short: 300 of 600 steps" in table.notes.values()


def test_what_is_odd_about_masks_and_maps_stands_under_the_tables_and_costs_no_rank(tmp_path: Path) -> None:
    few = Finding("few_levels", "the maps hold only 9 distinct scores; write floats", Case("top", "toys", "screw"))
    grey = Finding("grey", "3 of 9 masks hold grey levels, first a/b.png; see --mask-rule", Case("", "toys", ""))
    left = Finding("left_over", "1 files hold no map and were left out, first notes.txt", Case("top", "toys", ""))
    run = run_of(tmp_path, [few, left], of_data=[grey])
    assert disqualified(run, "top", "screw") == set()
    for table in tables_of(run):
        notes = list(table.notes.values())
        assert any("the maps hold only 9 distinct scores" in note for note in notes), table.key
        assert "3 of 9 masks hold grey levels" in notes, table.key
        assert not any("left out" in note for note in notes)
