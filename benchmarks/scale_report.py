"""Runs the measurements of `benchmarks.scale`, each in a process of its own, and writes scale.md and scale.json."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from aseg_bench.files import written_whole
from benchmarks.scale import EDGE, N_WORKERS, Row, n_anomalous

Rows = Mapping[str, Row]
_KEPT_SCORES = ("pixel_auroc", "pixel_ap", "pixel_f1_max")
_SIZES = (10**6, 10**7, 10**8, 10**9)  # images, extrapolated
_IN = {"alone": "1", "core": "1, on one core", "workers": f"{N_WORKERS} (--workers)", "dask": f"{N_WORKERS} (--dask)"}


class Run(NamedTuple):
    """A measurement: function of `benchmarks.scale`, arguments, images first, and how often; the fastest counts."""

    what: str
    n_images: int
    others: tuple[int | str, ...] = ()
    n_times: int = 1


FULL = {
    "2000": Run("score", 2_000, (1, "alone")),
    "10000": Run("score", 10_000, (1, "alone")),
    "20000": Run("score", 20_000, (1, "alone")),
    "mvtec": Run("score", 1_725, (15, "alone"), 3),
    "mvtec-core": Run("score", 1_725, (15, "core"), 3),
    "mvtec-workers": Run("score", 1_725, (15, "workers"), 3),
    "mvtec-dask": Run("score", 1_725, (15, "dask"), 3),
    "real-iad": Run("score", 151_050, (30, "alone")),
    "real-iad-workers": Run("score", 151_050, (30, "workers")),
    "wire-2": Run("traffic", 800, (2,)),
    "wire-16": Run("traffic", 1_600, (16,)),
    "bounded-10000": Run("bound", 10_000),
    "bounded-100000": Run("bound", 100_000),
    "bounded-1000000": Run("bound", 1_000_000),
}
_QUICK_SIZES = {"2000": 10, "20000": 20, "mvtec-core": 15, "mvtec-dask": 15, "wire-2": 4, "bounded-10000": 20}
QUICK = {name: FULL[name]._replace(n_images=n_images, n_times=1) for name, n_images in _QUICK_SIZES.items()}


def write_report(out: Path, only: Sequence[str] = (), quick: bool = False) -> None:
    """Measure, and write ``scale.md`` and ``scale.json``; what is not measured now stays as it was.

    Args:
        out: where the measurements go.
        only: names of the measurements, of ``FULL``; none takes all.
        quick: of few images, to try this program.
    """
    runs, file = QUICK if quick else FULL, out / "scale.json"
    before = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else {}
    rows = {name: row for name, row in before.items() if name in runs and row["n_images"] == runs[name].n_images}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    for name, run in runs.items():
        if only and name not in only:
            continue
        fastest = min((measured(run) for _ in range(run.n_times)), key=lambda row: float(row.get("seconds", 0)))
        rows[name] = {"n_images": run.n_images, **fastest}
        print(name, rows[name], flush=True)
        rows = {name: rows[name] for name in runs if name in rows}
        with written_whole(file) as temporary:  # after each, some of which take long
            temporary.write_text(json.dumps({"machine": machine, "runs": rows}, indent=2) + "\n", encoding="utf-8")
    command = f"python benchmark.py scale{' --quick' if quick else ''}"
    with written_whole(out / "scale.md") as temporary:
        temporary.write_text("\n".join(_text(rows, runs, f"`{command}` on {machine}")), encoding="utf-8")


def measured(run: Run) -> Row:
    """A measurement in a process of its own."""
    words = [run.what, str(run.n_images), *map(str, run.others)]
    fresh = [sys.executable, "-m", "benchmarks.scale", *words]
    done = subprocess.run(fresh, check=True, stdout=subprocess.PIPE, text=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _text(rows: Rows, runs: Mapping[str, Run], made_by: str) -> Iterator[str]:
    yield "# Scale: time, memory and traffic as images grow in number\n"
    yield (
        f"Written by {made_by}. float32 maps of {EDGE} x {EDGE} pixels, noise in which hardly two pixels tie, half of "
        "them with a defect of 1 % of the image, scored by the usual metrics. No map lies in a file: each is made when "
        "it is read, and making one is part of all times. Of three runs on 1,725 images the fastest "
        "counts. What the columns mean, and what follows: docs/scale.md.\n"
    )
    yield from _table("Claims", ("what", "measured", "bar", "holds"), _bars(rows))
    titles: Sequence[str]
    titles = ("name", "images", "categories", "processes", "seconds", "ms an image", "processor ms an image",
              "of it for a map made once", "peak (MB)", "peak of a worker (MB)")  # fmt: skip
    yield from _table("Exact", titles, (_scored(name, rows[name], runs[name]) for name in _of(rows, runs, "score")))
    titles = ("name", "images", "shards", "first rounds, all shards", "thresholds, to each", "counts, from each",
              "in all, of each")  # fmt: skip
    yield from _table(
        "Bytes over the wire for each anomalous pixel of a category",
        titles,
        (_sent(name, rows[name], runs[name]) for name in _of(rows, runs, "traffic")),
    )
    titles = ("name", "images", "ms an image", "processor ms an image", "peak (MB)", "metric", "lower bound", "exact",
              "upper bound", "distance")  # fmt: skip
    yield from _table("Bounded", titles, _bounded(rows, runs))
    yield from _extrapolated(rows, runs)


def _table(title: str, titles: Sequence[str], rows: Iterator[Sequence[object]]) -> Iterator[str]:
    listed = list(rows)
    if listed:
        yield f"## {title}\n"
        yield tabulate(listed, headers=titles, tablefmt="pipe", disable_numparse=True)
        yield ""


def _of(rows: Rows, runs: Mapping[str, Run], what: str) -> list[str]:
    return [name for name in rows if runs[name].what == what]


def _ms(row: Row, of: str = "seconds") -> float:
    return float(1000 * row[of] / row["n_images"])


def _in_all(row: Row, run: Run) -> float:
    """Bytes that a shard sends and gets for each anomalous pixel of the category."""
    return float(row["looks"] / int(run.others[0]) + row["thresholds"] + row["counts"])


def _bars(rows: Rows) -> Iterator[Sequence[object]]:
    few, many = (rows.get(name) for name in ("2000", "20000"))
    if many:
        what = f"peak memory of {many['n_images']:,} maps of one category, in one process"
        yield _bar(what, many["peak_mb"], "MB", at_most=1000)
    if few and many:
        what = f"processor time per image of {many['n_images']:,} maps over that of {few['n_images']:,}"
        yield _bar(what, _ms(many, "processor_seconds") / _ms(few, "processor_seconds"), "times", at_most=1.2)
    for name in ("mvtec-core", "mvtec"):
        if {name, "mvtec-dask"} <= rows.keys():
            alone, shared = rows[name], rows["mvtec-dask"]
            what = f"two Dask workers over one process{' on one core' if name == 'mvtec-core' else ''}"
            yield _bar(what, alone["seconds"] / shared["seconds"], "times as fast", at_least=1.6)
    for alone_name in ("mvtec", "real-iad", "mvtec-core"):
        for name in ("mvtec-workers", "mvtec-dask", "real-iad-workers"):
            if name.startswith(alone_name.removesuffix("-core")) and {alone_name, name} <= rows.keys():
                same = rows[alone_name]["digits"] == rows[name]["digits"]
                yield f"digits of {name} and {alone_name}", "equal" if same else "differ", "equal", _said(same)
    sent = [_in_all(rows[name], FULL[name]) for name in rows if FULL[name].what == "traffic"]
    if sent:
        yield _bar("bytes over the wire for each anomalous pixel, of a shard", max(sent), "bytes", at_most=12)


def _bar(
    what: str, value: float, unit: str, at_most: float = float("inf"), at_least: float = 0.0
) -> tuple[str, str, str, str]:
    bar = f"at least {at_least:g}" if at_least else f"at most {at_most:g}"
    return what, f"{value:.3g} {unit}", bar, _said(at_least <= value <= at_most)


def _said(holds: bool) -> str:
    return "yes" if holds else "no"


def _scored(name: str, row: Row, run: Run) -> Sequence[object]:
    n_categories, where = run.others
    ms, busy = f"{_ms(row):.2f}", f"{_ms(row, 'processor_seconds'):.2f}"
    worker = f"{row['worker_peak_mb']:.0f}" if where in ("workers", "dask") else ""
    own = f"{row['peak_mb']:.0f}"
    return name, f"{run.n_images:,}", n_categories, _IN[str(where)], f"{row['seconds']:.1f}", ms, busy, (
        f"{row['making_ms']:.2f}"
    ), own, worker  # fmt: skip


def _sent(name: str, row: Row, run: Run) -> Sequence[object]:
    parts = [f"{row[key]:.1f}" for key in ("looks", "thresholds", "counts")]
    return name, f"{run.n_images:,}", run.others[0], *parts, f"{_in_all(row, run):.1f}"


def _bounded(rows: Rows, runs: Mapping[str, Run]) -> Iterator[Sequence[object]]:
    exact = {
        runs[name].n_images: rows[name]["values"] for name in _of(rows, runs, "score") if runs[name].others[0] == 1
    }
    for name in _of(rows, runs, "bound"):
        row, first = rows[name], True
        cost = (f"{_ms(row):.2f}", f"{_ms(row, 'processor_seconds'):.2f}", f"{row['peak_mb']:.0f}")
        for key in _KEPT_SCORES:
            lower, upper = row["bounds"][key]
            value = f"{exact[row['n_images']][key]:.8f}" if row["n_images"] in exact else "–"
            head = (name, f"{row['n_images']:,}", *cost) if first else ("",) * 5
            yield *head, key, f"{lower:.8f}", value, f"{upper:.8f}", f"{upper - lower:.1e}"
            first = False


def _extrapolated(rows: Rows, runs: Mapping[str, Run]) -> Iterator[str]:
    """What no machine here has done: straight lines through what was measured."""
    bounded = _of(rows, runs, "bound")
    if not {"2000", "20000"} <= rows.keys() or not bounded:
        return
    few, many, last = rows["2000"], rows["20000"], rows[bounded[-1]]
    n_more = n_anomalous(many["n_images"]) - n_anomalous(few["n_images"])
    per_pixel = 1e6 * (many["peak_mb"] - few["peak_mb"]) / n_more
    table = []
    for n_images in _SIZES:
        gigabytes = (1e6 * many["peak_mb"] + per_pixel * (n_anomalous(n_images) - n_anomalous(many["n_images"]))) / 1e9
        days = [_ms(row, "processor_seconds") * n_images / 1000 / 86_400 for row in (many, last)]
        table.append(
            (f"{n_images:,}", f"{gigabytes:,.0f}", f"{days[0]:.2g}", f"{last['peak_mb'] / 1000:.2f}", f"{days[1]:.2g}")
        )
    yield "## Extrapolated, not measured: one category, one process\n"
    yield (
        f"Straight lines: the exact method takes {per_pixel:.0f} bytes more for each anomalous pixel from "
        f"{few['n_images']:,} to {many['n_images']:,} images, and both take the processor time per image of their "
        "largest run above.\n"
    )
    titles = (
        "images",
        "exact: memory (GB)",
        "exact: processor days",
        "bounded: memory (GB)",
        "bounded: processor days",
    )
    yield tabulate(table, headers=titles, tablefmt="pipe", disable_numparse=True)
    yield ""
