"""The report of the race: the bars, the tables and the plot under reports/."""

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from tabulate import tabulate

from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS
from benchmarks.peers import SCENES, TOOLS
from benchmarks.speed import Speed, installed_version

mpl.use("agg")


@dataclass(frozen=True)
class Bar:
    """A bar, and what was measured."""

    what: str
    bar: str
    measured: float | None
    holds: bool

    def row(self) -> list[str]:
        """Its row of the table."""
        number = "not measured" if self.measured is None else f"{self.measured:.3g}"
        return [self.what, self.bar, number, "yes" if self.holds else "-" if self.measured is None else "NO"]


def bars_of(speed: Speed) -> list[Bar]:
    """Every bar, at the largest size that both of its sides were measured at, up to the middle one."""
    middle = speed.plan.middle * speed.plan.side**2
    by = {(run.scene, run.tool, run.n_pixels): run for run in speed.runs if run.seconds}

    def at_least(what: str, bar: float, scene: str, mine: str, peer: str) -> Bar:
        sizes = [size for name, tool, size in by if (name, tool) == (scene, peer) and size <= middle]
        if not sizes:
            return Bar(what, f">= {bar:g} x", None, False)
        ratio = by[scene, peer, max(sizes)].best / by[scene, mine, max(sizes)].best
        return Bar(f"{what}, {max(sizes):,} pixels", f">= {bar:g} x", ratio, ratio >= bar)

    def at_most(what: str, bar: float, measured: float | None) -> Bar:
        return Bar(what, f"<= {bar:g}", measured, measured is not None and measured <= bar)

    small, large = min(size for _, _, size in by), max(size for _, _, size in by)

    def growth(tool: str) -> float:
        a, b = by["smooth", tool, small], by["smooth", tool, large]
        return (b.best / b.n_pixels) / (a.best / a.n_pixels)

    sklearn = [run for run in by.values() if run.tool == "scikit_learn"]
    all_metrics = by["smooth", "ours_all", middle]
    share = None if all_metrics.peak_bytes is None else all_metrics.peak_bytes / (4 * all_metrics.n_pixels)
    return [
        at_least("AUROC, AP, PR threshold against scikit-learn", 60, "smooth", "ours", "scikit_learn"),
        at_least("all metrics against scikit-learn's three calls", 20, "smooth", "ours_all", "scikit_learn"),
        at_least("against torchmetrics, exact AUROC and AP", 10, "smooth", "ours", "torchmetrics"),
        at_least("against anomalib's AUPRO", 10, "smooth", "ours_aupro", "anomalib_aupro"),
        at_least("against anomalib's AUPIMO", 50, "smooth", "ours_aupimo", "anomalib_aupimo"),
        at_least("against ADEval", 1, "smooth", "ours_with_aupro", "adeval"),
        at_least("worst case against scikit-learn", 10, "worst", "ours", "scikit_learn"),
        at_least("few scores against scikit-learn", 10, "few", "ours", "scikit_learn"),
        at_most(f"time per pixel at {large:,} against {small:,}, curve", 1.3, growth("ours")),
        at_most(f"time per pixel at {large:,} against {small:,}, all metrics", 1.3, growth("ours_all")),
        at_most("extra memory of all metrics, share of the scores' bytes", 0.5, share),
        at_most("extra memory from files, over 250 MB + 24 bytes per anomalous pixel", 1.0, speed.streamed),
        at_most(
            "largest deviation from scikit-learn",
            1e-12,
            max((abs(d) for run in sklearn for d in run.deviations.values()), default=None),
        ),
        at_most("seconds the first call lasts longer, compiled before", 3.0, speed.first_calls["compiled before"]),
    ]


