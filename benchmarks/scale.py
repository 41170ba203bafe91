"""What scoring costs as images grow in number: synthetic maps of 224 x 224, made when they are read, in no file.

``python -m benchmarks.scale IMAGES CATEGORIES`` scores them in this process, with a third number in so many others, and
prints what docs/scale.md quotes.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aseg_bench.predictions.imported import OWN_DATASET, ImportedMaps
from aseg_bench.predictions.records import Found, FoundMap, Reader
from aseg_bench.records import Sample
from aseg_bench.runs.engines import Engine
from aseg_bench.runs.memory import peak_bytes
from aseg_bench.runs.shards import Job, Plan, scored_on
from aseg_bench.runs.sources import Opened, Source
from aseg_bench.scoring.dumps import score_dump
from aseg_bench.scoring.shards import thresholds

NO_FILES = Reader("none", "nothing", lambda files: False, lambda path, limits: Found([]))
EDGE, DEFECT = 224, (25, 20)  # pixels; 1 % of an image that shows a defect, as every second one does


def truth(index: int) -> NDArray[np.uint8]:
    """The mask of an image, (EDGE, EDGE), 0 or 255."""
    mask = np.zeros((EDGE, EDGE), np.uint8)
    if index % 2:
        mask[50 : 50 + DEFECT[0], 90 : 90 + DEFECT[1]] = 255
    return mask


def scores(index: int) -> NDArray[np.float32]:
    """The map of an image, (EDGE, EDGE): noise, and 2.5 standard deviations more on the defect."""
    noise = np.random.default_rng(index).standard_normal((EDGE, EDGE), dtype=np.float32)
    return noise + np.float32(2.5 / 255) * truth(index)


@dataclass(frozen=True)
class Synthetic(Source):
    """A source without files."""

    n_images: int = 0
    n_categories: int = 1

    def opened(self) -> Opened:
        """Names alone; maps and masks are made when they are read."""
        found = {}
        for category in (f"c{number:02}" for number in range(self.n_categories)):
            places = range(self.n_images // self.n_categories)
            found[category] = [
                (
                    Sample(
                        OWN_DATASET, category, "test", "cut" if place % 2 else "good", f"{place:05}", Path("none.png")
                    ),
                    FoundMap(Path(f"{category}/{place}"), partial(scores, place), read_mask=partial(truth, place)),
                )
                for place in places
            ]
        return Opened(ImportedMaps(self.maps, NO_FILES, found, {}, {"": []}, True, True), None)


def main() -> None:
    """Score, and print the cost."""
    n_images, n_categories, *workers = map(int, sys.argv[1:])
    source = Synthetic(Path("none"), n_images=n_images, n_categories=n_categories)
    score_dump(Synthetic(Path("none"), n_images=4).opened().imported, "warm")  # compiled code is loaded before
    started, processor = time.perf_counter(), time.process_time()
    if workers:
        plan = Plan.of(source, "m", 0, "exact", None, workers[0])
        with Engine(workers[0]) as engine:
            found = scored_on(engine, plan, source, lambda: None)
    else:
        found = score_dump(source.opened().imported, "m")
    seconds, busy = time.perf_counter() - started, time.process_time() - processor
    cost = (
        f"{seconds:.1f} s, {1000 * seconds / n_images:.2f} ms an image ({1000 * busy / n_images:.2f} of this process's)"
    )
    print(f"{n_images} images, {n_categories} categories, {workers or 'this process'}: {cost}, ", end="")
    print(f"peak {peak_bytes() / 1e6:.0f} MB")
    print(hash(tuple(score.value for score in found.scores)))


def traffic() -> None:
    """Print the bytes of each round of a shard of one category, over its anomalous pixels."""
    n_images, _, n_shards = map(int, sys.argv[1:])
    source = Synthetic(Path("none"), n_images=n_images)
    plan = Plan.of(source, "m", 0, "exact", None, n_shards)
    jobs = [Job(source, plan.rules, shard, "c00") for shard in plan.shards]
    looks = [job.done() for job in jobs]
    against = thresholds("c00", looks, plan.rules)
    counts = [job._replace(against=against).done() for job in jobs]
    n_anomalous = n_images // 2 * DEFECT[0] * DEFECT[1]
    print(f"{n_images} images, {n_shards} shards, {n_anomalous} anomalous pixels, bytes for each of them: ", end="")
    print(f"looks of all shards {sum(map(len, looks)) / n_anomalous:.2f}, ", end="")
    print(f"thresholds to each {len(against) / n_anomalous:.2f}, counts of each {len(counts[0]) / n_anomalous:.2f}")


if __name__ == "__main__":
    main()
    if len(sys.argv) > 3:
        traffic()
