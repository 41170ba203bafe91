"""The page: one folder that any browser opens without a server and without the network."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from statistics import fmean
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from aseg_bench.analysis.scored_maps import ScoredMaps, codes, in_processes, small
from aseg_bench.errors import listed
from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.records import MEAN, Case
from aseg_bench.reporting.cells import DASH, Note, Table, heading, result_text, told_seeds
from aseg_bench.reporting.figures import WrittenFigure
from aseg_bench.reporting.html import html
from aseg_bench.reporting.rendering import rendered
from aseg_bench.runs.publishing import publishable, without_places
from aseg_bench.runs.scores import Key, Result

_ON_SCREEN = 1.5  # times the size in print
_SHORT = {  # words of a metric's label -> in the heading of a narrow column
    "Pixel ": "p",
    "Image best ": "i",
    "Image ": "i",
    "Anomaly Rate": "AR",
    " (anomalous images)": " anom.",
    "False-positive pixels": "FP pixels",
    " (%)": "",
}
_BY_THRESHOLD = {  # what a number is of -> the threshold at which its images are shown
    **dict.fromkeys(("dsc", "iou", "dsc_anomalous", "iou_anomalous", "dsc_pooled", "iou_pooled"), "-dsc"),
    **dict.fromkeys(("precision", "recall", "fp_pixels"), "-dsc"),
    **dict.fromkeys(("pixel_f1_max", "pixel_iou_max"), "-f1"),
}
_TRUTH_CODE = 255  # in the green channel of a map's picture


def write_page(
    out: Path,
    results: Mapping[Key, Result],
    categories: Sequence[Sequence[ScoredMaps]] = (),
    *,
    tables: Sequence[Table] = (),
    figures: Iterable[WrittenFigure] = (),
    conditions: Mapping[str, Any] | None = None,
    notes: Sequence[Note] = (),
    labels: Mapping[str, str] | None = None,
    datasets: Mapping[str, str] | None = None,
    title: str | None = None,
    about: Sequence[str] = (),
) -> Path:
    """Write ``report.html`` and, beside it, ``gallery/`` with the pictures and pixel counts of every category.

    Every text that a user chose is escaped; no file is named after one. The page is fit to be published: it names no
    folder of this machine and no command.

    Args:
        out: the folder; an older page in it is replaced.
        results: all that was scored, from ``merge_runs``.
        categories: per category, the maps of every method on the same samples; none leaves the gallery out.
        tables: the paper's tables first, then others; keys that start with ``table`` go into the summary.
        figures: from ``write_figures``, in ``out`` or below it.
        conditions: how the run was made, nested as in ``run.json``; None where unknown.
        notes: what a reader should know first.
        labels: names of methods in print; a missing one prints as it is.
        datasets: names of data sets in print; a missing one prints as it is.
        title: heading of the page; None names the data sets.
        about: what stands below it: date, machine.

    Returns:
        The page.
    """
    labels, datasets = labels or {}, datasets or {}
    if categories:
        with written_whole(out / "gallery") as temporary:
            in_processes([partial(_write_gallery, temporary, i, some, labels) for i, some in enumerate(categories)])
            rmtree(out / "gallery", ignore_errors=True)
    else:
        rmtree(out / "gallery", ignore_errors=True)
    metrics = list(dict.fromkeys(key.metric for key in results))
    numbers = {maps.case: f"#gallery-{i}-{n}" for i, some in enumerate(categories) for n, maps in enumerate(some)}
    names = dict.fromkeys(datasets.get(key.dataset, key.dataset) for key in results)
    page = rendered(
        "report.html.j2",
        ("tables.js", "gallery.js"),
        title=title or f"Anomaly segmentation{' on ' if names else ''}{listed(list(names))}",
        about=about,
        notes=[replace(note, text=without_places(note.text)) for note in notes],
        summary=Markup(html(table for table in tables if table.key.startswith("table"))),
        details=Markup(html(table for table in tables if not table.key.startswith("table"))),
        score_heads=[("Category", "Category"), ("Method", "Method"), *((_short(one), heading(one)) for one in metrics)],
        seeds=told_seeds("", results.values()),
        score_rows=_score_rows(results, metrics, labels, datasets, numbers),
        figures=[_shown(figure, out, datasets) for figure in figures],
        galleries=[_place(category[0].case.dataset, category[0].case.category, datasets) for category in categories],
        worst=_worst(results, categories),
        conditions=publishable(conditions or {}),
    )
    with written_whole(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def _short(metric: str) -> str:
    text = heading(metric)
    for words, short in _SHORT.items():
        text = text.replace(words, short)
    return text


def _worst(results: Mapping[Key, Result], categories: Sequence[Sequence[ScoredMaps]]) -> int:
    """The category on which the methods' mean pixel AP is the lowest, by its place in the gallery."""
    found: dict[tuple[str, str], list[float]] = {}
    for key, result in results.items():
        if key.metric == "pixel_ap" and result.value is not None:
            found.setdefault((key.dataset, key.category), []).append(result.value)
    shown = [(some[0].case.dataset, some[0].case.category) for some in categories]
    return min(range(len(shown)), key=lambda i: fmean(found.get(shown[i], [2.0])), default=0)


