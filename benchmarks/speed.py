"""The race of the metric core against its peers: time, peak memory and deviation from the exact value."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks.peers import SCENES, TOOLS, Scene, Values, smooth

NOT_INSTALLED = "not installed"
LONGEST = 40.0  # seconds; a run is left out if it would take longer than this, judged by the next smaller size


@dataclass
class Run:
    """One tool on one scene: its times, or why there are none."""

    scene: str
    n_pixels: int
    tool: str
    seconds: list[float] = field(default_factory=list)
    values: Values = field(default_factory=dict)
    deviations: Values = field(default_factory=dict)
    peak_bytes: int | None = None
    left_out: str = ""

    @property
    def best(self) -> float:
        """The least time; other programs on the machine can only make it longer."""
        return min(self.seconds, default=float("nan"))


@dataclass(frozen=True)
class Plan:
    """What is raced: tools, and the sizes of each scene, ascending, in images of ``side`` x ``side`` pixels."""

    n_images: tuple[int, ...]
    side: int
    tools: tuple[str, ...] = tuple(TOOLS)

    @property
    def middle(self) -> int:
        """Images of the size at which most bars hold, and memory is measured."""
        return self.n_images[-2]


FULL = Plan((19, 76, 305), 512)  # 5, 20 and 80 million pixels
QUICK = Plan((8, 16), 64, ("ours", "ours_all", "scikit_learn"))


@dataclass(frozen=True)
class Speed:
    """All that was measured.

    Attributes:
        runs: every tool on every scene.
        plan: the sizes.
        first_calls: seconds that the first call takes longer than the next, by the state of numba's cache.
        streamed: extra memory on maps from files, over 250 MB + 24 bytes per anomalous pixel.
    """

    runs: list[Run]
    plan: Plan
    first_calls: Values
    streamed: float


def race(plan: Plan) -> Speed:
    """Measure everything; about ten minutes in full."""
    runs: list[Run] = []
    for name, make in SCENES.items():
        for n_images in plan.n_images:
            runs += _race(name, make(n_images, plan.side), plan.tools, runs)
    for run in runs:
        if run.seconds and run.scene == "smooth" and run.n_pixels == plan.middle * plan.side**2:
            run.peak_bytes = int(_in_fresh_process("peak", run.tool, str(plan.middle), str(plan.side)))
    with tempfile.TemporaryDirectory() as folder:
        first_calls = {
            "not compiled yet": float(_in_fresh_process("first_call", NUMBA_CACHE_DIR=folder)),
            "compiled before": min(float(_in_fresh_process("first_call")) for _ in range(3)),
        }
        scene = smooth(plan.middle, plan.side)
        np.save(f"{folder}/scores.npy", scene.scores)
        np.save(f"{folder}/masks.npy", scene.masks)
        return Speed(runs, plan, first_calls, float(_in_fresh_process("streamed", folder)))


def _race(scene_name: str, scene: Scene, tools: tuple[str, ...], before: list[Run]) -> Iterator[Run]:
    """All tools on one scene, in turns, after a warm-up; ours at least three times."""
    runs = {}
    for key in tools:
        if scene_name in TOOLS[key].scenes:
            runs[key] = Run(scene_name, scene.scores.size, key)
            runs[key].left_out = _left_out(runs[key], before)
    for run in runs.values():
        if not run.left_out:
            _attempt(run, Scene(scene.scores[:2], scene.masks[:2]))
            run.seconds.clear()
    for turn in range(3):
        for run in runs.values():
            if run.left_out or (turn and sum(run.seconds) > LONGEST / 4):
                continue
            _attempt(run, scene)
    for run in runs.values():
        exact = runs["ours_all"].values
        run.deviations = {key: value - exact[key] for key, value in run.values.items() if key in exact}
        yield run


def _attempt(run: Run, scene: Scene) -> None:
    """Run a tool once; a peer that fails is left out, with its error message."""
    tool = TOOLS[run.tool]
    start = time.perf_counter()
    try:
        run.values = tool.run(scene)
    except Exception as error:
        if not tool.match:
            raise
        run.left_out = f"failed: {error}"
        return
    run.seconds.append(time.perf_counter() - start)
    print(f"{run.scene:8} {scene.scores.size:>11,} {tool.label:40} {run.seconds[-1]:8.3f} s", flush=True)


def _left_out(run: Run, before: list[Run]) -> str:
    if installed_version(TOOLS[run.tool].package) == NOT_INSTALLED:
        return NOT_INSTALLED
    smaller = [other for other in before if (other.scene, other.tool) == (run.scene, run.tool)]
    if smaller and smaller[-1].left_out:
        return smaller[-1].left_out
    if smaller and smaller[-1].best * run.n_pixels / smaller[-1].n_pixels > LONGEST:
        return f"would take longer than {LONGEST:.0f} s"
    return ""


def _in_fresh_process(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "benchmarks.fresh", *arguments]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        command, cwd=root, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.split()[-1]


def installed_version(package: str) -> str:
    """Version of an installed package, or `NOT_INSTALLED`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED
