"""Scores on disk (``scores.csv``) and the merging of several runs into one result per cell."""

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd

from aseg_bench.errors import InputError
from aseg_bench.files import reading, to_disk, written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.records import MEAN, Case, Score
from aseg_bench.scoring.categories import mean_of

COLUMNS = ("method", "dataset", "category", "metric", "value", "n_images", "protocol", "undefined_because")
_ROUNDING = 1e-9


class Key(NamedTuple):
    """What one result is about."""

    method: str
    protocol: str
    dataset: str
    category: str
    metric: str


@dataclass(frozen=True, slots=True)
class Result:
    """One cell of a comparison, merged over runs.

    Attributes:
        by_run: the value in each run that has one, a fraction, by the number of the run.
        note: what a reader must know: why there is no value, or what the value covers.
        marks: what casts doubt on the value, though it covers what the others do.
        is_disqualified: the doubt is such that the value is neither best nor ranked.
    """

    by_run: Mapping[int, float]
    note: str = ""
    marks: tuple[str, ...] = ()
    is_disqualified: bool = False

    @property
    def value(self) -> float | None:
        """Mean over the runs; None where undefined in every run."""
        return fmean(self.by_run.values()) if self.by_run else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the runs; None with fewer than two."""
        return stdev(self.by_run.values()) if len(self.by_run) > 1 else None


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write scores as CSV: fractions in full precision, an empty value where undefined.

    Behind the categories of each method on a data set follow their means, as category ``mean``. A text cell that a
    spreadsheet would take for a formula gets a leading apostrophe, which ``read_scores`` takes off.
    """
    with written_whole(path) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for score in _with_means(scores):
                case = score.case
                value = "" if score.value is None else repr(float(score.value))
                texts = [csv_text(text) for text in (*_texts(case), score.metric)]
                writer.writerow(
                    [*texts, value, score.n_images, csv_text(score.protocol), csv_text(score.undefined_because)]
                )
        to_disk(temporary)


def read_scores(path: Path) -> list[Score]:
    """Read the scores of the categories that ``write_scores`` wrote; their means follow from them.

    Raises:
        InputError: the file is missing, lacks a column, holds an unreadable number, or holds no score of a category.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; a finished run has it (aseg-bench run --out {path.parent})")
    with reading(path, "write the file again with aseg-bench"), path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"{path} lacks the columns {', '.join(missing)}; it is not a scores.csv of aseg-bench")
        found = [_score(row, f"{path}, line {rows.line_num}") for row in rows]
    scores = [score for score in found if score.case.category != MEAN]
    if not scores:
        raise InputError(f"{path} holds no score of a category; run aseg-bench again with --out {path.parent}")
    return scores


def frame_of(scores: Iterable[Score]) -> pd.DataFrame:
    """One row per method, data set, category and metric, with the columns and the order of ``scores.csv``."""
    rows = [
        (*_texts(score.case), score.metric, score.value, score.n_images, score.protocol, score.undefined_because)
        for score in _with_means(scores)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": "float64"})


def json_of(results: Mapping[Key, Result]) -> str:
    """Merged results as JSON, one object per cell: `Key`, value, deviation, value by run, and what casts doubt."""
    rows = [
        {
            **key._asdict(),
            "value": result.value,
            "deviation": result.deviation,
            "by_run": result.by_run,
            "notes": [text for text in (result.note, *result.marks) if text],
            "is_disqualified": result.is_disqualified,
        }
        for key, result in results.items()
    ]
    return f"{json.dumps(rows, indent=1, ensure_ascii=False)}\n"


def beside(old: Iterable[Score], new: Sequence[Score]) -> list[Score]:
    """The new scores behind those of other methods and data sets."""
    replaced = {(score.case.method, score.case.dataset) for score in new}
    return [*(score for score in old if (score.case.method, score.case.dataset) not in replaced), *new]


def csv_text(text: str) -> str:
    """Text that no spreadsheet takes for a formula: ``=1+1`` becomes ``'=1+1``."""
    return f"'{text}" if re.match(r"'*[=+\-@\t\r\n]", text) else text


def plain_text(text: str) -> str:
    """The inverse of ``csv_text``."""
    return text[1:] if re.match(r"'+[=+\-@\t\r\n]", text) else text


def merge_runs(runs: Sequence[Sequence[Score]], mixed: bool = False) -> dict[Key, Result]:
    """Merge runs: what several runs scored becomes mean and standard deviation, what one run scored stays.

    The results of category ``mean`` are the unweighted means of the categories.

    Args:
        runs: the scores of each run; runs of one method with other seeds, or of other methods.
        mixed: accept scores under several protocols or on different test images.

    Returns:
        Results in the order in which the scores first appear.

    Raises:
        InputError: one run scores a cell twice; or, unless ``mixed``, the protocols or the test images differ.
    """
    cells: dict[Key, dict[int, Score]] = defaultdict(dict)
    for run, scores in enumerate(runs, start=1):
        for score in _with_means(scores):
            key = Key(score.case.method, score.protocol, score.case.dataset, score.case.category, score.metric)
            if run in cells[key]:
                raise InputError(f"run {run} scores {' / '.join(key)} twice; remove one of the two rows")
            cells[key][run] = score
    if not mixed:
        _refuse_mixture(cells)
    found = {key: _merged(scores) for key, scores in cells.items()}
    return _coverage_told(found, cells) if mixed else found


