"""Small categories for the laws: hypothesis draws them, integers 0-4 as scores so that ties abound."""

import hypothesis.strategies as st
import numpy as np
from hypothesis.extra.numpy import arrays

from aseg_bench.metrics import SaturatedRegion
from tests.metrics import oracles

SIDES = st.integers(1, 5)


@st.composite
def maps(draw, max_images=4, highest=4):
    """A list of score maps of differing sizes, and their masks."""
    shapes = draw(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=max_images))
    scores = [draw(arrays(np.float32, shape, elements=st.integers(0, highest).map(float))) for shape in shapes]
    masks = [draw(arrays(np.bool_, shape)) & draw(st.booleans()) for shape in shapes]
    return scores, masks


def both_classes(masks):
    """Whether every metric is defined: there are normal images, and both classes of pixels in the anomalous ones."""
    return not all(mask.any() for mask in masks) and any(mask.any() and not mask.all() for mask in masks)


def saturated(masks):
    """Connected regions with a saturation of half their pixels, for sPRO: for `measure`, and for its oracle."""
    for_measure, for_oracle = [], []
    for i, mask in enumerate(masks):
        here = []
        for places in oracles.components(mask):
            region = np.zeros_like(mask)
            region[tuple(np.transpose(places))] = True
            saturation = max(len(places) // 2, 1)
            here.append(SaturatedRegion(region, saturation))
            for_oracle.append((i, places, saturation))
        for_measure.append(here)
    return for_measure, for_oracle


def smooth(n_images=6, shape=(40, 50), seed=0):
    """Score maps with a blob on some images, float32, and their masks; no two scores alike."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n_images, *shape), dtype=bool)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for mask in masks[n_images // 3 :]:
        for _ in range(rng.integers(1, 4)):
            row, column = rng.integers(0, shape[0]), rng.integers(0, shape[1])
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < rng.integers(4, 60)
    return (rng.normal(size=masks.shape) + 1.5 * masks).astype(np.float32), masks
