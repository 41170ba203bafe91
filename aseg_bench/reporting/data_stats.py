"""Statistics of a data set as tables, CSV and figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aseg_bench.analysis.data_stats import RATES, DataStats, data_stats, mean_rates
from aseg_bench.datasets import AS_USUAL, Reading, find_dataset, find_samples, root_here
from aseg_bench.datasets.inspection import with_all_splits
from aseg_bench.files import make_folder, written_whole
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.reporting.cells import DASH, Cell, Table
from aseg_bench.reporting.figures.defects import defects_figure
from aseg_bench.reporting.figures.style import FORMATS, save
from aseg_bench.reporting.published import paper_data
from aseg_bench.reporting.writing import write_formats
from aseg_bench.runs.scores import csv_text

_OF_PAPER = {"mvtec_ad": "mvtec", "visa": "visa"}  # names in the paper's Table 1
_STEM = "data_stats"
_COUNTS = {
    "train": "Train",
    "test_good": "Test good",
    "test_anomalous": "Test anomalous",
    "other_splits": "Other splits",
}


@dataclass(frozen=True)
class StatsReport:
    """Statistics of a data set.

    Attributes:
        tables: of categories, then of kinds of defects.
        facts: the same and more as plain numbers, fractions and pixels.
        paths: files that were written.
    """

    tables: Sequence[Table]
    facts: Mapping[str, Any]
    paths: Sequence[Path]


def stats_report(
    dataset: str,
    root: Path | None = None,
    categories: Sequence[str] | None = None,
    reading: Reading = AS_USUAL,
    *,
    mask_rule: str = DEFAULT_RULE,
    out: Path | None = None,
    quiet: bool = False,
) -> StatsReport:
    """Measure a data set, and write tables, regions and figure.

    Args:
        dataset: key of ``DATASETS``.
        root: where it lies, may be a URL.
        categories: those to measure; None takes all.
        reading: how it is read.
        mask_rule: which values of masks mean anomalous, and which void.
        out: folder of the files; None writes none.
        quiet: no progress bar.

    Raises:
        InputError: files do not make a data set, cannot be read, or cannot be written.
    """
    if out is not None:
        make_folder(out)
    data, root = find_dataset(dataset), root_here(dataset, root, categories)
    samples = find_samples(dataset, root, categories, with_all_splits(data, root, reading))
    stats = data_stats(samples, mask_rule, quiet=quiet)
    rows = stats.by_category()
    label = data.label_of([row["category"] for row in rows])
    published = _published_rate(dataset) if label == data.label else None
    facts = {
        "dataset": dataset,
        "categories": rows,
        "mean": mean_rates(rows),
        "all": stats.overall(),
        "defects": stats.by_defect(),
        "anomaly_rate_in_paper": published,
    }
    tables = _tables(label, facts)
    return StatsReport(tables, facts, [] if out is None else _written(out, label, stats, facts, tables))


def _published_rate(dataset: str) -> float | None:
    """The Anomaly Rate that Table 1 of the source paper prints for a data set, as a fraction."""
    cells = paper_data("tables123").query("table == 'Table 1' and column == 'AR(%)'")
    printed = cells.loc[cells["row"] == _OF_PAPER.get(dataset), "value"]
    return float(printed.iloc[0]) / 100 if len(printed) else None


def _tables(label: str, facts: Mapping[str, Any]) -> list[Table]:
    rows = facts["categories"]
    n_images = [key for key in _COUNTS if key != "other_splits" or facts["all"][key]]
    header = ["Category", *(_COUNTS[key] for key in n_images), "Width", "Height"]
    header += ["AR, all", "AR, anomalous", "AR, per image", "Regions", "Median area"]
    caption = (
        f"{label}: images, sizes in pixels, and the Anomaly Rate (AR), the share of anomalous pixels in per cent: "
        f"{'; '.join(RATES.values())}."
    )
    if (published := facts["anomaly_rate_in_paper"]) is not None:
        caption += (
            f" Ma et al. (WACV 2025), Table 1, print an average of {100 * published:.2f} %, and do not say over which "
            "images and at which size."
        )
    whole = []
    if len(rows) > 1:
        mean = [
            Cell("mean"),
            *[Cell("")] * (len(n_images) + 2),
            *map(_percent, facts["mean"].values()),
            Cell(""),
            Cell(""),
        ]
        whole = [("", [mean, _category_cells({"category": "all", **facts["all"]}, n_images)])]
    tables = [
        Table(
            f"{_STEM}_categories",
            caption,
            [Cell(title) for title in header],
            [("", [_category_cells(row, n_images) for row in rows]), *whole],
        )
    ]
    if facts["defects"]:
        header = [
            "Category",
            "Defect",
            "Images",
            "Regions",
            "Area, least (px)",
            "Median",
            "Most",
            "Median (% of image)",
        ]
        cells = [
            [
                *(Cell(row["category"]), Cell(row["defect"]), Cell(f"{row['images']:,}"), Cell(f"{row['regions']:,}")),
                *(_number(row[f"area_{name}"]) for name in ("min", "median", "max")),
                _percent(row["share_median"]),
            ]
            for row in facts["defects"]
        ]
        caption = f"{label}: kinds of defects. A region is anomalous pixels that touch at an edge or a corner."
        tables.append(Table(f"{_STEM}_defects", caption, [Cell(title) for title in header], [("", cells)]))
    return tables


def _category_cells(row: Mapping[str, Any], counts: Sequence[str]) -> list[Cell]:
    n_images = [Cell(f"{row[key]:,}") for key in counts]
    sizes = [Cell(_range(row[f"{side}_min"], row[f"{side}_max"])) for side in ("width", "height")]
    rates = [_percent(row[key]) for key in RATES]
    return [Cell(row["category"]), *n_images, *sizes, *rates, Cell(f"{row['regions']:,}"), _number(row["area_median"])]


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}–{most}"


def _percent(rate: float | None) -> Cell:
    return Cell(DASH if rate is None else f"{100 * rate:.2f}" if rate >= 0.001 else f"{100 * rate:.2g}")


def _number(value: float | None) -> Cell:
    return Cell(DASH if value is None else f"{value:,.0f}")


def _written(out: Path, label: str, stats: DataStats, facts: Mapping[str, Any], tables: Sequence[Table]) -> list[Path]:
    paths = write_formats(out, tables, ["md"], _STEM)
    frames = {"categories": facts["categories"], "defects": facts["defects"], "regions": stats.regions}
    for name, rows in frames.items():
        frame = pd.DataFrame(rows)
        texts = frame.select_dtypes(exclude="number").columns
        paths.append(out / f"{name}.csv")
        with written_whole(paths[-1]) as temporary:
            frame.assign(**{column: frame[column].map(csv_text) for column in texts}).to_csv(temporary, index=False)
    rates = {row["category"]: row["anomaly_rate_anomalous"] for row in facts["categories"]}
    figure = defects_figure(label, stats.regions, rates, facts["anomaly_rate_in_paper"])
    return paths if figure is None else [*paths, *save(figure, out, "areas", FORMATS)]
