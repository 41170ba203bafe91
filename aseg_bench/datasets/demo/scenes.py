"""What an image of the demo set is made of: a ground, parts that lie on it, and a camera that takes the picture.

Every part is a rounded rectangle; a disc, a capsule and a ring are its special cases. Units are pixels, colours are RGB
in [0, 1], angles are radians from the x axis towards the y axis, which points down.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIZE = 256

Canvas = NDArray[np.float32]
Mask = NDArray[np.bool_]
Colour = tuple[float, float, float]

_LIGHT = np.array([-0.6, -0.8], dtype=np.float32)  # direction to the lamp, upper left
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float32)


@dataclass(frozen=True)
class Part:
    """A rounded rectangle.

    Attributes:
        x: column of the centre.
        y: row of the centre.
        length: extent along ``angle``.
        width: extent across ``angle``.
        colour: its colour in even light.
        angle: direction of the length.
        corner: radius of the corners; half the width makes a capsule or a disc.
        bevel: width of the rounded edge, 0 for a flat part.
        relief: how much lighter or darker the rounded edge is.
        bore: radius of a hole in the centre, through which the ground is seen.
        shadow: how far the shadow falls.
        brushed: depth of the brushing of a turned surface.
        group: parts of one group are missing or misplaced together; those of group "" are always in place.
    """

    x: float
    y: float
    length: float
    width: float
    colour: Colour
    angle: float = 0.0
    corner: float = 0.0
    bevel: float = 0.0
    relief: float = 0.0
    bore: float = 0.0
    shadow: float = 0.0
    brushed: float = 0.0
    group: str = ""

    def moved(self, dx: float, dy: float) -> "Part":
        """The part, shifted."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def turned(self, angle: float, x: float, y: float) -> "Part":
        """The part, turned by an angle about a point."""
        cosine, sine = np.cos(angle), np.sin(angle)
        dx, dy = self.x - x, self.y - y
        return replace(
            self, x=x + cosine * dx - sine * dy, y=y + sine * dx + cosine * dy, angle=self.angle + float(angle)
        )


@dataclass(frozen=True)
class Scene:
    """What the camera sees.

    Attributes:
        ground: what lies below the parts, (256, 256, 3).
        parts: the parts, lowest first.
        region: where a defect of the surface may lie, (256, 256).
        grain: fine texture that all parts share, (256, 256) with mean 0.
    """

    ground: Canvas
    region: Mask
    grain: Canvas
    parts: tuple[Part, ...] = ()

    @cached_property
    def canvas(self) -> Canvas:
        """The scene in even light, (256, 256, 3)."""
        canvas = self.ground.copy()
        for part in self.parts:
            _paint(canvas, part, self.grain)
        return canvas


@dataclass(frozen=True)
class Camera:
    """Light and noise of one exposure; the same camera takes a scene with and without its defect."""

    gain: Canvas
    noise: Canvas

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Camera":
        """A camera at random: exposure, white balance, fall-off of the light, sensor noise."""
        across, down = rng.uniform(-0.07, 0.07, 2)
        light = 1 + across * (COLUMNS / SIZE - 0.5) * 2 + down * (ROWS / SIZE - 0.5) * 2
        balance = rng.uniform(0.93, 1.07) * rng.uniform(0.985, 1.015, 3)
        noise = np.float32(0.008) * rng.standard_normal((SIZE, SIZE, 3), np.float32)
        return cls((light[..., None] * balance).astype(np.float32), noise)

    def shoot(self, canvas: Canvas) -> NDArray[np.uint8]:
        """The picture, (256, 256, 3) uint8."""
        levels: Canvas = np.clip(canvas * self.gain + self.noise, 0, 1) * 255
        return levels.round().astype(np.uint8)


def smooth_noise(rng: np.random.Generator, sigma: float) -> Canvas:
    """Noise of mean 0 and standard deviation 1 that varies over about ``sigma`` pixels, (256, 256)."""
    noise: Canvas = gaussian_filter(rng.standard_normal((SIZE, SIZE), np.float32), sigma, mode="wrap")
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def cover(parts: tuple[Part, ...]) -> Mask:
    """Where any of the parts lies, (256, 256)."""
    covered = np.zeros((SIZE, SIZE), bool)
    for part in parts:
        covered |= _distance(part, COLUMNS, ROWS) < 0
    return covered


def _paint(canvas: Canvas, part: Part, grain: Canvas) -> None:
    cosine, sine, margin = abs(np.cos(part.angle)), abs(np.sin(part.angle)), 2 * part.shadow + 3
    reach_x = (cosine * part.length + sine * part.width) / 2 + margin
    reach_y = (sine * part.length + cosine * part.width) / 2 + margin
    top, bottom = (int(np.clip(part.y + side, 0, SIZE)) for side in (-reach_y, reach_y + 1))
    left, right = (int(np.clip(part.x + side, 0, SIZE)) for side in (-reach_x, reach_x + 1))
    if top >= bottom - 1 or left >= right - 1:
        return
    window = (slice(top, bottom), slice(left, right))
    rows, columns, seen = ROWS[window], COLUMNS[window], canvas[window]
    if part.shadow:
        shift = _LIGHT * part.shadow
        shade = np.clip(0.5 - _distance(part, columns + shift[0], rows + shift[1]) / (2 * part.shadow), 0, 1)
        seen *= 1 - 0.45 * shade[..., None]
    distance = _distance(part, columns, rows)
    brightness = 1 + 0.05 * grain[window]
    if part.relief:
        down, right_slope = np.gradient(distance)
        towards_light = right_slope * _LIGHT[0] + down * _LIGHT[1]
        brightness += part.relief * towards_light * np.clip(1 + distance / max(part.bevel, 1), 0, 1)
    if part.brushed:
        around = np.arctan2(rows - part.y, columns - part.x) - part.angle
        brightness += part.brushed * (np.cos(2 * around - 0.8) + 0.5 * np.cos(6 * around + 1))
    opacity = np.clip(0.5 - distance, 0, 1)[..., None]
    seen *= 1 - opacity
    seen += opacity * np.asarray(part.colour, np.float32) * brightness[..., None]


def _distance(part: Part, columns: Canvas, rows: Canvas) -> Canvas:
    """Signed distance to the outline, negative inside."""
    cosine, sine = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
    dx, dy = columns - np.float32(part.x), rows - np.float32(part.y)
    corner = np.float32(min(part.corner, part.length / 2, part.width / 2))
    along = np.abs(cosine * dx + sine * dy) - np.float32(part.length / 2) + corner
    across = np.abs(cosine * dy - sine * dx) - np.float32(part.width / 2) + corner
    outside = np.hypot(np.maximum(along, 0), np.maximum(across, 0))
    distance: Canvas = outside + np.minimum(np.maximum(along, across), 0) - corner
    if part.bore:
        distance = np.maximum(distance, np.float32(part.bore) - np.hypot(dx, dy))
    return distance
