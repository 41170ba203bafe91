"""The audit shows how far each protocol moves each number, and names the choice that moves it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from aseg_bench.errors import InputError
from aseg_bench.predictions.imported import ImportedMaps, import_maps
from aseg_bench.protocols import PROTOCOLS, Protocol
from aseg_bench.records import Case, Sample, Score
from aseg_bench.reporting.audit import as_markdown, write_audit
from aseg_bench.runs.scores import csv_text
from aseg_bench.scoring import audit as audit_room
from aseg_bench.scoring.audit import Deviation, audit_dump
from aseg_bench.scoring.categories import score_category
from tests.conftest import save

METRICS = ("pixel_auroc", "pixel_ap", "image_auroc")


def write_dump(folder: Path, sign: float = 1.0) -> ImportedMaps:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for category in ("bottle", "cable"):
        for index in range(6):
            mask = np.zeros((1, 64, 64), np.float32)
            defect = "good" if index < 2 else "cut"
            if index >= 2:
                mask[0, 10:13, 5 + index : 40] = 1
            noise = gaussian_filter(rng.normal(size=(64, 64)), 2) * 5
            np.savez(
                folder / f"{category}_{index}.npz", filename=f"{category}/test/{defect}/{index}.png", clsname=category,
                pred=(sign * (noise + gaussian_filter(mask[0], 2) * 4))[None].astype(np.float32), mask=mask,
            )  # fmt: skip
    return import_maps(folder)


def audited(imported: ImportedMaps, names: Sequence[str]) -> dict[tuple[str, str], Deviation]:
    rows = audit_dump(imported, "mine", protocols=[PROTOCOLS[name] for name in names], metrics=METRICS).deviations
    return {(row.protocol, row.metric): row for row in rows}


def test_the_exact_protocol_deviates_from_itself_by_nothing(tmp_path: Path) -> None:
    rows = audited(write_dump(tmp_path / "dump"), ["exact"])
    assert [row.points for row in rows.values()] == [0, 0, 0]
    assert {row.cause for row in rows.values()} == {""}


def test_binning_and_the_image_score_are_named_where_they_move_a_number(tmp_path: Path) -> None:
    rows = audited(write_dump(tmp_path / "dump"), ["uniad", "adeval1000", "visa_official"])
    assert rows["adeval1000", "pixel_ap"].cause == "binning of the scores (histogram_1000)"
    by_pool = rows["uniad", "image_auroc"]
    assert by_pool.points is not None
    assert by_pool.cause in {"", "image score (pool_16_max)", "resolution (size 224)", "several choices together"}


def test_a_flip_is_named_as_the_cause_for_inverted_maps(tmp_path: Path) -> None:
    rows = audited(write_dump(tmp_path / "dump", sign=-1.0), ["exact", "unias"])
    exact, flipped = rows["exact", "pixel_auroc"], rows["unias", "pixel_auroc"]
    assert exact.value is not None
    assert exact.value < 0.5
    assert flipped.cause == "AUROC flip (auroc_flip)"
    assert flipped.cause_points == pytest.approx(100 * (1 - 2 * exact.value))


def test_table_csv_and_plot_hold_every_protocol(tmp_path: Path) -> None:
    imported = write_dump(tmp_path / "dump")
    names = ["exact", "uniad", "adeval1000"]
    deviations = audit_dump(
        imported, "a_b|<c>", protocols=[PROTOCOLS[name] for name in names], metrics=METRICS
    ).deviations
    text = as_markdown(deviations)
    rows = text.splitlines()[2:]
    assert [row.split(" | ")[1].strip() for row in rows] == names
    assert all(row.startswith(r"| a\_b\|&lt;c&gt; | ") for row in rows)
    csv, markdown, plot = write_audit(tmp_path / "out", deviations)
    frame = pd.read_csv(csv)
    assert list(frame["protocol"].unique()) == names
    assert frame["value"].iloc[0] == deviations[0].value
    assert markdown.read_text(encoding="utf-8") == text + "\n"
    assert "points from the exact protocol" in "".join(ElementTree.parse(plot).getroot().itertext())


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("$x_{$", r"\$x\_{\$"),
        ("=1+1", "=1+1"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("_hidden", r"\_hidden"),
    ],
)
def test_a_dumps_name_is_no_formula_and_no_tag(tmp_path: Path, name: str, escaped: str) -> None:
    deviations = [Deviation(method, "uniad", "pixel_ap", 0.5, 1.0, "", None) for method in (name, "other")]
    csv, markdown, plot = write_audit(tmp_path, deviations)
    assert pd.read_csv(csv)["method"][0] == csv_text(name)
    assert markdown.read_text(encoding="utf-8").splitlines()[2].startswith(f"| {escaped} ")
    assert name in "".join(ElementTree.parse(plot).getroot().itertext())


def test_a_crop_is_named_with_its_numbers(tmp_path: Path) -> None:
    samples = []
    for index in range(4):
        mask = np.zeros((64, 64))
        mask[2:20, 2:30] = 255 * (index > 1)
        defect = "cut" if index > 1 else "good"
        paths = [tmp_path / "images" / f"{index}{kind}.png" for kind in ("", "_mask")]
        save(paths[0], np.zeros((64, 64, 3)))
        save(paths[1], mask)
        samples.append(Sample("set", "nut", "test", defect, str(index), paths[0], paths[1] if index > 1 else None))
        (tmp_path / "maps" / "nut" / "test" / defect).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).normal(size=(64, 64)) + mask / 100
        np.save(tmp_path / "maps" / "nut" / "test" / defect / f"{index}.npy", noise.astype(np.float32))
    rows = audited(import_maps(tmp_path / "maps", samples), ["patchcore"])
    causes = {row.cause for row in rows.values()}
    assert "resolution (size 256, keep aspect, crop 224)" in causes


@pytest.mark.parametrize("fault", [ValueError("x is neither increasing nor decreasing"), InputError("no such map")])
def test_a_protocol_that_raises_leaves_a_cell_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def score(case: Case, *others: Any, protocol: Protocol, **options: Any) -> list[Score]:
        if protocol.name == "uniad" and case.category == "cable":
            raise fault
        return score_category(case, *others, protocol=protocol, **options)

    monkeypatch.setattr(audit_room, "score_category", score)
    imported = write_dump(tmp_path / "dump")
    both = [PROTOCOLS[name] for name in ("exact", "uniad")]
    deviations = audit_dump(imported, "mine", protocols=both, metrics=METRICS).deviations
    of_both = {row.protocol: row for row in deviations}
    assert of_both["uniad"].undefined_because.startswith("cable: ")
    assert str(fault) in of_both["uniad"].undefined_because
    assert of_both["uniad"].value is not None
    assert of_both["exact"].undefined_because == ""
    assert str(fault) in as_markdown(deviations).splitlines()[3]
    csv, *_ = write_audit(tmp_path / "out", deviations)
    assert pd.read_csv(csv)["undefined_because"].notna().sum() == len(METRICS)


def test_a_degenerate_threshold_is_said_once_for_all_protocols_and_categories(tmp_path: Path) -> None:
    imported = write_dump(tmp_path / "dump", sign=-1.0)
    protocols = [PROTOCOLS["exact"], PROTOCOLS["uniad"]]
    found = audit_dump(imported, "mine", protocols=protocols, metrics=["pixel_ap", "dsc"]).findings
    (text,) = [text for text in found if "threshold" in text]
    assert text.startswith("mine, bottle, cable: the DSC's threshold calls more than half of all pixels anomalous")


def test_a_dump_with_a_problem_is_not_audited(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump")
    stored = dict(np.load(tmp_path / "dump" / "cable_0.npz"))
    np.savez(tmp_path / "dump" / "copy.npz", **stored | {"pred": stored["pred"] + 1})
    with pytest.raises(InputError, match="two maps are of cable/test/good/0"):
        audit_dump(import_maps(tmp_path / "dump"), "mine")
