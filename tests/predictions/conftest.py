from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.datasets import DATASETS
from aseg_bench.records import Sample

Maps = dict[Sample, NDArray[np.float32]]


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
