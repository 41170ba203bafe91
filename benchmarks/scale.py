"""What scoring costs as images grow in number: synthetic maps of 224 x 224, made when they are read, in no file.

Each measurement needs a new process: ``python -m benchmarks.scale score 2000 1 alone`` prints one as JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.metrics import BoundedStream
from aseg_bench.predictions.imported import OWN_DATASET, ImportedMaps
from aseg_bench.predictions.records import Found, FoundMap, Reader
from aseg_bench.records import Sample
from aseg_bench.runs.engines import Engine
from aseg_bench.runs.memory import peak_bytes
from aseg_bench.runs.shards import Job, Plan, scored_on
from aseg_bench.runs.sources import Opened, Source
from aseg_bench.scoring.dumps import ScoredDump, score_dump
from aseg_bench.scoring.shards import thresholds

NO_FILES = Reader("none", "nothing", lambda files: False, lambda path, limits: Found([]))
EDGE, DEFECT = 224, (25, 20)  # pixels; 1 % of an image that shows a defect, as every second one does
N_WORKERS = 2
AS_DOCUMENTED = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}  # of Dask
Row = dict[str, Any]


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


def n_anomalous(n_images: int) -> int:
    """Anomalous pixels of so many images of a category."""
    return n_images // 2 * DEFECT[0] * DEFECT[1]


@dataclass(frozen=True)
class Synthetic(Source):
    """A source without files: so many images in all, the same in each category."""

    n_images: int = 0
    n_categories: int = 1

    def opened(self) -> Opened:
        """Names alone; maps and masks are made when they are read."""
        return _opened(self)


@lru_cache(maxsize=1)
def _opened(source: Synthetic) -> Opened:
    found = {}
    for category in (f"c{number:02}" for number in range(source.n_categories)):
        places = range(source.n_images // source.n_categories)
        found[category] = [
            (
                Sample(OWN_DATASET, category, "test", "cut" if place % 2 else "good", f"{place:06}", Path("none.png")),
                FoundMap(Path(f"{category}/{place}"), partial(scores, place), read_mask=partial(truth, place)),
            )
            for place in places
        ]
    return Opened(ImportedMaps(source.maps, NO_FILES, found, {}, {"": []}, True, True), None, None)


def score(n_images: str, n_categories: str, where: str) -> Row:
    """Time, memory and digits of scoring so many images in all.

    Args:
        n_images: of all categories.
        n_categories: all of one size.
        where: ``alone`` in this process, ``core`` likewise on one core, ``workers`` in two processes that are started
            for it, ``dask`` on two workers of a Dask cluster that runs already.
    """
    if where == "core":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    source = Synthetic(Path("none"), n_images=int(n_images), n_categories=int(n_categories))
    few = Synthetic(Path("none"), n_images=4)
    score_dump(few.opened().imported, "warm")  # compiled code is loaded before
    with _ways(where) as way:
        if where == "dask":
            way(few)
        started, processor = time.perf_counter(), time.process_time()
        found = way(source)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    digits = [(one.case.category, one.metric, one.value) for one in found.scores]
    first = {metric: value for category, metric, value in digits if category == "c00"}
    return {
        "seconds": seconds,
        "processor_seconds": processor + children.ru_utime + children.ru_stime,
        "peak_mb": peak_bytes() / 1e6,
        "worker_peak_mb": children.ru_maxrss * 1024 / 1e6,
        "digits": sha256(repr(digits).encode()).hexdigest(),
        "values": {key: first[key] for key in ("pixel_auroc", "pixel_ap", "pixel_f1_max")},
        "making_ms": _making_ms(),
    }


@contextmanager
def _ways(where: str) -> Iterator[Callable[[Synthetic], ScoredDump]]:
    """How a source is scored."""
    if where in ("alone", "core"):
        yield lambda source: score_dump(source.opened().imported, "m")
        return

    def on(dask: str | None, source: Synthetic) -> ScoredDump:
        with Engine(N_WORKERS, dask) as engine:
            plan = Plan.of(source, "m", 0, "exact", None, engine.n_workers)
            return scored_on(engine, plan, source, lambda: None)

    if where == "workers":
        yield partial(on, None)
        return
    os.environ.update(AS_DOCUMENTED)
    from distributed import LocalCluster

    with LocalCluster(n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster:
        yield partial(on, cluster.scheduler_address)


def traffic(n_images: str, n_shards: str) -> Row:
    """Bytes of each round of the shards of one category, for each of its anomalous pixels."""
    source = Synthetic(Path("none"), n_images=int(n_images))
    plan = Plan.of(source, "m", 0, "exact", None, int(n_shards))
    jobs = [Job(source, plan.rules, shard, "c00") for shard in plan.shards]
    looks = [job.done() for job in jobs]
    against = thresholds("c00", looks, plan.rules)
    counts = jobs[0]._replace(against=against).done()
    n_pixels = n_anomalous(int(n_images))
    return {
        "looks": sum(map(len, looks)) / n_pixels,
        "thresholds": len(against) / n_pixels,
        "counts": len(counts) / n_pixels,
    }


def bound(n_images: str) -> Row:
    """Time, memory and bounds of a stream of so many images, those of one category."""
    stream = BoundedStream()
    stream.update(scores(0), truth(0) > 0)  # compiled code is loaded before
    stream = BoundedStream()
    started, processor = time.perf_counter(), time.process_time()
    for index in range(int(n_images)):
        stream.update(scores(index), truth(index) > 0)
    found = stream.compute()
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "peak_mb": peak_bytes() / 1e6,
        "bounds": {key: list(bounds) for key, bounds in found.items()},
        "making_ms": _making_ms(),
    }


def _making_ms() -> float:
    """Processor time of a map, which stands for reading one."""
    started, n_maps = time.process_time(), 200
    for index in range(n_maps):
        scores(index)
    return 1000 * (time.process_time() - started) / n_maps


if __name__ == "__main__":
    from benchmarks import scale  # under the name by which workers find it

    print(json.dumps(getattr(scale, sys.argv[1])(*sys.argv[2:])))
