"""The saturation areas of MVTec LOCO AD on their way from its files into sPRO."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from aseg_bench.datasets import DATASETS, find_samples
from aseg_bench.images import read_mask
from aseg_bench.protocols import EXACT, NATIVE
from aseg_bench.protocols.frame import resized_map
from aseg_bench.records import Case, Sample
from aseg_bench.runs.shards import Plan
from aseg_bench.runs.sources import Source
from aseg_bench.scoring.categories import score_category
from tests.conftest import save
from tests.metrics import oracles

SHAPE = (24, 32)
VALUES = {255: (9, False), 254: (0.4, True), 253: (10_000, False)}  # saturation areas: pixels, a share, more than all
KEY = "spro_0.05"


def write_loco(root: Path) -> Path:
    """Pictures with one to three defects each, which may overlap, in the layout of the archive."""
    rng = np.random.default_rng(0)
    for category in ("pushpins", "screw_bag"):
        defects = [
            {
                "defect_name": f"d{value}",
                "pixel_value": value,
                "saturation_threshold": area,
                "relative_saturation": share,
            }
            for value, (area, share) in VALUES.items()
        ]
        (root / category).mkdir(parents=True)
        (root / category / "defects_config.json").write_text(json.dumps(defects))
        for place, count in (("train/good", 3), ("validation/good", 2), ("test/good", 2)):
            for index in range(count):
                save(root / category / place / f"{index:03}.png", rng.normal(120, 20, (*SHAPE, 3)).clip(0, 255))
        for index, kind in enumerate(["logical_anomalies", "structural_anomalies", "logical_anomalies"]):
            save(root / category / "test" / kind / f"{index:03}.png", rng.normal(120, 20, (*SHAPE, 3)).clip(0, 255))
            for number, value in enumerate(list(VALUES)[: index + 1]):
                mask, (row, column) = np.zeros(SHAPE), rng.integers(0, 16, 2)
                mask[row : row + 6, column : column + 9] = value
                save(root / category / "ground_truth" / kind / f"{index:03}" / f"{number:03}.png", mask)
    return root


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    return write_loco(tmp_path / "loco")


def truth(samples: list[Sample]) -> tuple[list[np.ndarray], list[tuple[int, list[tuple[int, int]], int]]]:
    """Masks and regions of the files, with their saturation areas by the words of the paper."""
    masks, regions = [], []
    for place, sample in enumerate(samples):
        files = sorted(sample.mask_path.iterdir()) if sample.mask_path else []
        stored = [read_mask(file) for file in files]
        masks.append(np.any([mask > 0 for mask in stored], axis=0) if stored else np.zeros(SHAPE, bool))
        for mask in stored:
            places, (area, is_share) = [tuple(at) for at in np.argwhere(mask)], VALUES[int(mask.max())]
            regions.append((place, places, int(area * len(places)) if is_share else min(area, len(places))))
    return masks, regions


def scored(samples, maps, protocol=NATIVE, **options):
    (score,) = score_category(Case("m", "mvtec_loco", "c"), samples, maps, protocol=protocol, metrics=[KEY], **options)[
        0
    ]
    return score


@pytest.mark.parametrize("shape", [SHAPE, (12, 16), (31, 40)])
def test_spro_is_that_of_the_defects_and_areas_of_the_files_at_the_size_of_the_images(loco: Path, shape) -> None:
    samples = [one for one in find_samples("mvtec_loco", loco, ["pushpins"]) if one.split == "test"]
    rng = np.random.default_rng(1)
    masks, regions = truth(samples)
    maps = [(resized_map(mask.astype(np.float32), shape) + rng.normal(size=shape)).astype(np.float32) for mask in masks]
    framed = [resized_map(one, SHAPE) for one in maps]
    expected = oracles.pro(framed, masks, regions, 0.05)
    assert 0 < expected < 1
    assert scored(samples, maps).value == pytest.approx(expected, rel=1e-12)
    corrupted = [replace(one, dataset="mvtec_loco+noise@3") for one in samples]
    assert scored(corrupted, maps).value == scored(samples, maps).value
    exact = scored(samples, maps, EXACT)
    if shape == SHAPE:
        assert exact.value == scored(samples, maps).value
    else:
        assert exact.value is None
        assert exact.undefined_because.startswith("saturation areas are in pixels of the images, and maps were scored")


def test_spro_has_no_value_where_the_truth_is_not_that_of_the_files(loco: Path) -> None:
    samples = [one for one in find_samples("mvtec_loco", loco, ["pushpins"]) if one.split == "test"]
    masks, _ = truth(samples)
    maps = [mask.astype(np.float32) for mask in masks]
    not_given = "the saturation area of each defect is not given"
    assert scored(samples, maps, masks=masks).undefined_because == not_given
    elsewhere = [replace(one, dataset="mvtec_ad") for one in samples]
    assert scored(elsewhere, maps).undefined_because == not_given
    ruled = scored(samples, maps, replace(NATIVE, mask_rule=">127"))
    assert ruled.undefined_because == "saturation areas are of the masks as stored, without the mask rule >127"
    assert [key for key, facts in DATASETS.items() if facts.regions] == ["mvtec_loco"]


def test_run_verify_and_eval_score_it_and_shards_refuse_it(call, installed, loco: Path) -> None:
    out = loco.parent / "out"
    words = ("--dataset", "mvtec_loco", "--data-root", loco, "--protocol", "native", "--metrics", f"pixel_ap,{KEY}")
    assert call("run", "--quiet", "--no-page", "--methods", "near", *words, "--out", out).code == 0
    values = spro_in(out)
    assert values.notna().all()
    samples = [one for one in find_samples("mvtec_loco", loco, ["pushpins"]) if one.split == "test"]
    maps = [tifffile.imread(out / "maps/near/mvtec_loco" / f"{one.name}.tiff") for one in samples]
    masks, regions = truth(samples)
    framed = [resized_map(one.astype(np.float32), SHAPE) for one in maps]
    assert values["pushpins"] == pytest.approx(oracles.pro(framed, masks, regions, 0.05), rel=1e-12)
    assert call("verify", out).code == 0
    dump = ("eval", "--quiet", out / "maps/near/mvtec_loco", "--name", "near", *words)
    assert call(*dump, "--out", out.parent / "one").code == 0
    assert (spro_in(out.parent / "one") == values).all()
    left = call(*dump, "--shard", "1/2", "--out", out.parent / "shards")
    assert (left.code, "shards carry no saturation areas of defects, which spro_0.05 needs" in left.error) == (2, True)
    source = Source(out / "maps/near/mvtec_loco", "mvtec_loco", loco)
    plans = [Plan.of(source, "near", 0, "native", metrics, 3) for metrics in (None, [KEY])]
    assert [plan.cut for plan in plans] == [["pushpins", "screw_bag"], []]  # workers get a whole category


def spro_in(out: Path) -> pd.Series:
    frame = pd.read_csv(out / "scores.csv")
    return frame[frame["metric"] == KEY].set_index("category")["value"]
