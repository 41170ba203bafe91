import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Installed, run_on


def contents(out: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}


@pytest.fixture
def out(call: Call, installed: Installed, tiny: Path) -> Path:
    call(*run_on(tiny))
    place = ("--dataset", "mvtec_ad", "--data-root", tiny, "--out", tiny.parent / "out", "--quiet")
    assert call("eval", tiny.parent / "out/maps/near/mvtec_ad", *place, "--name", "read").code == 0
    return tiny.parent / "out"


def test_a_run_is_equal_to_itself_and_nothing_is_written(call: Call, out: Path) -> None:
    before = contents(out)
    outcome = call("verify", out)
    n_scores = len(read_scores(out / "scores.csv"))
    assert outcome.code == 0
    checked = "the images of mvtec_ad, the maps of near, the maps of read"
    assert outcome.out == f"equal: {n_scores} scores, computed again; checksums of {checked}\n"
    assert contents(out) == before


def test_a_changed_map_is_named_with_its_checksum_and_the_scores_that_it_moves(call: Call, out: Path) -> None:
    file = out / "maps/near/mvtec_ad/bolt/test/hole/000.tiff"
    tifffile.imwrite(file, -tifffile.imread(file))
    outcome = call("verify", out)
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert any("the maps, " in line and "have changed: checksum" in line for line in lines)
    assert any(
        re.search(r"near, mvtec_ad bolt, pixel_ap: [\d.]+ \(5 images\) is now [\d.]+ \(5", line) for line in lines
    )
    assert not any(" nut, " in line for line in lines)


def test_a_changed_score_is_told_with_both_values(call: Call, out: Path) -> None:
    rows = (out / "scores.csv").read_text().splitlines()
    (number,) = [i for i, row in enumerate(rows) if row.startswith("near,mvtec_ad,nut,pixel_ap,")]
    cells = rows[number].split(",")
    value, cells[4] = cells[4], "0.5"
    (out / "scores.csv").write_text("\n".join([*rows[:number], ",".join(cells), *rows[number + 1 :]]) + "\n")
    outcome = call("verify", out, "--quiet")
    assert outcome.code == 1
    assert outcome.out == f"differs: near, mvtec_ad nut, pixel_ap: 0.5 (5 images) is now {value} (5 images)\n"


def test_changed_images_missing_maps_and_moved_data_are_told(call: Call, out: Path, tiny: Path) -> None:
    moved = tiny.rename(tiny.parent / "moved")
    assert "--data-root says where" in call("verify", out).error
    assert call("verify", out, "--data-root", moved).code == 0
    Image.fromarray(np.zeros((24, 32), np.uint8) + 255).save(moved / "bolt/ground_truth/hole/000_mask.png")
    (out / "maps/near/mvtec_ad/nut/test/hole/000.tiff").unlink()
    outcome = call("verify", out, "--data-root", moved)
    assert outcome.code == 1
    assert "the images of mvtec_ad have changed" in outcome.out
    assert "near on mvtec_ad cannot be scored again: 1 maps are not there, first nut/test/hole/000" in outcome.out


def test_a_record_says_by_what_maps_and_scores_were_made(out: Path) -> None:
    cases = json.loads((out / "run.json").read_text())["cases"]
    near, read = cases["near/mvtec_ad"], cases["read/mvtec_ad"]
    assert {"aseg_bench", "command", "date", "machine", "numpy"} <= near["made"].keys()
    assert near["kept_checksum"] == near["maps_checksum"] == read["maps_checksum"]
    for case in (near, read):
        assert set(case["scored"]) == {"bolt", "nut"}
        assert all(by.keys() == {"aseg_bench", "command", "date"} for by in case["scored"].values())
