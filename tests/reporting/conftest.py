from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from aseg_bench.predictions.store import MapStore
from aseg_bench.records import AnomalyMap, Case, Sample
from aseg_bench.reporting.pixels import ScoredMaps, scored_maps

KINDS = ("good", "scratch", "hole & <b>")
WICKED = "a_b & <script>$x$"


def make_category(
    folder: Path,
    category: str = "screw",
    n_images: int = 9,
    size: int = 48,
    methods: tuple[str, ...] = ("good", WICKED),
) -> list[ScoredMaps]:
    """A category with a defect in two images of three, and a worse map for each further method."""
    random = np.random.default_rng(len(category))
    row, column = np.mgrid[:size, :size]
    samples, masks = [], []
    for i in range(n_images):
        kind = KINDS[i % len(KINDS)]
        top, left, radius = random.uniform((10, 10, 2), (size - 10, size - 10, 6))
        mask = (row - top) ** 2 + (column - left) ** 2 < radius**2 if kind != "good" else np.zeros((size, size), bool)
        path = folder / category / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(path)
        samples.append(Sample("toys", category, "test", kind, f"{i:03}", path))
        masks.append(mask)
    noise = [gaussian_filter(random.normal(size=mask.shape), 2) for mask in masks]
    return [
        ScoredMaps(
            Case(method, "toys", category),
            samples,
            [
                (gaussian_filter(mask.astype(float), 1 + worse) + 0.3 * (1 + worse) * some).astype(np.float32)
                for mask, some in zip(masks, noise, strict=True)
            ],
            masks,
        )
        for worse, method in enumerate(methods)
    ]


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> list[ScoredMaps]:
    return make_category(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[list[ScoredMaps]]:
    """Four categories read from a store of maps."""
    folder = tmp_path_factory.mktemp("stored")
    store, samples = MapStore(folder / "maps"), []
    for name in ("bottle", "cable", "grid", "screw"):
        maps = make_category(folder, name, n_images=3, size=32, methods=("good",))[0]
        for i, sample in enumerate(maps.samples):
            path = folder / f"{name}{i}_mask.png"
            Image.fromarray(maps.masks[i]).save(path)
            samples.append(replace(sample, mask_path=path if sample.is_anomalous else None))
            store.write("good", AnomalyMap(samples[-1], maps.scores[i]))
    return scored_maps(store, ["good"], samples)
