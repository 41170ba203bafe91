from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.datasets import DATASETS
from aseg_bench.predictions.imported import ImportedMaps
from aseg_bench.predictions.records import Limits
from aseg_bench.records import Sample

Maps = dict[Sample, NDArray[np.float32]]
MakeMaps = Callable[[int], Maps]
TRUSTED = Limits(allow_pickle=True)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sample]:
    """Test images of two categories in the MVTec-AD layout; one name holds an underscore."""
    root = tmp_path_factory.mktemp("mvtec")
    rng = np.random.default_rng(0)
    for category in ("bottle", "metal_nut"):
        for defect in ("good", "broken_large", "bent"):
            for stem in ("000", "001"):
                image = root / category / "test" / defect / f"{stem}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(image)
                if defect != "good":
                    mask = np.zeros((80, 80), np.uint8)
                    mask[10:30, 40:70] = 255
                    path = root / category / "ground_truth" / defect / f"{stem}_mask.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(path)
        (root / category / "train" / "good").mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(
            root / category / "train" / "good" / "000.png"
        )
    return [sample for sample in DATASETS["mvtec_ad"].find(root, None) if sample.split == "test"]


@pytest.fixture
def make_maps(samples: Sequence[Sample]) -> Callable[[int], Maps]:
    """Maps of any edge: noise, higher on the defect."""

    def make(edge: int) -> Maps:
        rng = np.random.default_rng(1)
        maps = {}
        for sample in samples:
            scores = rng.random((edge, edge)).astype(np.float32)
            if sample.is_anomalous:
                scores[edge // 8 : 3 * edge // 8, edge // 2 : 7 * edge // 8] += 2
            maps[sample] = scores
        return maps

    return make


def by_category(maps: Maps) -> dict[str, list[Sample]]:
    return {
        category: sorted((s for s in maps if s.category == category), key=lambda s: s.image_path.as_posix())
        for category in ("bottle", "metal_nut")
    }


def assert_same(imported: ImportedMaps, maps: Maps) -> None:
    assert not imported.problems
    assert set(imported.found) == {sample.category for sample in maps}
    for category in imported.found:
        read = imported.read(category)
        for sample, scores in zip(read.samples, read.maps, strict=True):
            expected = next(m for s, m in maps.items() if (s.category, s.defect, s.stem) == (
                sample.category, sample.defect, sample.stem))  # fmt: skip
            np.testing.assert_array_equal(scores, expected)


def bottles(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.category == "bottle"]


def save_each(folder: Path, maps: Maps, ending: str, save: Callable[[Path, NDArray[Any]], Any]) -> None:
    for sample, scores in maps.items():
        file = folder / f"{sample.name}{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        save(file, scores)
