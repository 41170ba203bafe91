"""From finished runs to what is printed and written: tables, diagnosis, figures, the page, and comparisons."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from shutil import rmtree

import pandas as pd

from aseg_bench.analysis.comparison import Comparison, compare
from aseg_bench.analysis.scored_maps import ScoredMaps, counted, in_processes, scored_maps
from aseg_bench.datasets import DATASETS, count_deviations
from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import written_whole
from aseg_bench.methods import MethodFacts
from aseg_bench.progress import track
from aseg_bench.records import MEAN, Case, Score
from aseg_bench.reporting.beside import beside_published, published_csv, published_tables
from aseg_bench.reporting.comparison import comparison_csv, comparison_tables
from aseg_bench.reporting.diagnosis import diagnose
from aseg_bench.reporting.figures import write_figures
from aseg_bench.reporting.page import Note, write_page
from aseg_bench.reporting.paper import paper_own_tables
from aseg_bench.reporting.tables import PAPER_TABLES, Table, category_tables, paper_tables
from aseg_bench.reporting.writing import FORMATS, write_formats
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import merge_runs, merged_scores

Place = tuple[str, str]  # data set and category
CATEGORIES = "categories"
WRITTEN = ".written"  # in the folder of a report: what it wrote, to be removed where the next one does not
_N_SHOWN = 3  # categories named in a sentence
TABLES = (*map(str, PAPER_TABLES), CATEGORIES)


@dataclass(frozen=True)
class Report:
    """What a report prints.

    Attributes:
        tables: in the order of print.
        findings: the diagnosis in words.
        beside: measured with published numbers, from ``beside_published``; None where nothing is measured.
    """

    tables: Sequence[Table]
    findings: Sequence[str] = ()
    beside: pd.DataFrame | None = None


def run_maps(results: Results, methods: Sequence[str] | None = None) -> list[list[ScoredMaps]]:
    """The maps of a run, one entry per category with one entry per method; none of it is read yet.

    Args:
        results: of the run.
        methods: names; None takes all.

    Raises:
        InputError: images or maps are not where the run left them, or a method is not of the run.
    """
    names = list(methods or results.methods)
    for name in names:
        if name not in results.methods:
            raise InputError(f"{results.folder} holds no scores of {name}; {near_matches(name, results.methods)}")
    maps, gaps = _found_maps(results, names)
    if gaps:
        raise InputError(f"{gaps[0]}; run again with the same command, or name others with --methods")
    return list(maps.values())


def _found_maps(results: Results, names: Sequence[str]) -> tuple[dict[Place, list[ScoredMaps]], list[str]]:
    """The maps by category, of the methods that have all of them there, and what is missing."""
    found, gaps = {}, []
    for dataset in results.datasets:
        samples = results.samples(dataset)
        missing = {name: results.store.missing(name, samples) for name in names}
        gaps += [
            f"{results.folder} lacks {len(lost)} maps of {name} on {dataset}, first {lost[0].name}"
            for name, lost in missing.items()
            if lost
        ]
        whole = [name for name in names if not missing[name]]
        for category in scored_maps(results.store, whole, samples, results.protocol) if whole else ():
            found[category[0].case.dataset, category[0].case.category] = category
    return found, gaps


def _shown_maps(runs: Sequence[Results]) -> tuple[list[list[ScoredMaps]], list[Note]]:
    """The maps for figures and gallery: of each method those of the first run that has them; and what to say of it."""
    shown: dict[Place, list[ScoredMaps]] = {}
    notes = []
    for run in runs:
        if not (run.folder / "maps").is_dir():
            continue
        known = {maps.case.method for category in shown.values() for maps in category}
        names = [name for name in run.methods if name not in known]
        try:
            found, gaps = _found_maps(run, names)
        except InputError as error:  # the images are gone
            found, gaps = {}, [str(error)]
        notes += [Note(f"{gap}; left out of the gallery and of the figures of maps", "warning") for gap in gaps]
        for place, category in found.items():
            shown.setdefault(place, []).extend(category)
        if len(runs) > 1 and found:
            new = dict.fromkeys(maps.case.method for category in found.values() for maps in category)
            notes.append(Note(f"Figures of maps and the gallery show those of {run.folder} for {', '.join(new)}."))
    return list(shown.values()), notes


def report(
    runs: Sequence[Results],
    *,
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
    tables: Sequence[str] | None = None,
    mixed: bool = False,
    alarms: Mapping[Case, float] | None = None,
) -> Report:
    """Tables, published numbers and diagnosis of one or several runs; runs with other seeds are merged.

    Args:
        runs: from ``read_results``.
        methods: facts of the methods by name.
        datasets: labels of the data sets by key.
        tables: entries of ``TABLES``; None takes all.
        mixed: accept several protocols or sets of test images in one table.
        alarms: from ``false_alarms``.

    Raises:
        InputError: the runs do not belong in one table, or there is no such table.
    """
    if {"4", "5"} & set(tables or ()):
        raise InputError("Tables 4 and 5 are of ablations; report on the folder that `aseg-bench ablate` has written")
    wanted = known_names(tables, TABLES)
    results = merge_runs([run.scores for run in runs], mixed)
    beside = beside_published(results, methods, datasets)
    chosen = [*paper_tables(results, methods, datasets), *published_tables(beside, results, methods, datasets)]
    chosen = [table for table in chosen if table.key.removeprefix("table")[0] in wanted]
    if CATEGORIES in wanted:
        chosen += category_tables(results, methods, datasets)
    diagnoses = [] if mixed else diagnose(results, methods, datasets, alarms)
    findings = [text for diagnosis in diagnoses for text in diagnosis.findings]
    findings += _other_images(chain.from_iterable(run.scores for run in runs))
    return Report([*chosen, *(diagnosis.table for diagnosis in diagnoses)], findings, beside)


def _other_images(scores: Iterable[Score]) -> list[str]:
    """What to know of data sets whose test images are not as many as published."""
    n_test: dict[str, dict[str, int]] = {}
    for score in scores:
        if score.case.category != MEAN:
            n_test.setdefault(score.case.dataset, {})[score.case.category] = score.n_images
    texts = []
    for key, by_category in n_test.items():
        known = key in DATASETS and DATASETS[key].counts.keys() >= by_category.keys()
        if known and (deviations := count_deviations(DATASETS[key], by_category)):
            first = ", ".join(deviations[:_N_SHOWN])
            texts.append(
                f"{DATASETS[key].label}: {len(deviations)} of {len(by_category)} categories do not have the published "
                f"test images ({first}); published numbers are of other images."
            )
    return texts


def paper_report(tables: Sequence[str] | None = None) -> Report:
    """The source paper's own Tables 1-5.

    Args:
        tables: numbers of tables; None takes all.

    Raises:
        InputError: there is no such table.
    """
    own = paper_own_tables()
    numbers = [str(number) for number in range(1, len(own) + 1)]
    return Report([own[int(number) - 1] for number in known_names(tables, numbers)])


def write_report(out: Path, made: Report, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write tables in every format, the findings, and published numbers beside measured ones.

    Raises:
        InputError: there is no such format.
    """
    paths = write_formats(out, made.tables, known_names(formats, list(FORMATS)))
    texts = {
        "findings.txt": "".join(f"{text}\n" for text in made.findings),
        "published.csv": published_csv(made.beside) if made.beside is not None and len(made.beside) else "",
    }
    for name, text in texts.items():
        if text:
            with written_whole(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
            paths.append(out / name)
    return paths


def write_run_report(
    out: Path,
    runs: Sequence[Results],
    *,
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
    tables: Sequence[str] | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    page: bool = True,
    mixed: bool = False,
) -> tuple[Report, list[Path]]:
    """Write everything there is to say about finished runs.

    Args:
        out: folder of the report.
        runs: from ``read_results``; runs with other seeds are merged.
        methods: facts of the methods by name.
        datasets: labels of the data sets by key.
        tables: entries of ``TABLES``; None takes all.
        formats: of the tables.
        page: draw figures and build ``report.html``, whose gallery shows the maps that are there.
        mixed: accept several protocols or sets of test images in one table.

    Returns:
        The report and the files written.

    Raises:
        InputError: there is no such format, or whatever ``report`` refuses.
    """
    known_names(formats, list(FORMATS))
    maps, notes = _shown_maps(runs) if page else ([], [])
    for note in notes:
        if note.kind == "warning":
            warnings.warn(note.text, stacklevel=2)
    maps = in_processes([partial(counted, category) for category in maps])
    alarms = false_alarms(maps) if maps and len(runs) == 1 else None
    made = report(runs, methods=methods, datasets=datasets, tables=tables, mixed=mixed, alarms=alarms)
    paths = write_report(out, made, formats)
    if page:
        labels = {name: facts.label for name, facts in methods.items()}
        scores = merged_scores([run.scores for run in runs])
        figures = write_figures(out / "figures", scores, maps, labels=labels, datasets=datasets)
        written = write_page(
            out,
            scores,
            maps,
            tables=made.tables,
            figures=figures,
            conditions=runs[0].record if len(runs) == 1 else {str(run.folder): run.record for run in runs},
            notes=[*notes, *(Note(text) for text in made.findings)],
            labels=labels,
            datasets=datasets,
        )
        gallery = [out / "gallery"] if maps else []
        _remove_stale(out, [*paths, *(path for figure in figures for path in figure.paths), *gallery, written])
        paths += [out / "figures", written]
    else:
        _remove_stale(out, paths)
    return made, paths


def _remove_stale(out: Path, written: Iterable[Path]) -> None:
    """Remove what an older report has written here and this one has not, and keep a list of what this one has."""
    names = sorted(path.relative_to(out).as_posix() for path in written)
    record = out / WRITTEN
    before = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    for path in (out / name for name in set(before) - set(names)):
        if not path.resolve().is_relative_to(out.resolve()):
            continue
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with written_whole(record) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def compare_run(
    results: Results,
    methods: Sequence[str] | None = None,
    *,
    n_replicates: int = 1000,
    seed: int = 0,
    quiet: bool = False,
) -> Comparison:
    """Intervals and paired differences of methods of one run, from its maps.

    Raises:
        InputError: maps or images are missing, or a method is not of the run.
    """
    maps = run_maps(results, methods)
    return compare(
        track(maps, "resampling images", len(maps), quiet), results.scores, n_replicates=n_replicates, seed=seed
    )


def write_comparison(
    out: Path, comparison: Comparison, methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> tuple[list[Table], list[Path]]:
    """Write the tables of a comparison in every format, and its numbers in full precision as ``comparison.csv``."""
    labels = {name: facts.label for name, facts in methods.items()}
    tables = comparison_tables(comparison, labels, datasets)
    paths = write_formats(out, tables, ("md", "tex", "html"), "comparison")
    with written_whole(out / "comparison.csv") as temporary:
        temporary.write_text(comparison_csv(comparison), encoding="utf-8")
    return tables, [*paths, out / "comparison.csv"]


def false_alarms(maps: Sequence[Sequence[ScoredMaps]]) -> dict[Case, float]:
    """False-positive pixels per normal image at the threshold of the DSC, where a category has any normal image."""
    alarms = {}
    for scored in chain.from_iterable(maps):
        normal = [index for index, sample in enumerate(scored.samples) if not sample.is_anomalous]
        if scored.threshold is not None and normal:
            alarms[scored.case] = float(scored.counts.confusion(scored.threshold)[1][normal].mean())
    return alarms


def known_names(names: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    """The names; all known ones where there are none.

    Raises:
        InputError: one is not known.
    """
    for name in names or ():
        if name not in known:
            raise InputError(f"no {name} here; {near_matches(name, known)}")
    return known if names is None else names
