"""A made-up category with scored maps."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.records import Case, Sample

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
