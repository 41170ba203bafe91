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


DTYPES = ("f2", "f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">f4", ">f8", ">i8", "?")
CROWDS = {
    "few keys": lambda rng, n: rng.integers(0, rng.integers(1, 6), n),
    "crowded at the top": lambda rng, n: 1 - np.exp(-(10 ** rng.uniform(-2, 2)) * np.abs(rng.normal(size=n))),
    "crowded at the bottom": lambda rng, n: np.exp(-(10 ** rng.uniform(-2, 2)) * np.abs(rng.normal(size=n))),
    "sigmoid": lambda rng, n: 1 / (1 + np.exp(-(10 ** rng.uniform(-1, 2)) * rng.normal(size=n) - rng.normal())),
    "softmax": lambda rng, n: 1 / np.exp(10 * rng.normal(size=(5, n)) - 10 * rng.normal(size=n)).sum(axis=0),
    "exponential": lambda rng, n: np.exp(10 ** rng.uniform(-1, 2) * rng.normal(size=n)),
    "wide": lambda rng, n: rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-30, 30, n),
    "one far away": lambda rng, n: np.append(rng.normal(size=n - 1), rng.choice([-1, 1]) * 10 ** rng.uniform(3, 30)),
    "subnormal": lambda rng, n: rng.integers(-3, 300, n) * rng.choice([5e-324, 1e-45]),
    "neighbours": lambda rng, n: rng.choice([-1, 1]) * (rng.choice([1e-8, 1, 1e8]) + rng.integers(0, 40, n) * 2.0**-45),
    "whole numbers": lambda rng, n: rng.integers(-20_000, 40_000, n),
    "large whole numbers": lambda rng, n: rng.choice([-1, 1]) * (2 ** rng.integers(20, 62) - rng.integers(0, 90, n)),
}  # fmt: skip


def crowded(crowd, dtype, seed):
    """Score maps whose scores crowd somewhere, in any type, and masks with both classes of pixels and of images."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(1, 11, (rng.integers(2, 5), 2))
    shapes[1] = rng.integers(2, 11, 2)
    masks = [rng.random(shape) < rng.choice([0.02, 0.2, 0.6]) for shape in shapes]
    masks[0][:] = False
    masks[1].flat[[0, -1]] = True, False
    if rng.random() < 0.3:  # one anomalous pixel
        masks = [np.zeros_like(mask) for mask in masks]
        masks[1].flat[rng.integers(masks[1].size)] = True
    sizes = [mask.size for mask in masks]
    scores = CROWDS[crowd](rng, sum(sizes))
    if rng.random() < 0.3:  # anomalous pixels are the higher ones, as of a method that has learned
        scores = np.sort(scores)
        order = rng.permutation(len(scores))
        order[np.argsort(np.concatenate([mask.ravel() for mask in masks])[order], kind="stable")] = np.arange(
            len(order)
        )
        scores = scores[order]
    with np.errstate(over="ignore"):
        scores = _as_type(scores, np.dtype(dtype))
    parts = np.split(scores, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)], masks


def _as_type(scores, dtype):
    """The scores in this type; fractions and what is too large fill the range of an integer type instead."""
    if dtype.kind not in "iu":
        return scores.astype(dtype)
    low, high = max(np.iinfo(dtype).min, -(2**62)), min(np.iinfo(dtype).max, 2**62)
    if scores.dtype.kind == "i" and low <= scores.min() and scores.max() <= high:
        return scores.astype(dtype)
    scores = scores.astype(np.float64)
    shares = (scores - scores.min()) / max(np.ptp(scores), np.finfo(np.float64).tiny)
    return np.array([low + int(share * (high - low)) for share in np.nan_to_num(shares)], dtype=dtype)


@st.composite
def maps_with_void(draw, **options):
    """As `maps`, with any pixels of the masks void, and some images throughout."""
    scores, masks = draw(maps(**options))
    voids = [draw(arrays(np.bool_, mask.shape)) & draw(st.booleans()) for mask in masks]
    voids = [void | (draw(st.integers(0, 5)) == 0) for void in voids]
    return scores, [np.ma.array(mask, mask=void) for mask, void in zip(masks, voids, strict=True)]


def both_classes(masks):
    """Whether every metric is defined: there are normal images, and both classes of pixels in the anomalous ones."""
    has_normal = any(np.ma.count(mask) and not mask.any() for mask in masks)
    return has_normal and any(mask.any() and not mask.all() for mask in masks)


def saturated(masks):
    """Connected regions with a saturation of half their pixels, for sPRO: for `measure`, and for its oracle."""
    for_measure, for_oracle = [], []
    for i, mask in enumerate(masks):
        here = []
        for places in oracles.components(mask):
            region = np.zeros(mask.shape, dtype=bool)
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
