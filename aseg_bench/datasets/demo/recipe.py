"""What the demo set holds: its categories, their defects, and how one picture of it is drawn."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aseg_bench.datasets.demo import defects, objects
from aseg_bench.datasets.demo.defects import Defect
from aseg_bench.datasets.demo.photographs import BRICK, GRASS, GRAVEL, RETINA, Split
from aseg_bench.datasets.demo.scenes import Camera, Mask, Scene
from aseg_bench.records import GOOD

N_TRAIN = 26
N_TEST_GOOD = 9
N_PER_DEFECT = 5

LEAST_RATE, GREATEST_RATE = 0.002, 0.15  # share of anomalous pixels in an anomalous image
_N_ATTEMPTS = 200
_NUDGE = 2  # grey levels by which every masked pixel differs in some channel at least; the eye does not see it


@dataclass(frozen=True)
class DemoCategory:
    """One category of the demo set.

    Attributes:
        scene: draws a normal scene.
        defects: kinds of defect with the least and greatest share of the image that one should cover.
    """

    scene: Callable[[np.random.Generator, Split], Scene]
    defects: Mapping[str, tuple[Defect, float, float]]


@dataclass(frozen=True)
class Picture:
    """One image of the demo set.

    Attributes:
        clean: the picture without its defect, (256, 256, 3) uint8.
        image: the picture.
        mask: the pixels in which they differ, (256, 256).
    """

    clean: NDArray[np.uint8]
    image: NDArray[np.uint8]
    mask: Mask


CATEGORIES: Mapping[str, DemoCategory] = {
    "blister": DemoCategory(
        objects.blister,
        {
            "missing": (defects.missing, 0.01, 0.15),
            "scratch": (defects.scratch, 0.003, 0.01),
            "wrong_pill": (defects.wrong((0.86, 0.62, 0.20), (0.36, 0.50, 0.70), (0.80, 0.42, 0.36)), 0.01, 0.15),
        },
    ),
    "brick": DemoCategory(
        BRICK.scene,
        {
            "crack": (defects.crack, 0.006, 0.02),
            "hole": (defects.hole, 0.008, 0.04),
            "stain": (defects.stain((0.62, 0.62, 0.60), (0.55, 0.66, 0.50), (1.25, 1.3, 1.35)), 0.02, 0.10),
        },
    ),
    "circuit": DemoCategory(
        objects.circuit,
        {
            "misplaced": (defects.misplaced, 0.002, 0.15),
            "missing": (defects.missing, 0.002, 0.15),
            "solder": (defects.foreign((0.74, 0.74, 0.72)), 0.002, 0.006),
        },
    ),
    "gear": DemoCategory(
        objects.gear,
        {
            "missing_tooth": (defects.missing, 0.002, 0.15),
            "rust": (defects.stain((0.85, 0.58, 0.40), (0.70, 0.50, 0.38)), 0.008, 0.05),
            "scratch": (defects.scratch, 0.003, 0.012),
        },
    ),
    "grass": DemoCategory(
        GRASS.scene,
        {
            "bare_soil": (defects.swap(GRAVEL, 0.6), 0.07, 0.14),
            "dry": (defects.stain((1.65, 1.3, 1.55), (1.45, 1.15, 1.3)), 0.09, 0.14),
            "litter": (defects.foreign((0.80, 0.80, 0.78), (0.25, 0.40, 0.70), (0.70, 0.25, 0.2)), 0.03, 0.07),
        },
    ),
    "gravel": DemoCategory(
        GRAVEL.scene,
        {
            "oil": (defects.stain((0.50, 0.47, 0.42), (0.42, 0.42, 0.46)), 0.03, 0.12),
            "sand": (defects.smeared, 0.03, 0.10),
            "twig": (defects.strand((0.50, 0.34, 0.20), (0.70, 0.62, 0.46)), 0.006, 0.015),
        },
    ),
    "retina": DemoCategory(
        RETINA.scene,
        {
            "bleeding": (defects.spots((0.62, 0.40, 0.45), (0.72, 0.50, 0.55)), 0.004, 0.015),
            "exudate": (defects.spots((1.12, 1.75, 1.6), (1.1, 1.5, 1.3)), 0.004, 0.012),
            "scar": (defects.stain((0.85, 1.35, 1.5), (0.7, 0.8, 0.9)), 0.006, 0.02),
        },
    ),
    "screw": DemoCategory(
        objects.screw,
        {
            "missing_thread": (defects.missing, 0.002, 0.15),
            "scratch": (defects.scratch, 0.003, 0.008),
            "tarnish": (defects.stain((0.40, 0.44, 0.50), (0.50, 0.95, 1.15)), 0.008, 0.025),
        },
    ),
}


def planned() -> Iterator[tuple[str, Split, str, int]]:
    """Category, split, defect and index of every picture of the set."""
    for category, facts in CATEGORIES.items():
        yield from ((category, "train", GOOD, index) for index in range(N_TRAIN))
        yield from ((category, "test", GOOD, index) for index in range(N_TEST_GOOD))
        yield from ((category, "test", defect, index) for defect in facts.defects for index in range(N_PER_DEFECT))


def draw_picture(category: str, split: Split, defect: str, index: int, seed: int = 0) -> Picture:
    """One picture; the same arguments always give the same one, no matter what was drawn before.

    Args:
        category: a key of ``CATEGORIES``.
        split: ``train`` or ``test``.
        defect: a defect of the category, or ``good``.
        index: number within (category, split, defect).
        seed: seed of the whole set.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{category}/{split}/{defect}/{index}".encode())])
    facts = CATEGORIES[category]
    scene = facts.scene(rng, split)
    camera = Camera.draw(rng)
    clean = camera.shoot(scene.canvas)
    if defect == GOOD:
        return Picture(clean, clean, np.zeros(clean.shape[:2], bool))
    flaw, least, greatest = facts.defects[defect]
    for _ in range(_N_ATTEMPTS):
        canvas, support = flaw(scene, float(np.exp(rng.uniform(np.log(least), np.log(greatest)))), rng)
        if max(LEAST_RATE, 0.5 * least) <= support.mean() <= min(GREATEST_RATE, 1.5 * greatest):
            image = np.where(support[..., None], camera.shoot(canvas), clean)
            return Picture(clean, _told_apart(image, clean, support), support)
    raise AssertionError(f"no {defect} of the right size in {category}")


def _told_apart(image: NDArray[np.uint8], clean: NDArray[np.uint8], support: Mask) -> NDArray[np.uint8]:
    """The image, changed a little where the defect happens to have the same colour as the surface."""
    same = support & (image == clean).all(axis=-1)
    image[same] = np.where(clean[same] >= 128, clean[same] - _NUDGE, clean[same] + _NUDGE)
    return image
