"""Near copies across training and test are found, and pictures of one camera that are only alike are not."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from aseg_bench.datasets.copies import fingerprint, near_copies
from aseg_bench.records import Sample

SIZE = (90, 120)


def stripes(rng: np.random.Generator) -> np.ndarray:
    """A texture as a line camera sees it: the same stripes everywhere, and noise of its own."""
    lines = 120 + 30 * np.sin(np.arange(SIZE[1]) / 3) + rng.normal(0, 6, SIZE)
    return np.repeat(lines[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def objects(rng: np.random.Generator) -> np.ndarray:
    """One object in one place, as a fixed camera sees it: light and surface differ a little."""
    picture = np.full((*SIZE, 3), 30.0)
    picture[20:70, 30:90] = 180
    picture += cv2.resize(rng.normal(0, 5, (9, 12, 1)), SIZE[::-1])[..., None] + rng.normal(0, 4, (*SIZE, 3))
    return picture.clip(0, 255).astype(np.uint8)


def scenes(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.resize(rng.uniform(0, 255, (6, 8, 3)), SIZE[::-1])).clip(0, 255).astype(np.uint8)


def compressed(pixels: np.ndarray) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"))


CHANGES = {
    "compressed": compressed,
    "half": lambda pixels: cv2.resize(pixels, (SIZE[1] // 2, SIZE[0] // 2), interpolation=cv2.INTER_AREA),
    "brighter": lambda pixels: (pixels * 1.1 + 5).clip(0, 255).astype(np.uint8),
    "noisy": lambda pixels: (pixels + np.random.default_rng(9).normal(0, 4, pixels.shape)).clip(0, 255).astype("uint8"),
}


def pairs_of(train: list[np.ndarray], test: list[np.ndarray]) -> list[tuple[int, int]]:
    """Training image and test image of each pair, counted from 0 in their splits."""
    samples = [
        Sample("mvtec_ad", "nut", split, "good", f"{number:03}", Path("image"))
        for split, images in (("train", train), ("test", test))
        for number in range(len(images))
    ]
    images = [*train, *test]
    digests = [image.tobytes().hex() for image in images]
    found = near_copies(samples, [fingerprint(image) for image in images], digests)
    return [(pair.train, pair.other - len(train)) for pair in found]


@pytest.mark.parametrize("draw", [stripes, objects, scenes])
def test_pictures_that_are_only_alike_are_not_copies(draw) -> None:
    rng = np.random.default_rng(0)
    assert pairs_of([draw(rng) for _ in range(40)], [draw(rng) for _ in range(40)]) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_image_that_was_changed_a_little_is_found(change: str) -> None:
    rng = np.random.default_rng(0)
    train, test = [scenes(rng) for _ in range(20)], [scenes(rng) for _ in range(5)]
    test[3] = CHANGES[change](train[7])
    assert pairs_of(train, test) == [(7, 3)]


def test_copies_are_found_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    train = [scenes(rng) for _ in range(20)]
    assert pairs_of(train, [compressed(image) for image in train]) == [(n, n) for n in range(20)]


def test_a_cluster_of_views_is_not_a_copy() -> None:
    rng = np.random.default_rng(0)
    views = [scenes(rng) for _ in range(2)]

    def seen(n: int) -> list[np.ndarray]:
        return [(0.7 * views[i % 2] + 0.3 * scenes(rng)).astype(np.uint8) for i in range(n)]

    assert pairs_of(seen(30), seen(30)) == []


def test_flat_pictures_and_the_same_file_are_not_near_copies() -> None:
    rng = np.random.default_rng(0)
    train, flat = [scenes(rng) for _ in range(5)], np.full((*SIZE, 3), 90, np.uint8)
    assert pairs_of([*train, flat], [flat + np.uint8(1), train[0]]) == []


def test_distances_are_those_of_the_plain_definition() -> None:
    rng = np.random.default_rng(0)
    train, test = [scenes(rng) for _ in range(6)], [scenes(rng)]
    test.append(CHANGES["noisy"](train[2]))
    images = [*train, *test]
    samples = [Sample("x", "nut", "train" if i < 6 else "test", "good", str(i), Path("i")) for i in range(8)]
    (pair,) = near_copies(samples, [fingerprint(image) for image in images], list(map(str, range(8))))

    def plain(image: np.ndarray) -> np.ndarray:
        grey = image @ [0.299, 0.587, 0.114]
        rows = np.array_split(np.arange(SIZE[0] * 16).reshape(-1), 16)
        cells = np.repeat(np.repeat(grey, 16, axis=0), 16, axis=1)  # sixteen times as fine, so that cells are whole
        means = cells.reshape(16, len(rows[0]), 16, SIZE[1]).mean(axis=(1, 3)).ravel()
        means = means - means.mean()
        return means / np.linalg.norm(means)

    prints = [plain(image) for image in images]
    between = [[np.linalg.norm(a - b) for b in prints] for a in prints]
    usual = np.median([min(between[i][j] for j in range(6) if j != i) for i in range(6)])
    assert (pair.train, pair.other) == (2, 7)
    assert pair.distance == pytest.approx(between[7][2], abs=0.01)
    assert pair.usual == pytest.approx(usual, abs=0.01)