def _place(dataset: str, category: str, datasets: Mapping[str, str]) -> str:
    return " / ".join(filter(None, (datasets.get(dataset, dataset), category)))


def _score_rows(
    results: Mapping[Key, Result],
    metrics: Sequence[str],
    labels: Mapping[str, str],
    datasets: Mapping[str, str],
    galleries: Mapping[Case, str],
) -> list[dict[str, Any]]:
    """A row per category and method; an undefined score is a dash that says why, another leads to its images."""
    one_set = len({key.dataset for key in results}) == 1
    rows: dict[tuple[str, str, str], dict[str, Result]] = {}
    for key, result in results.items():
        rows.setdefault((key.dataset, key.category, key.method), {})[key.metric] = result
    return [
        {
            "names": (category if one_set else _place(dataset, category, datasets), labels.get(method, method)),
            "is_mean": category == MEAN,
            "cells": [
                _cell(found.get(metric), metric, galleries.get(Case(method, dataset, category), ""))
                for metric in metrics
            ],
        }
        for (dataset, category, method), found in rows.items()
    ]


def _cell(result: Result | None, metric: str, gallery: str) -> dict[str, str]:
    notes = ["not scored"] if result is None else [result.note, *result.marks]
    text, _, spread = result_text(result, metric).partition(" ± ")
    of_data = metric in METRICS and METRICS[metric].level == "data"
    link = "" if not gallery or of_data or text == DASH else gallery + _BY_THRESHOLD.get(metric, "")
    return {"text": text, "spread": spread, "note": "; ".join(filter(None, notes)), "link": link}


def _shown(figure: WrittenFigure, out: Path, datasets: Mapping[str, str]) -> dict[str, Any]:
    """A figure as the template needs it; the smaller of PNG and SVG is shown.

    Its size on the page keeps the place of a picture that is not loaded yet, so that nothing below moves when it is.
    """
    pictures = [path for path in figure.paths if path.suffix in (".png", ".svg")]
    return {
        "title": figure.title,
        "category": figure.category,
        "place": _place(figure.dataset, figure.category, datasets),
        "size": next((_css_size(path) for path in pictures if path.suffix == ".png"), None),
        "source": min(pictures, key=lambda path: path.stat().st_size).relative_to(out).as_posix(),
        "links": {path.suffix[1:].upper(): path.relative_to(out).as_posix() for path in figure.paths},
    }


def _css_size(png: Path) -> tuple[int, int]:
    """Width and height in CSS pixels, 96 of which make an inch: larger than in print, where letters are small."""
    with Image.open(png) as picture:
        dpi = picture.info.get("dpi", (96, 96))
        width, height = (round(_ON_SCREEN * 96 * side / each) for side, each in zip(picture.size, dpi, strict=True))
    return width, height


def _write_gallery(parent: Path, index: int, category: Sequence[ScoredMaps], labels: Mapping[str, str]) -> None:
    """The pictures of one category, and ``data.js`` with the pixel counts that the sliders need."""
    folder = parent / str(index)
    folder.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_write_pictures, folder, category), range(len(category[0].samples))))
    data = {
        "images": [{"name": f"{sample.defect}/{sample.stem}", "kind": sample.defect} for sample in category[0].samples],
        "methods": [
            {
                "label": labels.get(maps.case.method, maps.case.method),
                "levels": maps.counts.levels.tolist(),
                "code": None if maps.threshold is None else maps.counts.code(maps.threshold),
                "normal": maps.counts.normal.tolist(),
                "anomalous": [row.tolist() if row.any() else 0 for row in maps.counts.anomalous],
            }
            for maps in category
        ],
    }
    text = json.dumps(data, separators=(",", ":"))
    (folder / "data.js").write_text(f"asegGallery({index},{text});\n", encoding="utf-8")


def _write_pictures(folder: Path, category: Sequence[ScoredMaps], position: int) -> None:
    """The photo as JPEG; per method a lossless picture with the code in red and the truth in green."""
    photo = category[0].picture(position)
    height, width = small(photo).shape[:2]
    Image.fromarray(photo).resize((width, height), Image.Resampling.BOX).save(folder / f"{position}.jpg", quality=80)
    for number, maps in enumerate(category):
        code = small(codes(maps.scores[position], maps.counts.levels))
        truth = _TRUTH_CODE * small(maps.masks[position]).astype(np.uint8)
        picture = np.stack([code, truth, np.zeros_like(code)], axis=-1)
        Image.fromarray(picture).save(folder / f"{position}-{number}.webp", lossless=True, method=0, quality=30)