def write_report(out: Path, speed: Speed) -> None:
    """Write speed.md, speed.csv, speed.json and speed.png into a folder."""
    bars = bars_of(speed)
    rows = pd.DataFrame(
        {
            "scene": run.scene,
            "pixels": run.n_pixels,
            "tool": run.tool,
            "seconds": run.best,
            "runs": len(run.seconds),
            "extra_peak_bytes": run.peak_bytes,
            "largest_deviation": max((abs(d) for d in run.deviations.values()), default=None),
            "left_out": run.left_out,
        }
        for run in speed.runs
    )
    conditions = {
        "cores": joblib.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "versions": {
            name: installed_version(name)
            for name in (*dict.fromkeys(t.package for t in TOOLS.values()), "numba", "numpy")
        },
    }
    with written_whole(out / "speed.csv") as path:
        rows.to_csv(path, index=False)
    with written_whole(out / "speed.json") as path:
        record = {
            "conditions": conditions,
            "first_call_extra_seconds": speed.first_calls,
            "bars": [asdict(b) for b in bars],
        }
        path.write_text(
            json.dumps(record | {"runs": [asdict(run) for run in speed.runs]}, indent=1) + "\n", encoding="utf-8"
        )
    with written_whole(out / "speed.md") as path:
        path.write_text(_markdown(rows, bars, conditions, speed), encoding="utf-8")
    with written_whole(out / "speed.png") as path:
        _plot(rows, path)
    print(f"wrote {out}/speed.md, .csv, .json and .png")


def _markdown(rows: pd.DataFrame, bars: list[Bar], conditions: dict[str, Any], speed: Speed) -> str:
    text = [
        "# The metric core beside its peers",
        "Written by `make speed`; the same numbers with all times are in `speed.json`. Every tool runs on its own "
        "metrics, in one process, in turns, after a warm-up; the least of its times counts. Memory is the extra peak "
        "of a fresh process. Deviations are from our exact values.",
        tabulate([bar.row() for bar in bars], ["what", "bar", "measured", "holds"], tablefmt="github"),
        "![time against pixels](speed.png)",
    ]
    for scene, make in SCENES.items():
        part = rows[rows.scene == scene]
        sizes = part.pixels.unique()
        table = [
            [TOOLS[tool].label, *(_cell(part[(part.tool == tool) & (part.pixels == n_pixels)]) for n_pixels in sizes)]
            for tool in part.tool.unique()
        ]
        header = ["seconds", *(f"{n_pixels:,} pixels" for n_pixels in sizes)]
        aligned = ("left", *["right"] * len(sizes))
        text += [f"## {scene}", make.__doc__ or "", tabulate(table, header, tablefmt="github", colalign=aligned)]
    text += ["## Memory and agreement", "On the smooth maps of the middle size."]
    table = [
        [
            TOOLS[run.tool].label,
            f"{run.peak_bytes / 1e6:,.0f} MB",
            ", ".join(
                f"{METRICS[key].label} {value:+.1e}" for key, value in run.deviations.items() if TOOLS[run.tool].match
            )
            or "0",
        ]
        for run in speed.runs
        if run.peak_bytes is not None
    ]
    text.append(tabulate(table, ["tool", "extra peak", "deviation from the exact value"], tablefmt="github"))
    names = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    text += [
        "## First call",
        "A fresh process imports `evaluate_maps` and calls it twice on four maps; the first time lasted "
        f"{speed.first_calls['compiled before']:.1f} s longer with numba's cache in place and "
        f"{speed.first_calls['not compiled yet']:.1f} s longer without (once after installing).",
        "## Conditions",
        f"{conditions['cores']} cores ({conditions['processor']}), Python {conditions['python']}; {names}. "
        "ADEval calls `numpy.trapz`, which numpy 2.4 dropped; it is given `numpy.trapezoid` under that name.",
    ]
    return "\n\n".join(text) + "\n"


def _cell(row: pd.DataFrame) -> str:
    return str(row.left_out.iloc[0]) or f"{row.seconds.iloc[0]:.3f}"


def _plot(rows: pd.DataFrame, path: Path) -> None:
    """Time against pixels on the smooth maps, both on log scales, one line per tool."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for (tool, lines), marker in zip(
        rows[rows.scene == "smooth"].groupby("tool", sort=False), "osD^vPX*<>d", strict=False
    ):
        mine = not TOOLS[str(tool)].match
        axes.plot(lines.pixels, lines.seconds, marker=marker, ls="-" if mine else "--", label=TOOLS[str(tool)].label)
    axes.set(xscale="log", yscale="log", xlabel="pixels", ylabel="seconds", title="Smooth maps, 3 % anomalous")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=150)
    plt.close(figure)
