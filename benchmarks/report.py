"""Time and memory of a report on as many test images as MVTec-AD has: tables, figures, page, comparison."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tabulate import tabulate

from aseg_bench.datasets import DATASETS
from aseg_bench.files import written_whole
from aseg_bench.predictions.store import MapStore
from aseg_bench.records import AnomalyMap, Sample
from benchmarks.browser import chromium, why_not

NOISE = {"first": 0.3, "second": 0.5, "third": 0.8, "fourth": 1.2, "fifth": 2.0}  # of the methods
_PROGRAM = Path(sys.executable).with_name("aseg-bench")
N_DEFECTS = 4  # kinds, in turn


@dataclass(frozen=True)
class Size:
    """How much there is to report: test images by category, methods, and the edge of an image in pixels."""

    categories: dict[str, tuple[int, int]]
    methods: tuple[str, ...]
    edge: int


MVTEC_AD = {name: (counts.test_good, counts.test_anomalous) for name, counts in DATASETS["mvtec_ad"].counts.items()}
FULL = Size(MVTEC_AD, tuple(NOISE), 224)
QUICK = Size({"screw": (3, 5), "wood": (3, 5)}, ("first", "second"), 64)


@dataclass(frozen=True)
class Measured:
    """One bar: what was measured, its value with the unit, and the bar."""

    what: str
    value: float
    unit: str
    at_most: float

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The bar in print."""
        holds = "yes" if self.value <= self.at_most else "no"
        return self.what, f"{self.value:.3g} {self.unit}", f"{self.at_most:g} {self.unit}", holds


