"""Defects that are put into a scene. Each returns the canvas of the flawed scene and the pixels that it may change."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt, gaussian_filter

from aseg_bench.datasets.demo.photographs import Photograph
from aseg_bench.datasets.demo.scenes import COLUMNS, ROWS, SIZE, Canvas, Colour, Mask, Part, Scene, smooth_noise

Flawed = tuple[Canvas, Mask]
Defect = Callable[[Scene, float, np.random.Generator], Flawed]
"""Takes a scene, the share of the image that the defect should cover, and the source of its randomness."""

_FAINTEST = 0.15  # a defect ends where it would be more transparent than this
_LEAST_CHANGE = 0.03  # and where it would change every colour by less than this


def scratch(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
    """A thin, slightly bent line, lighter or darker than the surface."""
    width = rng.uniform(1.6, 3.2)
    alpha = _line(scene, share, width, bend=0.06, rng=rng) * rng.uniform(0.55, 0.9)
    tone = rng.choice([-0.28, 0.32]) * rng.uniform(0.8, 1.2)
    canvas = scene.canvas
    return _blended(canvas, np.clip(canvas + tone, 0, 1), alpha)


def crack(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
    """A dark, jagged line."""
    alpha = _line(scene, share, rng.uniform(1.8, 3.0), bend=0.4, rng=rng)
    canvas = scene.canvas
    return _blended(canvas, canvas * rng.uniform(0.25, 0.45), 0.9 * alpha)


def strand(*colours: Colour) -> Defect:
    """A defect: a twig, a hair or a wire of one of the colours."""

    def defect(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
        alpha = _line(scene, share, rng.uniform(2.5, 4.5), bend=0.15, rng=rng)
        colour = np.asarray(colours[rng.integers(len(colours))], np.float32)
        return _blended(scene.canvas, np.broadcast_to(colour, (SIZE, SIZE, 3)) * rng.uniform(0.85, 1.15), 0.9 * alpha)

    return defect


def hole(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
    """A pit with a lit and a shaded rim."""
    alpha = _blob(scene, share, roughness=0.16, soft=1.5, rng=rng)
    canvas = scene.canvas
    slope: Canvas = np.sum(np.gradient(gaussian_filter(alpha, 2)), axis=0)
    relief = np.clip(0.9 * slope, -0.3, 0.3)[..., None]
    pit = canvas * rng.uniform(0.30, 0.55) * (1 + 0.15 * smooth_noise(rng, 2))[..., None] + relief
    return _blended(canvas, pit, 0.9 * alpha)


def stain(*tints: Colour) -> Defect:
    """A defect: translucent, cloudy dirt of one of the tints; each multiplies the surface's colours."""

    def defect(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
        alpha = _blob(scene, share, roughness=0.3, soft=4, rng=rng)
        tint = np.asarray(tints[rng.integers(len(tints))], np.float32)
        canvas = scene.canvas
        strength = np.clip(rng.uniform(0.45, 0.9) + 0.12 * smooth_noise(rng, 5), 0.3, 1)
        return _blended(canvas, canvas * tint, alpha * strength)

    return defect


def spots(*tints: Colour) -> Defect:
    """A defect: a cluster of small spots of one of the tints; each multiplies the surface's colours."""

    def defect(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
        n_spots = int(rng.integers(2, 6))
        x, y = _place(scene, rng)
        alpha = np.zeros((SIZE, SIZE), np.float32)
        for part in rng.dirichlet(np.full(n_spots, 3.0)):
            dx, dy = rng.normal(0, 16, 2)
            near = float(np.clip(x + dx, 8, SIZE - 9)), float(np.clip(y + dy, 8, SIZE - 9))
            alpha = np.maximum(alpha, _blob(scene, share * part, roughness=0.2, soft=2, rng=rng, place=near))
        canvas = scene.canvas
        return _blended(canvas, canvas * np.asarray(tints[rng.integers(len(tints))], np.float32), 0.85 * alpha)

    return defect


def swap(photograph: Photograph, zoom: float) -> Defect:
    """A defect: a patch of another texture, cut from a photograph and matched in brightness."""

    def defect(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
        alpha = _blob(scene, share, roughness=0.25, soft=3, rng=rng)
        canvas = scene.canvas
        patch = photograph.cut(rng, "test", zoom)
        inside = alpha > _FAINTEST
        level = canvas[inside].mean() / patch[inside].mean()
        return _blended(canvas, np.clip(patch * level * rng.uniform(0.85, 1.1), 0, 1), 0.95 * alpha)

    return defect


def smeared(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
    """A patch in which the surface has lost its detail."""
    alpha = _blob(scene, share, roughness=0.25, soft=3, rng=rng)
    canvas = scene.canvas
    flat = gaussian_filter(canvas, (9, 9, 0)) * rng.uniform(0.9, 1.12) * (1 + 0.03 * smooth_noise(rng, 1))[..., None]
    return _blended(canvas, flat, 0.95 * alpha)


def foreign(*colours: Colour) -> Defect:
    """A defect: a thing of one of the colours that does not belong there, such as a cap or a piece of tape."""

    def defect(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
        x, y = _place(scene, rng)
        aspect = rng.choice([1.0, rng.uniform(2, 4)])
        width = np.sqrt(share * SIZE**2 / aspect)
        corner = width * (0.5 if aspect == 1 else rng.choice([0.1, 0.5]))
        colour = colours[rng.integers(len(colours))]
        thing = Part(
            x,
            y,
            width * aspect,
            width,
            colour,
            angle=rng.uniform(0, np.pi),
            corner=corner,
            bevel=0.3 * width,
            relief=0.3,
            shadow=2,
        )
        return _rebuilt(scene, (*scene.parts, thing))

    return defect


def missing(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
    """A part, or several, left out; the size of the parts decides how much that covers."""
    del share
    groups = _groups(scene)
    gone = set(rng.choice(groups, size=1 + (rng.random() < 0.3), replace=False))
    return _rebuilt(scene, tuple(part for part in scene.parts if part.group not in gone))


def misplaced(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
    """A part shifted and turned."""
    del share
    group = rng.choice(_groups(scene))
    x, y = next((part.x, part.y) for part in scene.parts if part.group == group)
    turn = rng.choice([-1, 1]) * rng.uniform(0.2, 0.6)
    direction, distance = rng.uniform(0, 2 * np.pi), rng.uniform(4, 9)
    dx, dy = distance * np.cos(direction), distance * np.sin(direction)
    return _rebuilt(
        scene, tuple(part.turned(turn, x, y).moved(dx, dy) if part.group == group else part for part in scene.parts)
    )


def wrong(*colours: Colour) -> Defect:
    """A defect: a part of the right shape and the wrong colour."""

    def defect(scene: Scene, share: float, rng: np.random.Generator) -> Flawed:
        del share
        group = rng.choice(_groups(scene))
        colour = colours[rng.integers(len(colours))]
        parts = (replace(part, colour=colour) if part.group == group else part for part in scene.parts)
        return _rebuilt(scene, tuple(parts))

    return defect


def _blended(canvas: Canvas, flaw: Canvas, alpha: Canvas) -> Flawed:
    support = alpha > _FAINTEST
    opacity = np.where(support, alpha, 0).astype(np.float32)[..., None]
    return (canvas + opacity * (flaw - canvas)).astype(np.float32), support


def _rebuilt(scene: Scene, parts: tuple[Part, ...]) -> Flawed:
    before, after = scene.canvas, replace(scene, parts=parts).canvas
    changed = np.abs(after - before).max(axis=-1) > _LEAST_CHANGE
    return after, binary_fill_holes(binary_closing(np.pad(changed, 2), iterations=2)[2:-2, 2:-2])


def _groups(scene: Scene) -> list[str]:
    return sorted({part.group for part in scene.parts} - {""})


def _place(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """Column and row of a random point of the region, away from the border."""
    inner = np.zeros_like(scene.region)
    inner[12:-12, 12:-12] = scene.region[12:-12, 12:-12]
    row, column = divmod(int(rng.choice(np.flatnonzero(inner))), SIZE)
    return float(column), float(row)


def _blob(
    scene: Scene,
    share: float,
    roughness: float,
    soft: float,
    rng: np.random.Generator,
    place: tuple[float, float] | None = None,
) -> Canvas:
    """Opacity of an irregular, elongated blob that covers about a share of the image, within the region."""
    x, y = place or _place(scene, rng)
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.8)
    along = (np.cos(turn) * (COLUMNS - x) + np.sin(turn) * (ROWS - y)) / np.sqrt(stretch)
    across = (np.cos(turn) * (ROWS - y) - np.sin(turn) * (COLUMNS - x)) * np.sqrt(stretch)
    around = np.arctan2(across, along)
    outline = np.ones_like(around)
    for wave in range(2, 8):
        outline += 1.4 * roughness / wave * rng.normal() * np.cos(wave * around + rng.uniform(0, 2 * np.pi))
    radius = np.sqrt(share * SIZE**2 / np.pi)
    depth = radius * np.clip(outline, 0.3, 2) - np.hypot(along, across)
    return np.where(scene.region, np.clip(0.5 + depth / (2 * soft), 0, 1), 0).astype(np.float32)


def _line(scene: Scene, share: float, width: float, bend: float, rng: np.random.Generator) -> Canvas:
    """Opacity of a wandering line that covers about a share of the image, within the region."""
    x, y = _place(scene, rng)
    points = [(x, y)]
    heading, drift = rng.uniform(0, 2 * np.pi), rng.normal(0, bend / 4)
    for _ in range(max(3, round(share * SIZE**2 / (width + 1) / 5))):
        heading += drift + rng.normal(0, bend)
        x, y = x + 5 * float(np.cos(heading)), y + 5 * float(np.sin(heading))
        points.append((x, y))
    drawing = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(drawing).line(points, fill=1)
    distance = distance_transform_edt(np.asarray(drawing) == 0)
    pressure = np.clip(0.9 + 0.15 * smooth_noise(rng, 6), 0.5, 1)
    return np.where(scene.region, np.clip(width / 2 + 0.5 - distance, 0, 1) * pressure, 0).astype(np.float32)
