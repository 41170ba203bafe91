"""Statistics of a data set against a plain computation with other libraries."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, regionprops

from aseg_bench.analysis.data_stats import data_stats, mean_rates
from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError
from aseg_bench.metrics import evaluate_maps
from tests.conftest import Call, save

REAL = Path(os.environ.get("ASEG_BENCH_REAL_DATA", Path(__file__).parents[3] / "shared" / "data" / "real_mix"))


def plain(root: Path, category: str, rule=lambda mask: mask > 0) -> dict[str, object]:
    """Anomaly Rates and areas of regions, from the files alone."""
    pixels, anomalous, areas = [], [], []
    for image in sorted((root / category / "test").glob("*/*")):
        width, height = Image.open(image).size
        mask = root / category / "ground_truth" / image.parent.name / f"{image.stem}_mask.png"
        truth = rule(np.asarray(Image.open(mask))) if mask.exists() else np.zeros((height, width), bool)
        pixels.append(height * width)
        anomalous.append(int(truth.sum()))
        areas += [int(region.area) for region in regionprops(label(truth, connectivity=2))]
    marked = [(n, of) for n, of in zip(anomalous, pixels, strict=True) if n]
    return {
        "anomaly_rate": sum(anomalous) / sum(pixels),
        "anomaly_rate_anomalous": sum(anomalous) / sum(of for _, of in marked),
        "anomaly_rate_per_image": float(np.mean([n / of for n, of in marked])),
        "regions": len(areas),
        "area_min": min(areas),
        "area_median": float(np.median(areas)),
        "area_max": max(areas),
    }


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Two categories of images of several sizes, with masks of many small regions of two values."""
    rng = np.random.default_rng(0)
    for category, share in (("bolt", 0.02), ("nut", 0.2)):
        for place, n in (("train/good", 3), ("test/good", 2), ("test/hole", 3), ("test/dent", 1)):
            for number in range(n):
                size = (20 + number, 30)
                save(tmp_path / category / place / f"{number:03}.png", rng.integers(0, 255, (*size, 3)))
                if place in {"test/hole", "test/dent"}:
                    mask = rng.choice([0, 1, 2], size, p=[1 - share, share / 2, share / 2])
                    save(tmp_path / category / "ground_truth" / place[5:] / f"{number:03}_mask.png", mask)
    return tmp_path


def test_rates_and_regions_are_those_of_a_plain_computation(drawn: Path) -> None:
    stats = data_stats(find_samples("mvtec_ad", drawn), quiet=True)
    rows = stats.by_category()
    for row in rows:
        wanted = plain(drawn, row["category"])
        assert {key: row[key] for key in wanted} == pytest.approx(wanted)
        assert (row["train"], row["test_good"], row["test_anomalous"]) == (3, 2, 4)
        assert (row["width_min"], row["width_max"], row["height_min"], row["height_max"]) == (30, 30, 20, 22)
    assert mean_rates(rows)["anomaly_rate"] == pytest.approx(np.mean([row["anomaly_rate"] for row in rows]))
    of_nut = [row for row in stats.by_defect() if row["category"] == "nut"]
    assert [(row["defect"], row["images"]) for row in of_nut] == [("dent", 1), ("hole", 3)]
    assert sum(row["regions"] for row in of_nut) == plain(drawn, "nut")["regions"]
    assert stats.overall()["regions"] == sum(row["regions"] for row in rows)


def test_the_first_two_rates_are_the_metrics_of_the_same_names(drawn: Path) -> None:
    row = data_stats(find_samples("mvtec_ad", drawn, ["nut"]), quiet=True).by_category()[0]
    masks = []
    for image in sorted((drawn / "nut/test").glob("*/*")):
        mask = drawn / "nut/ground_truth" / image.parent.name / f"{image.stem}_mask.png"
        width, height = Image.open(image).size
        masks.append(np.asarray(Image.open(mask)) > 0 if mask.exists() else np.zeros((height, width), bool))
    found = evaluate_maps([mask * 1.0 for mask in masks], masks, metrics=["anomaly_rate", "anomaly_rate_anomalous"])
    assert {key: row[key] for key in found} == pytest.approx(found)


