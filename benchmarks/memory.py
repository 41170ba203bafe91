"""Peak memory of scoring someone else's maps: each command in a process of its own, on few and on many maps."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image
from tabulate import tabulate

from aseg_bench.files import written_whole

COMMANDS = {
    "eval, a TIFF file per map": ("eval", "{dump}/tiff"),
    "eval, all maps in one npz": ("eval", "{dump}/screw.npz"),
    "run, a TIFF file per map": ("run", "--no-page", "--methods", "mine=maps:{dump}/tiff"),
}
_TITLES = ("command", "images", "peak (MB)", "seconds", "MB per further map", "MB of a map")


class Size(NamedTuple):
    """Two numbers of test images, and the edge of their maps in pixels."""

    few: int
    many: int
    edge: int


FULL, QUICK = Size(10, 150, 1024), Size(2, 4, 64)


def write_report(out: Path, work: Path, quick: bool = False) -> None:
    """Make maps, score them and write ``memory.md`` and ``memory.json``.

    Args:
        out: where the measurements go.
        work: scratch folder; about 3 GB.
        quick: on a handful of small maps, to try this program.
    """
    size = QUICK if quick else FULL
    rows = []
    for n_images in (size.few, size.many):
        make_maps(work / str(n_images), n_images, size.edge)
    for title, command in COMMANDS.items():
        few, many = (measure(command, work / str(n_images)) for n_images in (size.few, size.many))
        growth = (many[0] - few[0]) / (size.many - size.few)
        for n_images, (peak, seconds) in ((size.few, few), (size.many, many)):
            more = round(growth, 2) if n_images == size.many else None
            rows.append((title, n_images, round(peak), round(seconds, 1), more, round(size.edge**2 * 4 / 1e6, 1)))
        print(*rows[-1])
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    text = [
        "# Memory of scoring maps\n",
        f"Written by `python benchmark.py memory{' --quick' if quick else ''}` on {machine}. float32 maps of "
        f"{size.edge} x {size.edge} pixels, 1 % of them anomalous in two images of three, scored by the usual metrics; "
        "the peak is the whole process's, Python and libraries included.\n",
        tabulate(rows, headers=_TITLES, tablefmt="pipe"),
        "",
    ]
    with written_whole(out / "memory.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    with written_whole(out / "memory.json") as temporary:
        content = {"machine": machine, "rows": [dict(zip(_TITLES, row, strict=True)) for row in rows]}
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def make_maps(folder: Path, n_images: int, edge: int) -> None:
    """A data set of one category in ``folder/data``, and its maps as TIFF files and as one npz in ``folder/dump``."""
    rng = np.random.default_rng(0)
    mask = np.zeros((edge, edge), np.uint8)
    mask[: edge // 10, : edge // 10] = 255
    maps = np.empty((n_images, edge, edge), np.float32)
    paths: list[str] = []
    for place in ("train/good/000", *(f"test/{('good', 'cut', 'hole')[i % 3]}/{i:03}" for i in range(n_images))):
        image = folder / "data" / "screw" / f"{place}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (edge, edge), (90, 90, len(paths))).save(image)
        if place.startswith("train"):
            continue
        scores = maps[len(paths)] = rng.standard_normal((edge, edge), dtype=np.float32)
        paths.append(f"screw/{place}.png")
        if "good" not in place:
            truth = folder / "data" / "screw" / "ground_truth" / f"{place.removeprefix('test/')}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(truth)
            scores[mask > 0] += 9
        file = folder / "dump" / "tiff" / "screw" / f"{place}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, scores)
    np.savez(folder / "dump" / "screw.npz", segmentations=maps, paths=paths)


def measure(command: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Peak of one command's process in MB, and its seconds."""
    words = [word.format(dump=folder / "dump") for word in command]
    place = ["--dataset", "mvtec_ad", "--data-root", folder / "data", "--out", folder / "out" / command[0], "--quiet"]
    started = time.perf_counter()
    fresh = [sys.executable, "-m", "benchmarks.fresh", "command", *words, *map(str, place)]
    done = subprocess.run(fresh, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1]) / 1e6, time.perf_counter() - started
