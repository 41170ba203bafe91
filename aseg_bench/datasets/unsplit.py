"""What data sets share that were made for other tasks: a split of normal images, and masks that say what is normal."""

from collections.abc import Collection, Sequence
from pathlib import Path

from aseg_bench.errors import InputError
from aseg_bench.files import in_threads
from aseg_bench.images import read_mask

_TEST_SHARE = 5


def tested(names: Collection[str]) -> set[str]:
    """Every fifth of the normal images in the order of their names: they are test images, and the others training."""
    return set(sorted(names)[_TEST_SHARE - 1 :: _TEST_SHARE])


def marked(masks: Sequence[Path], problems: list[str]) -> dict[Path, bool]:
    """Whether each mask has an anomalous pixel, where every image has one; unreadable ones join the problems."""

    def is_marked(path: Path) -> bool | str:
        try:
            return bool(read_mask(path).any())
        except InputError as error:
            return str(error)

    found = dict(zip(masks, in_threads(is_marked, masks), strict=True))
    problems += [problem for problem in found.values() if isinstance(problem, str)]
    return {path: bool(one) for path, one in found.items()}


def paired(
    images: dict[str, Path], masks: dict[str, Path], expected: str, problems: list[str]
) -> dict[str, tuple[Path, Path]]:
    """Images with their masks by stem, where each has one; what has none is added to the problems.

    Args:
        images: by stem.
        masks: by the stem of their image.
        expected: where the mask of an image lies, seen from its folder, with ``{stem}``.
        problems: grows.
    """
    problems += [
        f"{image} has no mask; expected {image.parent / expected.format(stem=image.stem)}"
        for stem, image in images.items()
        if stem not in masks
    ]
    problems += [f"{mask} has no image" for stem, mask in masks.items() if stem not in images]
    return {stem: (image, masks[stem]) for stem, image in images.items() if stem in masks}
