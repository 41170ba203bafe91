"""Drawn scenes: a blister of pills, a circuit board, a gear wheel and a screw, each time in a different pose."""

from dataclasses import replace
from itertools import product

import numpy as np

from aseg_bench.datasets.demo.photographs import Split
from aseg_bench.datasets.demo.scenes import SIZE, Canvas, Colour, Part, Scene, cover, smooth_noise

CENTRE = SIZE / 2


def blister(rng: np.random.Generator, split: Split) -> Scene:
    """A foil with six pills in their pockets."""
    del split
    parts = []
    for column, row in product((-1, 0, 1), (-0.5, 0.5)):
        x, y = CENTRE + 72 * column, CENTRE + 104 * row
        pocket = Part(x, y, 62, 84, (0.73, 0.75, 0.77), corner=31, bevel=9, relief=-0.30)
        wobble_x, wobble_y, tilt = rng.normal(0, (1.6, 2.2, 0.07))
        tint = rng.normal(0, 0.012)
        upper: Colour = (0.80 + tint, 0.27 + tint, 0.22 + tint)
        lower: Colour = (0.93 + tint, 0.89 + tint, 0.80 + tint)
        group = f"pill {column} {row}"
        shell = Part(x, y, 34, 62, lower, corner=17, bevel=16, relief=0.30, shadow=3, group=group)
        cap = Part(x, y - 11, 36, 42, upper, corner=17, bevel=16, relief=0.30, group=group)
        parts.append(pocket)
        parts += [part.turned(tilt, x, y).moved(wobble_x, wobble_y) for part in (shell, cap)]
    grain = smooth_noise(rng, 0.8)
    foil = _flat((0.62, 0.64, 0.67)) * (1 + 0.02 * grain + 0.03 * smooth_noise(rng, 12))[..., None]
    posed = _posed(parts, turn=rng.normal(0, 0.02), shift=rng.normal(0, 3, 2))
    return Scene(foil, cover(posed), 0.35 * grain, posed)


def circuit(rng: np.random.Generator, split: Split) -> Scene:
    """A board with chips, resistors and capacitors; always the same layout, each part a little off its place."""
    del split
    green: Colour = (0.07, 0.34, 0.20)
    track: Colour = (0.13, 0.45, 0.27)
    tin: Colour = (0.74, 0.74, 0.72)
    parts = [Part(CENTRE, 28 + 14 * line, 236, 3, track) for line in range(4)]
    parts += [Part(26 + 12 * line, 170, 3, 120, track) for line in range(5)]
    parts += [Part(150 + 11 * line, 200, 3, 90, track, angle=0.5) for line in range(4)]
    for chip, (x, y, length, width, n_pins) in enumerate(((92, 112, 66, 40, 6), (190, 96, 48, 48, 5))):
        body = Part(x, y, length, width, (0.12, 0.12, 0.13), corner=2, bevel=3, relief=0.5, shadow=2.5)
        notch = Part(x - length / 2 + 8, y - width / 2 + 8, 5, 5, (0.22, 0.22, 0.23), corner=2.5)
        pins = [
            Part(
                x - length / 2 + length * (pin + 0.5) / n_pins,
                y + side * (width / 2 + 4),
                5,
                10,
                tin,
                bevel=2,
                relief=0.3,
            )
            for pin, side in product(range(n_pins), (-1, 1))
        ]
        parts += _loose([*pins, body, notch], f"chip {chip}", rng)
    for index, (x, y, angle) in enumerate(
        ((40, 60, 0), (86, 56, 0), (130, 58, 0), (142, 150, 1), (170, 150, 1), (60, 170, 0), (60, 196, 0), (60, 222, 0))
    ):
        colour: Colour = (0.16, 0.15, 0.15) if index % 2 else (0.66, 0.50, 0.32)
        chip_part = Part(x, y, 18, 11, colour, corner=1, bevel=2, relief=0.35, shadow=1.5)
        ends = [Part(x + side * 10, y, 6, 12, tin, corner=1, bevel=2, relief=0.35) for side in (-1, 1)]
        turned = [part.turned(angle * np.pi / 2, x, y) for part in (*ends, chip_part)]
        parts += _loose(turned, f"small {index}", rng)
    for index, (x, y) in enumerate(((112, 206), (150, 214), (222, 160), (222, 216))):
        can = Part(x, y, 32, 32, (0.72, 0.73, 0.76), corner=16, bevel=4, relief=0.35, shadow=4, brushed=0.05)
        stripe = Part(x - 10, y, 7, 20, (0.16, 0.17, 0.22), corner=3)
        parts += _loose([can, stripe], f"can {index}", rng)
    grain = smooth_noise(rng, 0.8)
    board = _flat(green) * (1 + 0.04 * grain + 0.04 * smooth_noise(rng, 12))[..., None]
    posed = _posed(parts, turn=rng.normal(0, 0.015), shift=rng.normal(0, 2.5, 2))
    return Scene(board, np.ones((SIZE, SIZE), bool), grain, posed)


