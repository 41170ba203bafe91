"""An audit in print: the same maps under many protocols, as a table, as CSV and as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from aseg_bench.datasets import AS_USUAL, Reading, check_images
from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.records import Limits
from aseg_bench.progress import progress_bar
from aseg_bench.protocols import PROTOCOLS, find_protocol
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, own_rule
from aseg_bench.remote import here, named
from aseg_bench.reporting.figures.style import printed
from aseg_bench.reporting.markdown import escape_markdown
from aseg_bench.runs.lock import holding
from aseg_bench.runs.scores import csv_text
from aseg_bench.runs.sources import of_test, samples_of
from aseg_bench.scoring.audit import NEGLIGIBLE, Deviation, audit_dump


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        deviations: one per method, protocol and metric.
        findings: what is odd about data and scores, one sentence per method and kind.
        paths: files written.
    """

    deviations: Sequence[Deviation]
    findings: Sequence[str]
    paths: Sequence[Path] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per method, protocol and metric; values are fractions."""
        return as_frame(self.deviations)

    def to_markdown(self) -> str:
        """The table that is printed."""
        return as_markdown(self.deviations)


@holding
def audit(
    maps: Sequence[Path],
    *,
    out: Path | None = None,
    dataset: str | None = None,
    data_root: Path | None = None,
    categories: Sequence[str] | None = None,
    reader: str = "auto",
    protocols: Sequence[str] | None = None,
    mask_rule: str = DEFAULT_RULE,
    limits: Limits | None = None,
    allow_clamped: bool = False,
    reading: Reading = AS_USUAL,
    quiet: bool = True,
) -> Audit:
    """Score the same maps under many protocols, and say which setting moves each number.

    ``aseg-bench audit`` is this function.

    Args:
        maps: files or folders of maps, one per method; may be URLs.
        out: folder of the files; None writes none.
        dataset: key of ``DATASETS``; None where masks travel with the maps.
        data_root: where the data set lies, may be a URL; None for one that comes with the toolkit.
        categories: those to score; None takes all.
        reader: key of a reader, or ``auto``.
        protocols: keys of ``PROTOCOLS`` to compare with ``exact``; None takes all.
        mask_rule: which values of a mask mean anomalous or void, see `MaskRule`; part of every protocol.
        limits: how much a file may ask for, and whether pickles are read.
        allow_clamped: score clamped maps of layouts that usually clamp them.
        reading: how the files of the data set are read; it needs no training images.
        quiet: no progress bar.

    Raises:
        InputError: a name is unknown, or maps or data cannot be used.
    """
    rules = [find_protocol(key, mask_rule) for key in (PROTOCOLS if protocols is None else protocols)]
    samples, data_root = samples_of(dataset, data_root, reading)
    dumps = [
        import_maps(
            here(path),
            of_test(samples),
            categories=categories,
            reader=reader,
            limits=limits,
            allow_clamped=allow_clamped,
            mask_rule=mask_rule,
        )
        for path in maps
    ]
    labels = [path.stem for path in maps]
    if len(set(labels)) < len(labels):
        labels = [named(path) for path in maps]
    audited = []
    with progress_bar(quiet) as bar:
        task = bar.add_task("auditing", total=sum(len(dump.found) for dump in dumps), note="")
        for label, dump in zip(labels, dumps, strict=True):
            audited.append(
                audit_dump(
                    dump,
                    label,
                    protocols=rules,
                    mask_rule=mask_rule,
                    tell=lambda note: bar.update(task, advance=1, note=note),
                )
            )
    deviations = [row for own in audited for row in own.deviations]
    chosen = [sample for sample in samples or () if categories is None or sample.category in categories]
    findings = [
        finding.text for finding in check_images(chosen, data_root, is_anomalous=own_rule(mask_rule), whole=False)
    ]
    findings += [text for own in audited for text in own.findings]
    return Audit(deviations, findings, [] if out is None else write_audit(out, deviations, findings))


def as_frame(deviations: Sequence[Deviation]) -> pd.DataFrame:
    """One row per method, protocol and metric; values are fractions."""
    return pd.DataFrame(deviations)


def as_markdown(deviations: Sequence[Deviation]) -> str:
    """One row per method and protocol: each metric in per cent with its deviation, and the cause of the largest one."""
    rows = []
    for (method, protocol), of_both in _grouped(deviations).items():
        cells = {METRICS[row.metric].label: _cell(row) for row in of_both}
        rows.append(
            {
                "method": escape_markdown(method),
                "protocol": protocol,
                **cells,
                "what moves it most": _largest_cause(of_both),
            }
        )
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def write_audit(out: Path, deviations: Sequence[Deviation], findings: Sequence[str] = ()) -> list[Path]:
    """Write ``audit.csv``, ``audit.md`` with the findings below the table, and the dot plot ``audit.svg``.

    No name acts as a formula or tag there.
    """
    paths = [out / "audit.csv", out / "audit.md", out / "audit.svg"]
    with written_whole(paths[0]) as temporary:
        harmless = [
            replace(row, method=csv_text(row.method), undefined_because=csv_text(row.undefined_because))
            for row in deviations
        ]
        as_frame(harmless).to_csv(temporary, index=False, lineterminator="\n")
    with written_whole(paths[1]) as temporary:
        paragraphs = [as_markdown(deviations), *map(escape_markdown, findings)]
        temporary.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    with written_whole(paths[2]) as temporary:
        _draw(temporary, deviations)
    return paths


def _grouped(deviations: Sequence[Deviation]) -> dict[tuple[str, str], list[Deviation]]:
    groups: dict[tuple[str, str], list[Deviation]] = {}
    for row in deviations:
        groups.setdefault((row.method, row.protocol), []).append(row)
    return groups


def _cell(row: Deviation) -> str:
    because = f" ({escape_markdown(row.undefined_because)})" if row.undefined_because else ""
    if row.value is None:
        return f"–{because}"
    return f"{100 * row.value:.2f}" + (f" ({row.points:+.2f})" if row.points is not None else "") + because


def _largest_cause(rows: Sequence[Deviation]) -> str:
    largest = max(rows, key=lambda row: abs(row.points or 0))
    if abs(largest.points or 0) < NEGLIGIBLE:
        return "nothing"
    by = "" if largest.cause_points is None else f": {largest.cause_points:+.2f} by itself"
    return f"{METRICS[largest.metric].label} by {largest.cause}{by}"


def _draw(path: Path, deviations: Sequence[Deviation]) -> None:
    """Deviation of every protocol from the exact one, a panel per metric, a dot per method."""
    metrics, protocols, methods = (
        list(dict.fromkeys(getattr(row, field) for row in deviations)) for field in ("metric", "protocol", "method")
    )
    figure = Figure(figsize=(2.2 * len(metrics) + 1.6, 0.26 * len(protocols) + 1.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for panel, metric in zip(panels, metrics, strict=True):
        panel.axvline(0, color="0.7", linewidth=1)
        for method in methods:
            rows = [row for row in deviations if row.method == method and row.metric == metric]
            places = [protocols.index(row.protocol) for row in rows]
            points = [np.nan if row.points is None else row.points for row in rows]
            panel.plot(points, places, "o", markersize=4.5, label=printed(method))
        panel.set_title(METRICS[metric].label, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(axis="y", color="0.93")
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(protocols)), protocols)
    panels[0].invert_yaxis()
    figure.supxlabel("points from the exact protocol", fontsize=9)
    if len(methods) > 1:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8, frameon=False
        )
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, format="svg")
