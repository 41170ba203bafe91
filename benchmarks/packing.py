"""Packs a folder of collected published numbers into package data: ``python -m benchmarks.packing FOLDER``.

The folder holds results and sources as CSV, and what is known to be wrong in them. Packing joins the results, names
metrics and data sets as this project does, and writes what is wrong into the rows concerned (column ``caution``).
"""

import re
import sys
from pathlib import Path

import pandas as pd

from aseg_bench.files import written_whole

DATA = Path(__file__).parents[1] / "aseg_bench" / "reporting" / "data"
RESULTS = ("published_results.csv", "published_results_other_datasets.csv")
RENAMED_FILES = {
    "sources.csv": "sources.csv",
    "source_errata.csv": "source_errata.csv",
    "seed_tables123_cells.csv": "paper_tables123.csv",
    "seed_table4_components.csv": "paper_table4.csv",
    "seed_table5_levels.csv": "paper_table5.csv",
    "seed_inconsistencies.csv": "paper_inconsistencies.csv",
}
RENAMED_VALUES = {
    "metric": {"pixel_f1max": "pixel_f1_max", "image_f1max": "image_f1_max", "aupro": "aupro_0.3"},
    "dataset": {"mvtec": "mvtec_ad", "mvtec+visa": "mvtec_ad+visa"},
}
PLACES = {"MVTec": "mvtec_ad", "VisA": "visa", "Mean": "mvtec_ad+visa"}
BY_TRAPEZOIDS = "area under the precision-recall curve by trapezoids, not average precision"
EVALUATORS = (  # rows of a source -> how its evaluator departs from the metric's definition
    ({"source_key": "aupimo_*", "metric": "pixel_ap"}, BY_TRAPEZOIDS),
    *(
        ({"source_key": source, "metric": metric}, f"from 50 bins of ADEval{addition}")
        for source in ("ader_benchmark_*", "ader_log_*")
        for metric, addition in (("pixel_auroc", ""), ("aupro_0.3", ""), ("pixel_ap", f": {BY_TRAPEZOIDS}"))
    ),
)
ERRATA = {  # start of the errata's ``where``: the rows it is about
    "appendix Tables A3/A4": {"source_key": "mambaad_appendix", "method": "UniAD", "dataset": "visa"},
    "VisA, HVQ-Trans + CostFilter, image AUROC": {
        "source_key": "costfilter_readme",
        "method": "HVQ-Trans+CostFilter-AD",
        "dataset": "visa",
        "metric": "image_auroc",
    },
}


def pack(folder: Path, out: Path = DATA) -> None:
    """Write the package data from a folder of collected numbers.

    Args:
        folder: holds the files named in ``RESULTS`` and ``RENAMED_FILES``, and ``mean_check.csv``.
        out: where the package data go.
    """
    results = pd.concat([_read(folder / name) for name in RESULTS], ignore_index=True)
    results["caution"] = ""
    _caution_means(results, _read(folder / "mean_check.csv"))
    _caution_paper(results, _read(folder / "seed_inconsistencies.csv"))
    _caution_errata(results, _read(folder / "source_errata.csv"))
    for rows, text in EVALUATORS:
        _caution(results, rows, text)
    with written_whole(out / "published.csv.xz") as path:
        results.to_csv(path, index=False, compression={"method": "xz", "preset": 9})
    for name, new_name in RENAMED_FILES.items():
        with written_whole(out / new_name) as path:
            _read(folder / name).to_csv(path, index=False)


def _read(path: Path) -> pd.DataFrame:
    """A collected file with this project's names, without references that only its collector can open."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False).replace(RENAMED_VALUES)
    for pattern, replacement in (
        (r"^seeds/.*", "Ma et al., Towards Accurate Unified Anomaly Segmentation, WACV 2025"),
        (r"^index file id \d+$", "not recorded"),
        (r"; index file id \d+", ""),
        (r"; (text )?stored in index as file id \d+", ""),
        (r"\bseed_|(?<=_)seed_", "paper_"),
        (r"\bthe seed\b", "the paper"),
    ):
        frame = frame.replace(pattern, replacement, regex=True)
    return frame


def _caution(results: pd.DataFrame, rows: dict[str, str], text: str) -> None:
    chosen = pd.Series(True, index=results.index)
    for column, value in rows.items():
        found = results[column].str.startswith(value[:-1]) if value.endswith("*") else results[column] == value
        chosen &= found
    assert chosen.any(), f"no published row is {rows}"
    before = results.loc[chosen, "caution"]
    results.loc[chosen, "caution"] = before.where(before == "", before + "; ") + text


def _caution_means(results: pd.DataFrame, checks: pd.DataFrame) -> None:
    columns = ["source_key", "method", "variant", "reproduced_by", "setting", "dataset", "metric"]
    for _, check in checks[checks.verdict == "DIFFERS"].iterrows():
        rows = {column: str(check[column]) for column in columns}
        text = f"the {check.n_categories} printed categories have the mean {check.mean_of_categories}"
        _caution(results, {**rows, "category": "mean"}, text)


def _caution_paper(results: pd.DataFrame, inconsistencies: pd.DataFrame) -> None:
    for _, found in inconsistencies.iterrows():
        cell = re.match(r"Table ([123]), row (\S+), (?:column )?(MVTec|VisA|Mean)\b", found["where"])
        other = re.match(r"UniAS on (MVTec|VisA), README", found["where"])
        if cell:
            table, method, place = cell.groups()
            rows = {"source_key": f"unias_paper_t{table}*", "method": method, "dataset": PLACES[place]}
            _caution(results, rows, found["note"] or "suspicious")
        elif other:
            rows = {"source_key": "unias_paper_t*", "method": "UniAS", "dataset": PLACES[other[1]]}
            text = f"the released code's README has {found['recomputed_or_expected']} (pixel AUROC, pAP, DSC)"
            _caution(results, rows, text)


def _caution_errata(results: pd.DataFrame, errata: pd.DataFrame) -> None:
    for where, rows in ERRATA.items():
        (_, erratum), *_ = errata[errata["where"].str.startswith(where)].iterrows()
        _caution(results, rows, f"{erratum['where']}: better {erratum['better']} ({erratum['basis']})")


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