def gear(rng: np.random.Generator, split: Split) -> Scene:
    """A turned steel wheel with eighteen teeth on a dark mat, at any angle."""
    del split
    shade = 0.60 + rng.normal(0, 0.02)
    steel: Colour = (shade, shade, shade * 1.03)
    radius = 84.0
    teeth = [
        Part(
            CENTRE + radius, CENTRE, 30, 17, steel, corner=3, bevel=3, relief=0.35, shadow=3, group=f"tooth {index}"
        ).turned(2 * np.pi * index / 18, CENTRE, CENTRE)
        for index in range(18)
    ]
    wheel = Part(
        CENTRE,
        CENTRE,
        2 * radius,
        2 * radius,
        steel,
        corner=radius,
        bevel=3,
        relief=0.1,
        bore=22,
        shadow=4,
        brushed=0.10,
    )
    rim = replace(wheel, length=124, width=124, corner=62, relief=-0.45, shadow=0, bevel=4)
    hub = replace(wheel, length=74, width=74, corner=37, relief=0.45, shadow=2, bevel=4)
    holes = [
        Part(CENTRE + 50, CENTRE, 14, 14, (0.16, 0.16, 0.17), corner=7, bevel=3, relief=-0.5).turned(
            2 * np.pi * index / 6, CENTRE, CENTRE
        )
        for index in range(6)
    ]
    parts = [*teeth, wheel, rim, hub, *holes]
    grain = smooth_noise(rng, 0.7)
    mat = _flat((0.17, 0.18, 0.20)) * (1 + 0.22 * grain + 0.05 * smooth_noise(rng, 8))[..., None]
    posed = _posed(parts, turn=rng.uniform(0, 2 * np.pi), shift=rng.normal(0, 4, 2), scale=rng.uniform(0.96, 1.03))
    plain = cover(tuple(part for part in posed if part.length > 40)) & ~cover(posed[-len(holes) :])
    return Scene(mat, plain, grain, posed)


def screw(rng: np.random.Generator, split: Split) -> Scene:
    """A brass screw on light paper, roughly level, its head to the left or to the right."""
    del split
    shade = rng.normal(0, 0.02)
    brass: Colour = (0.72 + shade, 0.56 + shade, 0.28 + shade)
    dark: Colour = (0.50 + shade, 0.37 + shade, 0.17 + shade)
    core = Part(CENTRE + 8, CENTRE, 150, 20, dark, corner=3, bevel=10, relief=0.6, shadow=3)
    tip = [
        Part(CENTRE + 84 + 5 * step, CENTRE, 7, 17 - 4.5 * step, dark, bevel=5, relief=0.5, shadow=2)
        for step in range(4)
    ]
    threads = [
        Part(
            CENTRE - 24 + 10 * turn,
            CENTRE,
            5.5,
            32,
            brass,
            angle=0.22,
            corner=2.5,
            bevel=3,
            relief=0.45,
            shadow=1.5,
            group=f"{turn}",
        )
        for turn in range(11)
    ]
    shank = Part(CENTRE - 48, CENTRE, 38, 23, brass, bevel=11, relief=0.55, shadow=3)
    collar = Part(CENTRE - 72, CENTRE, 14, 44, brass, corner=5, bevel=8, relief=0.5, shadow=3)
    head = Part(CENTRE - 84, CENTRE, 16, 58, brass, corner=6, bevel=8, relief=0.5, shadow=4)
    parts = [core, *tip, *threads, shank, collar, head]
    grain = smooth_noise(rng, 0.7)
    paper = _flat((0.80, 0.80, 0.78)) * (1 + 0.02 * grain + 0.02 * smooth_noise(rng, 10))[..., None]
    turn = rng.normal(0, 0.2) + np.pi * rng.integers(2)
    posed = _posed(parts, turn=turn, shift=rng.normal(0, 5, 2), scale=rng.uniform(0.95, 1.05))
    return Scene(paper, cover(posed), 0.6 * grain, posed)


def _flat(colour: Colour) -> Canvas:
    return np.broadcast_to(np.asarray(colour, np.float32), (SIZE, SIZE, 3))


def _loose(parts: list[Part], group: str, rng: np.random.Generator) -> list[Part]:
    """The parts as one group, placed with the tolerance of a machine."""
    x, y = parts[0].x, parts[0].y
    dx, dy, turn = rng.normal(0, (0.7, 0.7, 0.012))
    return [replace(part.turned(turn, x, y).moved(dx, dy), group=group) for part in parts]


def _posed(parts: list[Part], turn: float, shift: np.ndarray, scale: float = 1.0) -> tuple[Part, ...]:
    """The parts, scaled and turned about the centre of the image, then shifted."""
    dx, dy = (float(value) for value in shift)
    scaled = (
        replace(
            part,
            x=CENTRE + scale * (part.x - CENTRE),
            y=CENTRE + scale * (part.y - CENTRE),
            length=scale * part.length,
            width=scale * part.width,
            corner=scale * part.corner,
            bore=scale * part.bore,
        )
        for part in parts
    )
    return tuple(part.turned(turn, CENTRE, CENTRE).moved(dx, dy) for part in scaled)
