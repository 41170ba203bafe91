"""A leaderboard: one static page over many runs, packs of other people and published numbers."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from aseg_bench.datasets import DATASETS, dataset_labels
from aseg_bench.errors import InputError
from aseg_bench.files import is_left_by_others, make_folder, written_whole
from aseg_bench.records import MEAN
from aseg_bench.reporting.cells import DASH, heading, result_text
from aseg_bench.reporting.costs import backbone_of, minutes_of, steps_of
from aseg_bench.reporting.published import published, sources
from aseg_bench.reporting.rendering import rendered
from aseg_bench.reporting.tables import MAIN
from aseg_bench.runs.findings import marked, shown_methods
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.publishing import PACK_SUFFIX, unpacked, without_places
from aseg_bench.runs.record import CaseRecord, Conditions
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import Key, Result, merge_runs

PAGE = "index.html"
FILTERS = ("data set", "protocol", "origin", "preset", "backbone")
_SETTING = "one-for-all"
_N_FIRST = 3  # columns before the scores
_N_DIGITS = 12  # of a checksum


@dataclass(frozen=True)
class _Row:
    """A line of the board.

    Attributes:
        facts: by column, plain text; those of ``FILTERS`` among them.
        values: text and doubts by metric.
        link: to the report, the pack or the source; empty where there is none.
    """

    facts: dict[str, str]
    values: dict[str, tuple[str, str]]
    link: str = ""


@dataclass(frozen=True)
class Board:
    """What a leaderboard shows.

    Attributes:
        page: the file.
        n_runs: runs and packs on it.
        left_out: why others are not, one sentence each.
    """

    page: Path
    n_runs: int
    left_out: Sequence[str] = field(default_factory=tuple)


def leaderboard(folder: Path, out: Path, title: str = "Anomaly segmentation") -> Board:
    """One page over all finished runs and packs at or below a folder; ``aseg-bench leaderboard`` is this function.

    A line is a method of a run on a data set under a protocol: the means over its categories, what it cost, the
    checksum of its scores and a link to its report. Published one-for-all numbers stand beside where a run has all
    categories of the data set that they are of. What cannot be read is left out, and said.

    Args:
        folder: searched for folders with ``run.json`` and for files ``*.aseg.zip``.
        out: folder of the page.
        title: its heading.

    Raises:
        InputError: there is no finished run and no pack, or the place cannot be written into.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    make_folder(out)
    rows: list[_Row] = []
    left_out, places = [], list(_places(folder))
    covered: dict[str, set[str]] = {}
    seen: dict[str, Path] = {}
    for place in places:
        try:
            with ExitStack() as stack:
                is_pack = place.suffix == ".zip"
                results = stack.enter_context(unpacked(place)) if is_pack else Results.of(RunFolder(place))
                digest = hashlib.sha256(results.folder.scores_file.read_bytes()).hexdigest()
                if seen.setdefault(digest, place) != place:
                    raise InputError(f"{place} has the very scores of {seen[digest]}")
                rows += _rows(results, place, out, digest)
                for score in results.scores:
                    covered.setdefault(score.case.dataset, set()).add(score.case.category)
        except InputError as error:
            left_out.append(str(error))
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not rows:
        raise InputError("; ".join([f"no finished run and no pack at or below {folder}", *left_out]))
    n_runs = len(places) - len(left_out)
    rows += [row for dataset, categories in covered.items() for row in _published_rows(dataset, categories)]
    columns = list(rows[0].facts)
    text = rendered(
        "leaderboard.html.j2",
        ("tables.js", "leaderboard.js"),
        title=title,
        n_runs=n_runs,
        filters={name: sorted({row.facts[name] for row in rows} - {DASH}) for name in FILTERS},
        metrics={metric: heading(metric) for metric in MAIN},
        columns=columns[:_N_FIRST],
        others=columns[_N_FIRST:],
        places={name: number + len(MAIN) * (number >= _N_FIRST) for number, name in enumerate(columns)},
        rows=sorted(rows, key=lambda row: (row.facts["data set"], row.facts["method"])),
        left_out=[without_places(text) for text in left_out],
    )
    with written_whole(out / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Board(out / PAGE, n_runs, left_out)


def _places(folder: Path) -> Iterator[Path]:
    """Folders of runs and packs, sorted; nothing below a run's folder, and nothing hidden."""
    if (folder / "run.json").is_file():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if is_left_by_others(path):
            continue
        if path.is_dir():
            yield from _places(path)
        elif path.name.endswith(PACK_SUFFIX):
            yield path


def _rows(results: Results, place: Path, out: Path, digest: str) -> Iterator[_Row]:
    """A line per method, data set and protocol of a run, from its means."""
    content, methods = results.folder.content, shown_methods([results])
    labels = dataset_labels(results.scores)
    merged = marked(merge_runs([results.scores], mixed=True), [results])
    page = results.folder.report / "report.html"
    target = place if place.is_file() else page if page.is_file() else None
    for method, protocol, dataset in dict.fromkeys(key[:3] for key in merged):
        case = results.record.cases.get((method, dataset), CaseRecord(Conditions()))
        found = {metric: merged.get(Key(method, protocol, dataset, MEAN, metric)) for metric in MAIN}
        facts = methods.get(method)
        minutes = minutes_of(case)
        budget = [steps_of(case), f"{minutes:.1f} min" if minutes else ""]
        n_categories = len({key.category for key in merged if key[:3] == (method, protocol, dataset)} - {MEAN})
        is_live = case.conditions.maps is None and not case.is_evaluated
        yield _Row(
            {
                "method": facts.label if facts else method,
                "data set": labels.get(dataset, dataset),
                "protocol": protocol,
                "categories": str(n_categories),
                "origin": "measured",
                "preset": case.conditions.preset if is_live else DASH,
                "backbone": backbone_of(case) or DASH,
                "budget": ", ".join(filter(None, budget)) or DASH,
                "seed": str(case.conditions.seed),
                "machine": str(content.get("machine", DASH)),
                "source": without_places(place.name.removesuffix(PACK_SUFFIX)),
                "checksum": digest[:_N_DIGITS],
            },
            {metric: _shown(found[metric], metric) for metric in MAIN},
            os.path.relpath(target, out).replace(os.sep, "/") if target else "",
        )


def _shown(result: Result | None, metric: str) -> tuple[str, str]:
    notes = ["not scored"] if result is None else [result.note, *result.marks]
    return result_text(result, metric), "; ".join(filter(None, notes))


def _published_rows(dataset: str, categories: set[str]) -> Iterator[_Row]:
    """A line per method and source of the published means of a data set, all of whose categories were run."""
    try:
        found = published(dataset=dataset, setting=_SETTING)
    except InputError:
        return
    if not set(found["category"]) - {MEAN} <= categories:
        return
    about = sources().set_index("source_key")
    means = found[(found["category"] == MEAN) & found["metric"].isin(MAIN)]
    for (method, source, variant), some in means.groupby(["method", "source_key", "variant"], sort=False):
        numbers = some.drop_duplicates("metric").set_index("metric")
        location = str(about["location"].get(source, ""))
        yield _Row(
            {
                "method": str(method),
                "data set": DATASETS[dataset].label_of(categories) if dataset in DATASETS else dataset,
                "protocol": DASH,
                "categories": str(len(categories)),
                "origin": "published",
                "preset": DASH,
                "backbone": DASH,
                "budget": DASH,
                "seed": DASH,
                "machine": DASH,
                "source": " ".join(filter(None, (str(about["title"].get(source, source)), str(variant)))),
                "checksum": DASH,
            },
            {
                metric: (numbers["value_percent"][metric], numbers["caution"][metric])
                if metric in numbers.index
                else (DASH, "")
                for metric in MAIN
            },
            location if location.startswith("https://") else "",
        )
