"""Both passes over the maps of a category, on several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from aseg_bench.errors import InputError
from aseg_bench.metrics.checks import Levels, Masks, ScoreMaps, as_array, as_map, as_maps, as_mask
from aseg_bench.metrics.first_pass import FirstPass, Needs, SaturatedRegion
from aseg_bench.metrics.second_pass import ImageScore, SecondPass
from aseg_bench.metrics.sweep import Sweep

Part = TypeVar("Part", FirstPass, SecondPass)

PIXELS_PER_STEP = 2**17  # small images go to a thread together
PRIVATE_COUNTS = 2**27  # bytes that the counts of threads beyond the first may take


def sweep_maps(
    scores: ScoreMaps,
    masks: Masks,
    needs: Needs,
    *,
    image_scores: ArrayLike | ImageScore | None = None,
    image_labels: ArrayLike | None = None,
    regions: Sequence[Sequence[SaturatedRegion]] | None = None,
    names: Sequence[str] | None = None,
    n_threads: int | None = None,
) -> Sweep:
    """Both passes over the maps of a category; the arguments are those of `measure`."""
    scores, masks = as_maps(scores, masks)
    n_images = len(scores)
    if n_threads is not None and n_threads < 1:
        raise InputError(f"n_threads is {n_threads}; at least 1 is needed, or None for all of the machine's")
    n_threads = n_threads or _n_cores()
    score_of = _per_image("image_scores", image_scores, n_images)
    label_of = _per_image("image_labels", image_labels, n_images)
    for name, given in (("regions", regions), ("names", names)):
        if given is not None and len(given) != n_images:
            raise InputError(f"there are {n_images} images and {len(given)} {name}; one of each per image is needed")

    def name_of(index: int) -> str:
        return f"image {index}" if names is None else str(names[index])

    levels: Levels = {}  # of a lazy sequence nobody has seen the masks together
    firsts = [FirstPass(needs) for _ in range(n_threads)]

    def first_steps() -> Iterator[tuple[int, Callable[[FirstPass], None]]]:
        for index in range(n_images):
            mask = as_mask(masks[index], f"the mask of {name_of(index)}", levels)
            score_map = as_map(scores[index], name_of(index)) if firsts[0].wants_scores(mask) else None
            at = regions[index] if regions is not None else ()
            yield (
                mask.size,
                lambda part, s=score_map, m=mask, r=at, i=index: part.update(  # type: ignore[misc]
                    s, m, regions=r, index=i, name=name_of(i)
                ),
            )

    ranking = _run(firsts, first_steps()).compute()
    n_private = 1 + PRIVATE_COUNTS // (8 * ranking.n_distinct + 8)
    seconds = [SecondPass(ranking) for _ in range(min(n_threads, n_private))]

    def second_steps() -> Iterator[tuple[int, Callable[[SecondPass], None]]]:
        for index in range(n_images):
            mask = as_mask(masks[index], f"the mask of {name_of(index)}")
            score_map = as_map(scores[index], name_of(index))
            yield (
                mask.size,
                lambda part, s=score_map, m=mask, i=index: part.update(  # type: ignore[misc]
                    s, m, image_score=score_of(i), image_label=label_of(i), index=i, name=name_of(i)
                ),
            )

    return _run(seconds, second_steps()).compute()


def _n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _per_image(name: str, values: Any, n_images: int) -> Callable[[int], Any]:
    """A function from the image's index to its value: an entry, the one function for all, or None."""
    if values is None or callable(values):
        return lambda _: values
    array = as_array(values, name)
    if array.shape != (n_images,):
        raise InputError(f"{name} have shape {array.shape}; one per image is needed, ({n_images},)")
    return lambda index: array[index].item()


def _run(parts: list[Part], steps: Iterator[tuple[int, Callable[[Part], None]]]) -> Part:
    """Take every step with some part, and merge the parts.

    The steps are drawn in the calling thread, so that a lazy sequence is never read from two threads at once, and at
    most one more of them is alive than there are threads.

    Raises:
        InputError: the earliest step that failed raised it.
    """
    if len(parts) == 1:
        for _, step in steps:
            step(parts[0])
        return parts[0]
    idle: SimpleQueue[Part] = SimpleQueue()
    for part in parts:
        idle.put(part)

    def work(part: Part, batch: Sequence[Callable[[Part], None]]) -> None:
        try:
            for step in batch:
                step(part)
        finally:
            idle.put(part)

    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(len(parts)) as pool:
        batch: list[Callable[[Part], None]] = []
        n_pixels = 0
        for size, step in steps:
            batch.append(step)
            n_pixels += size
            if n_pixels >= PIXELS_PER_STEP:
                pending.append(pool.submit(work, idle.get(), batch))
                batch, n_pixels = [], 0
            while pending and pending[0].done():
                pending.popleft().result()
        pending.append(pool.submit(work, idle.get(), batch))
        for future in pending:
            future.result()
    while len(parts) > 1:
        parts[0].merge(parts.pop())  # whose counts take no memory from then on
    return parts[0]