def write_report(out: Path, work: Path, quick: bool = False) -> None:
    """Make data and maps, report on them and write ``report.md`` and ``report.json``.

    Args:
        out: where the measurements go.
        work: scratch folder for data, maps and page; about 5 GB.
        quick: on a handful of images, to try this program.
    """
    size = QUICK if quick else FULL
    make_run(work, size)
    bars = [*measure_commands(work / "run", size), *measure_page(work / "run" / "report" / "report.html", size)]
    n_images = sum(map(sum, size.categories.values()))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    text = [
        "# Reports: time, memory and size\n",
        f"Written by `python benchmark.py report{' --quick' if quick else ''}` on {machine}: {len(size.methods)} "
        f"methods, {len(size.categories)} categories, {n_images} test images of {size.edge} x {size.edge} pixels. "
        "MVTec-AD has 15 and 1,725. The maps are smooth and synthetic, seed 0. Times run from a command's start.\n",
        tabulate([bar.row for bar in bars], headers=["what", "measured", "bar", "holds"], tablefmt="pipe"),
        "",
        *([f"The page was not opened: {why_not()}.", ""] if why_not() else []),
    ]
    with written_whole(out / "report.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    with written_whole(out / "report.json") as temporary:
        content = {"machine": machine, "bars": [vars(bar) for bar in bars]}
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def make_run(work: Path, size: Size) -> None:
    """Make a scored run in ``work/run``, of images in ``work/data`` and maps, both made here."""
    jobs = [partial(_make_category, work, size, name) for name in size.categories]
    Parallel(n_jobs=-1)(delayed(job)() for job in jobs)
    methods = ",".join(f"{name}=maps:{work / 'dump' / name / 'mvtec_ad'}" for name in size.methods)
    data = ["--dataset", "mvtec_ad", "--data-root", work / "data"]
    _aseg_bench("run", "--methods", methods, *data, "--out", work / "run", "--no-page", "--quiet")


def _make_category(work: Path, size: Size, category: str) -> None:
    rng = np.random.default_rng([0, list(size.categories).index(category)])
    n_normal, n_anomalous = size.categories[category]
    data, store = work / "data" / category, MapStore(work / "dump")
    (data / "train" / "good").mkdir(parents=True, exist_ok=True)
    Image.fromarray(_photo(rng, size.edge)).save(data / "train" / "good" / "000.png")
    for number in range(n_normal + n_anomalous):
        defect = "good" if number < n_normal else f"defect{number % N_DEFECTS}"
        stem = f"{number:03}"
        mask = _mask(rng, size.edge) if defect != "good" else np.zeros((size.edge, size.edge), np.bool_)
        image = data / "test" / defect / f"{stem}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_photo(rng, size.edge)).save(image)
        if defect != "good":
            truth = data / "ground_truth" / defect / f"{stem}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 * mask.astype(np.uint8)).save(truth)
        sample = Sample("mvtec_ad", category, "test", defect, stem, image)
        for method in size.methods:
            store.write(method, AnomalyMap(sample, _scores(rng, mask, NOISE[method])))


def _photo(rng: np.random.Generator, edge: int) -> NDArray[np.uint8]:
    coarse = rng.integers(60, 200, (edge // 16, edge // 16, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((edge, edge), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy: NDArray[np.int64] = np.clip(smooth + rng.integers(-12, 12, smooth.shape), 0, 255)
    return noisy.astype(np.uint8)


def _mask(rng: np.random.Generator, edge: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:edge, :edge]
    mask = np.zeros((edge, edge), np.bool_)
    for _ in range(rng.integers(1, 4)):
        radius = edge * rng.uniform(0.02, 0.1)
        row, column = rng.uniform(radius, edge - radius, 2)
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return mask


def _scores(rng: np.random.Generator, mask: NDArray[np.bool_], noise: float) -> NDArray[np.float32]:
    edge = len(mask)
    coarse = rng.standard_normal((edge // 8, edge // 8), dtype=np.float32)
    blob = ndimage.uniform_filter(mask.astype(np.float32), 9) * rng.uniform(0.5, 2)
    grain = rng.standard_normal(mask.shape, dtype=np.float32)
    scores: NDArray[np.float32] = np.exp(blob + noise * 0.3 * ndimage.zoom(coarse, 8, order=1) + 0.01 * grain)
    return scores


def measure_commands(run: Path, size: Size) -> list[Measured]:
    """Times of ``report`` and ``compare``, memory of the largest process, and the size of the page."""
    started, clock = time.time(), time.perf_counter()
    peak = _peak("report", run, "--quiet")
    whole = time.perf_counter() - clock
    drawn = max(path.stat().st_mtime for path in (run / "report" / "figures").iterdir()) - started
    n_bytes = sum(path.stat().st_size for path in (run / "report").rglob("*") if path.is_file())
    clock = time.perf_counter()
    _aseg_bench("compare", run, "--methods", ",".join(size.methods[:2]), "--quiet")
    compared = time.perf_counter() - clock
    return [
        Measured("`report`: tables and figures are written", drawn, "s", 60),
        Measured("`report`: the page with its gallery is written", whole, "s", 300),
        Measured("`report`: page, gallery and figures on disk", n_bytes / 1e6, "MB", 400),
        Measured("`report`: memory of its largest process, at the peak", peak, "MB", 1000),
        Measured("`compare`: two methods, 1,000 replicates", compared, "s", 30),
    ]


def measure_page(page: Path, size: Size) -> list[Measured]:
    """How long Chromium takes to show the summary and a gallery, and how fast the picture follows the slider."""
    if why_not():
        return []
    largest = sorted(size.categories, key=lambda name: abs(sum(size.categories[name]) - 150))[0]
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1200, "height": 800})
        clock = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.locator("#summary table").first.wait_for()
        opened = time.perf_counter() - clock
        clock = time.perf_counter()
        tab.select_option("#category", label=f"MVTec-AD / {largest}")
        tab.locator("#gallery").scroll_into_view_if_needed()
        tab.wait_for_function(
            "() => { const images = [...document.querySelectorAll('.card img')];"
            " return images.length && images.every((image) => image.complete) }"
        )
        shown = time.perf_counter() - clock
        seconds = tab.evaluate(
            """async () => {
                const slider = document.querySelector(".slider"), frame = () => new Promise(requestAnimationFrame);
                await frame();
                const started = performance.now();
                for (let step = 1; step <= 90; step++) {
                    slider.value = slider.max * step / 90;
                    slider.dispatchEvent(new Event("input"));
                    await frame();
                }
                return (performance.now() - started) / 1000 / 90;
            }"""
        )
    n_images = sum(size.categories[largest])
    return [
        Measured("Chromium shows the summary", opened, "s", 2),
        Measured(f"Chromium shows a gallery of {n_images} images", shown, "s", 3),
        Measured("a frame after the slider moved (30 frames per second)", 1000 * seconds, "ms", 1000 / 30),
    ]


def _aseg_bench(*arguments: object) -> None:
    subprocess.run([_PROGRAM, *map(str, arguments)], check=True)


def _peak(*arguments: object) -> float:
    """Run a command; returns what its largest process takes, in MB: not that of commands that ran before."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, str(_PROGRAM), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1]) * 1024 / 1e6
