"""Runs merge only where nothing but the seed differs; what else bears one name is refused with a way to part it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from aseg_bench.reporting.report import report
from aseg_bench.runs.folder import RunFolder
from tests.conftest import Call

Evaluated = Callable[..., Path]


@pytest.fixture
def evaluated(call: Call, tiny: Path) -> Evaluated:
    """Evaluates maps that are drawn from a random number, under the name ``maps``, into a folder of their own."""

    def make(out: str, drawn: int, *words: object) -> Path:
        dump, rng = tiny.parent / f"dump{drawn}", np.random.default_rng(drawn)
        for image in tiny.glob("*/test/*/*.png"):
            path = dump / image.relative_to(tiny).with_suffix(".tiff")
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, rng.random((24, 32)).astype(np.float32))
        place = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", tiny.parent / out)
        assert call("eval", dump, *place, "--quiet", *words).code == 0
        return tiny.parent / out

    return make


def test_every_evaluation_is_a_case_with_the_checksum_of_its_maps(evaluated: Evaluated) -> None:
    first, again, second = evaluated("a", 0), evaluated("b", 0), evaluated("c", 1)
    cases = [RunFolder(folder).record.cases["maps", "mvtec_ad"] for folder in (first, again, second)]
    checksums = [case.conditions.maps_checksum for case in cases]
    assert checksums[0] == checksums[1] != checksums[2]
    assert all(checksums)
    assert cases[0].conditions.maps == str(first.parent / "dump0")
    assert cases[0].scored_at == {"bolt": "24 x 32", "nut": "24 x 32"}


def test_different_maps_of_one_name_are_refused_and_may_be_named_apart(evaluated: Evaluated, call: Call) -> None:
    first, second, out = evaluated("a", 0), evaluated("b", 1), ("--out", evaluated("a", 0).parent / "both", "--no-page")
    said = call("report", first, second, *out).error
    assert "both hold maps/mvtec_ad, of different maps" in said
    assert "--as NAME,NAME" in said
    assert "± " not in call("report", first, second, *out, "--as", "ours,theirs").out
    tables = (first.parent / "both" / "tables.md").read_text()
    assert "| ours" in tables
    assert "| theirs" in tables
    assert "does not name 2 runs" in call("report", first, second, *out, "--as", "ours").error
    assert "does not name 2 runs" in call("report", first, second, *out, "--as", "ours,").error


def test_maps_of_other_seeds_are_merged_and_the_caption_says_what_the_deviation_is(
    evaluated: Evaluated, call: Call
) -> None:
    runs = [evaluated(f"seed{seed}", seed, "--seed", seed) for seed in range(3)]
    out = runs[0].parent / "merged"
    assert call("report", *runs, "--out", out, "--quiet").code == 0
    told = "mean ± standard deviation of 3 seeds"
    assert (out / "tables.md").read_text().count(told) == sum("± " in row for row in blocks(out / "tables.md"))
    assert told in (out / "report.html").read_text()
    assert told.replace("±", "$\\pm$") in (out / "tables.tex").read_text()
    assert told in (out / "tables.html").read_text()
    for table in report(runs, out=out, page=False).tables:
        has_deviation = any(" ± " in cell.text for _, rows in table.blocks for row in rows for cell in row)
        assert has_deviation == (told in table.caption), table.key


def blocks(markdown: Path) -> list[str]:
    """The text of each table: its rows, from one caption to the next."""
    return ["\n".join(line for line in block.splitlines() if line.startswith("|")) for block in
            markdown.read_text().split("\n**")]  # fmt: skip


def test_the_same_maps_twice_are_not_seeds(evaluated: Evaluated, call: Call) -> None:
    first, second = evaluated("a", 0), evaluated("b", 0, "--seed", 1)
    assert "of the same maps" in call("report", first, second, "--out", first.parent / "c", "--no-page").error


def test_an_evaluation_takes_the_place_of_the_same_maps_and_not_of_others(
    evaluated: Evaluated, call: Call, tiny: Path
) -> None:
    folder = evaluated("a", 0)
    evaluated("a", 0)
    evaluated("b", 1)
    where = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", folder)
    said = call("eval", tiny.parent / "dump1", *where).error
    assert "holds scores of other maps" in said
    assert "--name" in said


def test_what_an_older_version_left_without_a_checksum_is_not_taken_for_a_seed(
    evaluated: Evaluated, call: Call
) -> None:
    first, second = evaluated("a", 0), evaluated("b", 1, "--seed", 1)
    (second / "run.json").unlink()
    assert "does not say of which maps" in call("report", first, second, "--out", first / "c", "--no-page").error


def test_runs_of_several_methods_have_their_name_behind_that_of_each_method(
    evaluated: Evaluated, call: Call, tiny: Path
) -> None:
    folder = evaluated("a", 0)
    where = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", folder, "--quiet")
    evaluated("b", 1)
    assert call("eval", tiny.parent / "dump1", *where, "--name", "more").code == 0
    made = report([folder, folder.parent / "b"], names=["wide", "plain"], out=folder / "c", page=False)
    (table,) = [table for table in made.tables if table.key == "table"]
    assert [row[0].text for _, rows in table.blocks for row in rows] == ["maps wide", "more wide", "plain"]


def test_an_evaluation_beside_a_run_builds_the_page_of_the_run_again(
    evaluated: Evaluated, call: Call, tiny: Path
) -> None:
    evaluated("unused", 0)
    run, dump = tiny.parent / "run", tiny.parent / "dump0"
    where = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", run, "--quiet")
    assert call("run", "--methods", f"mine=maps:{dump}", *where).code == 0
    assert call("eval", dump, *where, "--name", "beside").code == 0
    assert "beside" in (run / "report" / "report.html").read_text()
    assert (run / "report" / "gallery" / "0" / "data.js").is_file()
    evaluated("alone", 0)
    assert not (tiny.parent / "alone" / "report" / "report.html").exists()