def _coverage_told(found: dict[Key, Result], cells: Mapping[Key, Mapping[int, Score]]) -> dict[Key, Result]:
    """The results with their numbers of test images in the note, wherever these differ between methods."""
    n_images = {key: max(score.n_images for score in scores.values()) for key, scores in cells.items()}
    seen: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for key, n in n_images.items():
        seen[key[2:]].add(n)
    return {
        key: replace(result, note="; ".join(filter(None, (f"on {n_images[key]} test images", result.note))))
        if len(seen[key[2:]]) > 1
        else result
        for key, result in found.items()
    }


def merged_scores(runs: Sequence[Sequence[Score]]) -> list[Score]:
    """The scores of several runs with one score per cell: its mean over the runs that have it.

    Raises:
        InputError: the runs do not belong together, as for ``merge_runs``.
    """
    results = merge_runs(runs)
    scores = {(score.case, score.metric): score for scores in runs for score in scores}
    return [
        replace(scores[Case(key.method, key.dataset, key.category), key.metric], value=result.value)
        for key, result in results.items()
        if key.category != MEAN
    ]


def _with_means(scores: Iterable[Score]) -> Iterator[Score]:
    """The scores, and as rows of category ``mean`` their means behind those of each method and data set."""
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.case.method, score.case.dataset, score.protocol), []).append(score)
    for group in groups.values():
        yield from group
        for metric in dict.fromkeys(score.metric for score in group):
            of_metric = [score for score in group if score.metric == metric]
            value, reason = mean_of(of_metric)
            n_images = sum(score.n_images for score in of_metric)
            case = replace(group[0].case, category=MEAN)
            yield replace(of_metric[0], case=case, value=value, n_images=n_images, undefined_because=reason)


def _texts(case: Case) -> tuple[str, str, str]:
    return case.method, case.dataset, case.category


def _score(row: dict[str, str], where: str) -> Score:
    texts = {column: plain_text(row[column] or "") for column in COLUMNS}
    try:
        value = float(texts["value"]) if texts["value"] else None
        n_images = int(texts["n_images"])
    except ValueError as error:
        raise InputError(f"{where}: {error}; write the file again with aseg-bench") from None
    if value is not None and not math.isfinite(value):
        raise InputError(f"{where}: value is {value}; leave an undefined value empty and say why")
    is_fraction = texts["metric"] in METRICS and METRICS[texts["metric"]].unit == "fraction"
    if value is not None and is_fraction and not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise InputError(f"{where}: {texts['metric']} is {value}, no fraction from 0 to 1; divide percentages by 100")
    case = Case(texts["method"], texts["dataset"], texts["category"])
    return Score(case, texts["metric"], value, n_images, texts["protocol"], texts["undefined_because"])


def _refuse_mixture(cells: Mapping[Key, Mapping[int, Score]]) -> None:
    stamps: dict[str, list[str]] = defaultdict(list)
    n_images: dict[tuple[str, str, str], dict[int, str]] = defaultdict(dict)
    for key, scores in cells.items():
        if key.method not in stamps[key.protocol]:
            stamps[key.protocol].append(key.method)
        for score in scores.values():
            n_images[key.dataset, key.category, key.metric].setdefault(score.n_images, key.method)
    if len(stamps) > 1:
        listed = "; ".join(f"{stamp} ({', '.join(methods)})" for stamp, methods in stamps.items())
        raise InputError(
            f"scores under different protocols do not belong in one table: {listed}; score all methods under one "
            "protocol, or pass --mixed to print a row for each"
        )
    for (dataset, category, metric), counts in n_images.items():
        if len(counts) > 1:
            listed = ", ".join(f"{count} ({method})" for count, method in counts.items())
            raise InputError(
                f"{metric} on {dataset} {category} was computed on different numbers of test images: {listed}; "
                "score the same images, or pass --mixed"
            )


def _merged(scores: Mapping[int, Score]) -> Result:
    by_run = {run: score.value for run, score in scores.items() if score.value is not None}
    note = "; ".join(dict.fromkeys(score.undefined_because for score in scores.values() if score.undefined_because))
    if by_run and len(by_run) < len(scores):
        note = f"mean of {len(by_run)} of {len(scores)} runs; {note}"
    if len({score.n_images for score in scores.values()}) > 1:
        note = f"runs on different test images; {note}".rstrip("; ")
    return Result(by_run, note if by_run else note or "not computed")
