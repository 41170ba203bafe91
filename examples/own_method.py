# %% [markdown]
# # A method of your own, trained and scored beside the others
#
# A method has a name, `fit` and `predict`. This one learns the principal components of normal patches, and scores what
# they cannot repeat.

# %%
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from aseg_bench import AnomalyMap, MethodFacts, MethodOptions, RunPlan, Sample, run

SIDE, PATCH = 128, 8  # pixels


@dataclass(frozen=True)
class Settings:
    """What `--set components.n_components=20` changes."""

    n_components: int = 10


class Components:
    """Principal components of patches."""

    def __init__(self, options: MethodOptions) -> None:
        self.name = "components"
        self.settings = Settings(**{name: int(value) for name, value in options.settings.items()})

    def fit(self, train: Sequence[Sample]) -> None:
        """Learn from the normal images of all categories."""
        patches = np.concatenate([patches_of(sample) for sample in train])
        self.mean = patches.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov(patches - self.mean, rowvar=False))
        self.components = vectors[:, -self.settings.n_components :]

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """Yield a map for each image, in order, in any size."""
        for sample in samples:
            patches = patches_of(sample) - self.mean
            left = patches - patches @ self.components @ self.components.T
            scores = (left**2).sum(axis=1).reshape(SIDE // PATCH, SIDE // PATCH)
            yield AnomalyMap(sample, np.kron(scores, np.ones((PATCH, PATCH))).astype(np.float32))


def patches_of(sample: Sample) -> np.ndarray:
    """The patches of an image, (patches, values)."""
    with Image.open(sample.image_path) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32) / 255
    grid = pixels.reshape(SIDE // PATCH, PATCH, SIDE // PATCH, PATCH, 3).swapaxes(1, 2)
    return grid.reshape(-1, PATCH * PATCH * 3)


METHOD = MethodFacts(
    name="components",
    label="Components",
    venue="2026",
    summary="what the principal components of normal patches cannot repeat",
    paper="https://example.org",
    licence="MIT",
    presets=lambda: {"cpu": Settings()},
    build=Components,
)

# %% [markdown]
# The package that holds this file names it in its `pyproject.toml`:
#
# ```toml
# [project.entry-points."aseg_bench.methods"]
# components = "own_method:METHOD"
# ```
#
# `pip install` then writes what the next cell writes by hand, so that the example needs no installation. From there on
# `aseg-bench run --methods components,uniad`, `methods`, the tables and the reports know it.

# %%
if __name__ == "__main__":
    site = Path("site")
    (site / "own_method-1.0.dist-info").mkdir(parents=True)
    (site / "own_method-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: own-method\nVersion: 1.0\n")
    (site / "own_method-1.0.dist-info/entry_points.txt").write_text(
        "[aseg_bench.methods]\ncomponents = own_method:METHOD\n"
    )
    sys.path.append(str(site))

    results = run(RunPlan(["components"], "demo", Path("run"), categories=["screw"], metrics=["pixel_ap", "dsc"]))
    print(results.to_frame()[["method", "category", "metric", "value"]])
