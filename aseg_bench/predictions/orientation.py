"""How maps lie beside their pictures: upright, as EXIF stores them, or transposed, as far as their sizes tell."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from aseg_bench.images import image_size, orientation, turned
from aseg_bench.predictions.checks import Suspicion
from aseg_bench.records import LazySequence, Sample

_SIDEWAYS = 5  # EXIF orientations from this one on swap height and width; this one does nothing else


def as_pictures_lie(
    maps: LazySequence[NDArray[Any]], shapes: list[tuple[int, int]], samples: Sequence[Sample]
) -> tuple[LazySequence[NDArray[Any]], list[tuple[int, int]], list[Suspicion]]:
    """Maps turned as their pictures are, as far as their sizes tell; their shapes; and what was done or looks odd."""
    sizes = [image_size(sample.image_path) for sample in samples]
    turns, odd = turns_of(shapes, sizes, [orientation(sample.image_path) for sample in samples], samples)
    if set(turns) == {1}:
        return maps, shapes, odd
    lying = [shape[::-1] if turn >= _SIDEWAYS else shape for shape, turn in zip(shapes, turns, strict=True)]
    return LazySequence(len(maps), lambda index: turned(maps[index], turns[index])), lying, odd


def turns_of(
    shapes: Sequence[tuple[int, int]], sizes: Sequence[tuple[int, int]], exif: Sequence[int], samples: Sequence[Sample]
) -> tuple[list[int], list[Suspicion]]:
    """The EXIF orientation by which each map is to be turned, 1 for not at all, and what is to be said of it.

    If a map has the size that its picture has as stored, which EXIF swaps, the code that made the maps did not heed
    EXIF: all maps of pictures with an orientation are turned. If all maps of a category have the size of their picture
    with height and width swapped, all are transposed. Shapes that are only in proportion to that are said.

    Args:
        shapes: of the maps.
        sizes: of the pictures, upright.
        exif: orientations of the pictures.
        samples: the pictures.
    """
    upright, swapped = [1] * len(shapes), [size[::-1] for size in sizes]
    all_of = list(zip(shapes, sizes, swapped, exif, strict=True))
    stored = [turn if shape == (swap if turn >= _SIDEWAYS else size) else 1 for shape, size, swap, turn in all_of]
    odd = []
    if any(turn >= _SIDEWAYS and shape == swap != size for shape, size, swap, turn in all_of):
        n_turned = sum(turn != 1 for turn in stored)
        first = next(sample.name for sample, turn in zip(samples, stored, strict=True) if turn != 1)
        text = (
            f"{n_turned} maps have the size of their pictures as stored, which EXIF turns, first {first}: turned alike"
        )
        return stored, [Suspicion("exif", text)]
    is_heeded = any(turn >= _SIDEWAYS and shape == size != swap for shape, size, swap, turn in all_of)
    with_exif = [sample.name for sample, turn in zip(samples, exif, strict=True) if turn != 1]
    if with_exif and not is_heeded:
        text = (
            f"{len(with_exif)} pictures are turned by EXIF, first {with_exif[0]}; whether their maps are, sizes do not"
            " tell: they are taken as upright"
        )
        odd.append(Suspicion("exif", text))
    if list(shapes) == swapped != list(sizes):
        text = "the maps have the size of their pictures with height and width swapped: transposed"
        return [_SIDEWAYS] * len(shapes), [*odd, Suspicion("transposed", text)]
    if all(map(_is_like, shapes, swapped)) and not all(map(_is_like, shapes, sizes)):
        text = (
            f"maps are {shapes[0][0]} x {shapes[0][1]} and pictures {sizes[0][0]} x {sizes[0][1]} (height x width): if"
            " they are transposed, swap rows and columns; they are scored as they are"
        )
        odd.append(Suspicion("transposed", text))
    return upright, odd


def _is_like(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a map has the proportions of a picture, up to the rounding of its width to whole pixels."""
    return abs(shape[0] * size[1] / size[0] - shape[1]) < 1
