"""Measurements that each need a new process: ``python -m benchmarks.fresh peak ours_all 76 512``."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def peak(tool: str, n_images: str, side: str) -> int:
    """Extra bytes that a tool takes at its peak, on smooth maps, after a warm-up."""
    from benchmarks.peers import TOOLS, Scene, smooth

    scene = smooth(int(n_images), int(side))
    TOOLS[tool].run(Scene(scene.scores[:4], scene.masks[:4]))
    before = _reset_peak()
    TOOLS[tool].run(scene)
    return _resident("VmHWM") - before


def streamed(folder: str) -> float:
    """Extra peak of all metrics on maps read one by one, over 250 MB + 24 bytes per anomalous pixel."""
    from aseg_bench.metrics import evaluate_maps

    scores, masks = _FromFile(Path(folder) / "scores.npy"), _FromFile(Path(folder) / "masks.npy")
    evaluate_maps([scores[i] for i in range(4)], [masks[i] for i in range(4)])
    before = _reset_peak()
    evaluate_maps(scores, masks)
    extra = _resident("VmHWM") - before
    return extra / (250e6 + 24 * sum(int(masks[i].sum()) for i in range(len(masks))))


def command(*words: str) -> int:
    """Peak of the whole process after a command of `aseg-bench`, in bytes."""
    from aseg_bench.cli import main

    sys.argv = ["aseg-bench", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    return _resident("VmHWM")


def first_call() -> float:
    """How many seconds longer importing the core and its first call take than the next call."""
    rng = np.random.default_rng(0)
    scores, masks = rng.random((4, 64, 64), dtype=np.float32), rng.random((4, 64, 64)) < 0.1
    masks[0] = False
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        from aseg_bench import evaluate_maps

        evaluate_maps(scores, masks)
        seconds.append(time.perf_counter() - start)
    return seconds[0] - seconds[1]


class _FromFile(Sequence[NDArray[Any]]):
    """Maps that are read, one copy at a time, when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = len(np.load(path, mmap_mode="r"))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return np.array(np.load(self.path, mmap_mode="r")[index])


def _reset_peak() -> int:
    """Forget the peak so far; return the resident bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _resident(which: str) -> int:
    """Resident bytes of this process now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{which}:")[1].split()[0])


if __name__ == "__main__":
    works = {"peak": peak, "streamed": streamed, "command": command, "first_call": first_call}
    print(works[sys.argv[1]](*sys.argv[2:]))  # type: ignore[operator]