def test_a_mask_rule_says_what_is_anomalous_and_void_pixels_do_not_count(drawn: Path) -> None:
    samples = find_samples("mvtec_ad", drawn, ["nut"])
    row = data_stats(samples, "=2", quiet=True).by_category()[0]
    wanted = plain(drawn, "nut", lambda mask: mask == 2)
    assert {key: row[key] for key in wanted} == pytest.approx(wanted)
    void = data_stats(samples, ">1 ignore=1", quiet=True)
    n_void = sum(int((np.asarray(Image.open(path)) == 1).sum()) for path in (drawn / "nut").glob("ground_truth/*/*"))
    whole = data_stats(samples, quiet=True)
    assert whole.images["n_pixels"].sum() - void.images["n_pixels"].sum() == n_void
    assert list(void.regions["area"]) == list(data_stats(samples, "=2", quiet=True).regions["area"])


def test_a_set_without_an_anomalous_pixel_has_no_rate_over_anomalous_images(drawn: Path) -> None:
    row = data_stats(find_samples("mvtec_ad", drawn, ["bolt"]), ">2", quiet=True).by_category()[0]
    assert (row["anomaly_rate"], row["anomaly_rate_anomalous"], row["anomaly_rate_per_image"]) == (0, None, None)
    assert (row["regions"], row["area_median"]) == (0, None)


def test_all_files_that_cannot_be_measured_are_one_error(drawn: Path) -> None:
    for number in range(2):
        save(drawn / f"nut/ground_truth/hole/{number:03}_mask.png", np.ones((5, 5)))
    with pytest.raises(InputError, match=r"2 problems(.|\n)*000_mask.png is 5 x 5 (.|\n)*001_mask.png is 5 x 5"):
        data_stats(find_samples("mvtec_ad", drawn), quiet=True)


def test_the_command_prints_and_writes_the_same_numbers(drawn: Path, tmp_path: Path, call: Call) -> None:
    words = ("data", "stats", "--dataset", "mvtec_ad", "--data-root", drawn)
    facts = json.loads(call(*words, "--json").out)
    assert facts["categories"][1]["anomaly_rate"] == pytest.approx(plain(drawn, "nut")["anomaly_rate"])
    out = tmp_path / "out"
    shown = call(*words, "--out", out).out
    assert f"{100 * facts['mean']['anomaly_rate']:.2f}" in shown
    with (out / "categories.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["anomaly_rate"]) for row in rows] == [row["anomaly_rate"] for row in facts["categories"]]
    with (out / "regions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == facts["all"]["regions"]
    assert {path.name for path in out.iterdir()} == {
        "data_stats.md", "categories.csv", "defects.csv", "regions.csv", "areas.png", "areas.svg", "areas.pdf",
    }  # fmt: skip


@pytest.mark.parametrize(("category", "printed"), [("bottle", "13.17 %"), ("bolt", None)])
def test_the_papers_rate_stands_beside_its_own_data_sets_alone(drawn: Path, call: Call, category, printed) -> None:
    (drawn / "bolt").rename(drawn / "x").rename(drawn / category)
    words = ("data", "stats", "--dataset", "mvtec_ad", "--data-root", drawn, "--categories", category)
    assert (printed in call(*words).out) if printed else ("WACV" not in call(*words).out)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real images, which are not part of the project")
def test_real_images_have_the_rates_of_their_description() -> None:
    rows = {row["category"]: row for row in data_stats(find_samples("mvtec_ad", REAL), quiet=True).by_category()}
    rates = {name: round(100 * row["anomaly_rate_per_image"], 2) for name, row in rows.items()}
    assert rates == {"magnetic_tile": 9.23, "hazelnut_toy": 3.54, "cookie": 3.24, "ball_screw": 0.20}
    for name, row in rows.items():
        wanted = plain(REAL, name)
        assert {key: row[key] for key in wanted} == pytest.approx(wanted)
