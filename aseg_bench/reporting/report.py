"""From finished runs to what is printed and written: tables, diagnosis, figures, the page, and comparisons."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd

from aseg_bench.analysis.areas import area_scores
from aseg_bench.analysis.scored_maps import ScoredMaps, counted
from aseg_bench.datasets import DATASETS, count_deviations, dataset_labels
from aseg_bench.errors import InputError, listed, near_matches
from aseg_bench.files import make_folder, written_whole
from aseg_bench.progress import working
from aseg_bench.records import Case, Place, Score
from aseg_bench.reporting.areas import AREA, area_tables
from aseg_bench.reporting.beside import beside_published, published_csv, published_tables
from aseg_bench.reporting.cells import Note, Table
from aseg_bench.reporting.costs import COST, cost_table, training_points
from aseg_bench.reporting.diagnosis import diagnose
from aseg_bench.reporting.paper import paper_own_tables
from aseg_bench.reporting.robustness import ROBUSTNESS, clean_results, is_beside_clean, robustness_tables
from aseg_bench.reporting.tables import MAIN, PAPER_TABLES, category_tables, main_table, method_tables, paper_tables
from aseg_bench.reporting.thresholds import THRESHOLD, light_tables, threshold_tables
from aseg_bench.reporting.writing import FORMATS, write_formats
from aseg_bench.runs.findings import findings_of, marked, shown_methods
from aseg_bench.runs.lock import held
from aseg_bench.runs.publishing import without_places
from aseg_bench.runs.results import Results, read_results
from aseg_bench.runs.scores import Key, Result, json_of, merge_runs, merged_scores

CATEGORIES = "categories"
FINDINGS = "findings.txt"
PAGE = "report.html"
WRITTEN = ".written"  # in the folder of a report: of what it was made, and the files that it wrote
_N_SHOWN = 3  # categories named in a sentence
TABLES = (*map(str, PAPER_TABLES), ROBUSTNESS, THRESHOLD, COST, AREA, CATEGORIES)


@dataclass(frozen=True)
class Report:
    """What a report prints, and where it was written.

    Attributes:
        tables: in the order of print.
        findings: what is odd about scores and maps, and the diagnosis in words.
        beside: measured with published numbers, from ``beside_published``; None where nothing is measured.
        bibtex: entries of the papers of the methods.
        results: what is measured, in full precision, merged over the runs.
        paths: files and folders written.
    """

    tables: Sequence[Table]
    findings: Sequence[str] = ()
    beside: pd.DataFrame | None = None
    bibtex: str = ""
    results: Mapping[Key, Result] = field(default_factory=dict)
    paths: Sequence[Path] = field(default=())

    def to_frame(self) -> pd.DataFrame:
        """Measured and published numbers, one row each; empty where nothing is measured."""
        return pd.DataFrame() if self.beside is None else self.beside


def report(
    runs: Sequence[Path | Results],
    *,
    names: Sequence[str] | None = None,
    out: Path | None = None,
    tables: Sequence[str] | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    page: bool = True,
    mixed: bool = False,
    title: str | None = None,
    again: bool = True,
    quiet: bool = True,
) -> Report:
    """Write everything there is to say about finished runs; ``aseg-bench report`` is this function.

    Args:
        runs: folders or results; runs with other seeds are merged.
        names: one for each run, which its method has in the report, see ``Results.named``.
        out: folder of the report; None takes ``report`` in the folder of a single run, or beside the first of several.
        tables: entries of ``TABLES``; None takes all.
        formats: of the tables: entries of ``FORMATS``.
        page: draw figures and build ``report.html``, whose gallery shows the maps that are there.
        mixed: accept several protocols or sets of test images in one table; then without figures and page.
        title: heading of the page; None names the data sets.
        again: write a report again that is there already, made of the same scores by this version of the toolkit.
        quiet: do not show that work is under way.

    Raises:
        InputError: runs are not finished or do not belong in one table, a table or format is unknown, or another
            process holds the folder.
    """
    known_names(formats, list(FORMATS))
    read = read_results(runs, mixed, names)
    place = out or (read[0].folder.report if len(read) == 1 else read[0].folder.out.parent / read[0].folder.report.name)
    with held(read[0].folder.out if place == read[0].folder.report else place):
        return _written(
            read, place, names, tables, formats, page=page, mixed=mixed, title=title, again=again, quiet=quiet
        )


def _written(
    read: Sequence[Results],
    place: Path,
    names: Sequence[str] | None,
    tables: Sequence[str] | None,
    formats: Sequence[str],
    *,
    page: bool,
    mixed: bool,
    title: str | None,
    again: bool,
    quiet: bool,
) -> Report:
    make_folder(place)
    if page and mixed and (place / PAGE).is_file():
        warnings.warn(f"{place / PAGE} is removed: tables that mix protocols or images have no page", stacklevel=2)
    key = _key(read, names, tables, formats, page, mixed, title)
    if not again and (there := _there(place, key)):
        texts = (place / FINDINGS).read_text(encoding="utf-8").splitlines() if place / FINDINGS in there else []
        return replace(_made(read, tables, mixed), findings=texts, paths=there)
    with working("writing the report", quiet):
        maps, notes = _shown_maps(read) if page and not mixed else ([], [])
        for note in notes:
            if note.kind == "warning":
                warnings.warn(note.text, stacklevel=2)
        maps = counted(maps)
        made = _made(read, tables, mixed, maps)
        paths = write_report(place, made, formats)
        if page and not mixed:
            paths += _write_page(place, read, made, maps, notes, title)
        _remove_stale(place, paths, key)
    return replace(made, paths=paths)


def _write_page(
    out: Path,
    runs: Sequence[Results],
    made: Report,
    maps: Sequence[Sequence[ScoredMaps]],
    notes: Sequence[Note],
    title: str | None,
) -> list[Path]:
    """Figures and page; returns what was written."""
    from aseg_bench.reporting.figures import write_figures  # they take a second to import, and not every report draws
    from aseg_bench.reporting.page import write_page

    labels = {name: facts.label for name, facts in shown_methods(runs).items()}
    datasets = dataset_labels(chain.from_iterable(run.scores for run in runs))
    everything = merged_scores([run.scores for run in runs])
    corrupted = {key for key in datasets if is_beside_clean(key, set(datasets))}
    scores = [score for score in everything if score.case.dataset not in corrupted]
    logs = {
        (run.names.get(method, method), dataset): log
        for run in runs
        for method, dataset in run.folder.record.cases
        if dataset not in corrupted
        if (log := run.folder.table(run.folder.log_file(method, dataset))) is not None
    }
    trainings = training_points(runs)
    conditions = {f"run {i}, {run.folder.out.name}": run.folder.content for i, run in enumerate(runs, start=1)}
    today, machines = date.today(), dict.fromkeys(run.folder.content.get("machine", "") for run in runs)
    results, odd = marked(merge_runs([run.scores for run in runs]), runs), findings_of(runs)
    figures = write_figures(
        out / "figures",
        scores,
        maps,
        logs=logs,
        trainings=trainings[~trainings["dataset"].isin(corrupted)],
        unranked={
            (Case(key.method, key.dataset, key.category), key.metric)
            for key, one in results.items()
            if one.is_disqualified
        },
        labels=labels,
        datasets=datasets,
    )
    written = write_page(
        out,
        results,
        maps,
        tables=made.tables,
        figures=figures,
        conditions=conditions.popitem()[1] if len(conditions) == 1 else conditions,
        notes=[*notes, *(Note(text, "warning" if text in odd else "finding") for text in made.findings)],
        labels=labels,
        datasets=datasets,
        title=title,
        about=[f"{today.day} {today:%B %Y}", *filter(None, machines), f"aseg-bench {version('aseg-bench')}"],
    )
    gallery = [out / "gallery"] if maps else []
    return [*(path for figure in figures for path in figure.paths), *gallery, written]


def _shown_maps(runs: Sequence[Results]) -> tuple[list[list[ScoredMaps]], list[Note]]:
    """The maps for figures and gallery: of each method those of the first run that has them; and what to say of it."""
    shown: dict[Place, list[ScoredMaps]] = {}
    notes = []
    for run in runs:
        if not run.folder.store.root.is_dir():
            continue
        known = {maps.case.method for category in shown.values() for maps in category}
        names = [name for name in run.methods if name not in known]
        try:
            shown_sets = [key for key in run.datasets if not is_beside_clean(key, set(run.datasets))]
            found, gaps = run.maps_there(names, shown_sets)
        except InputError as error:  # the images are gone
            found, gaps = {}, [str(error)]
        notes += [Note(f"{gap}; left out of the gallery and of the figures of maps", "warning") for gap in gaps]
        for place, category in found.items():
            shown.setdefault(place, []).extend(category)
        if len(runs) > 1 and found:
            new = dict.fromkeys(maps.case.method for category in found.values() for maps in category)
            notes.append(
                Note(f"Gallery and figures of maps show {listed(list(new))} as of the run {run.folder.out.name}.")
            )
    return list(shown.values()), notes


def _made(
    runs: Sequence[Results], tables: Sequence[str] | None, mixed: bool, maps: Sequence[Sequence[ScoredMaps]] = ()
) -> Report:
    """Tables, published numbers and diagnosis of one or several runs, of a single one also what its maps say."""
    if {"4", "5"} & set(tables or ()):
        raise InputError("Tables 4 and 5 are of ablations; report on the folder that `aseg-bench ablate` has written")
    wanted = known_names(tables, TABLES)
    methods = shown_methods(runs)
    datasets = dataset_labels(chain.from_iterable(run.scores for run in runs))
    everything = marked(merge_runs([run.scores for run in runs], mixed), runs)
    results = clean_results(everything)
    beside = beside_published(results, methods, datasets)
    numbers = [number for number in PAPER_TABLES if str(number) in wanted]
    several = len({key.dataset for key in results}) > 1 or len(numbers) == 1
    chosen = [] if several else main_table(results, methods, datasets, numbers)
    others = [*(paper_tables(results, methods, datasets) if several else ())]
    others += published_tables(beside, results, methods, datasets)
    chosen += [table for table in others if table.key.removeprefix("table")[0] in wanted]
    if ROBUSTNESS in wanted:
        chosen += robustness_tables(everything, methods, datasets)
    if THRESHOLD in wanted:
        chosen += threshold_tables(results, runs, methods, datasets)
        chosen += light_tables(maps if len(runs) == 1 else (), methods, datasets)
    if COST in wanted:
        chosen += filter(None, [cost_table(results, runs, methods, datasets)])
    if AREA in wanted and maps:
        areas = [score for one in chain.from_iterable(maps) for score in area_scores(one)]
        labels = {name: facts.label for name, facts in methods.items()}
        chosen += area_tables(areas, results, labels, datasets, runs[0].protocol.size, len(runs))
    if CATEGORIES in wanted:
        chosen += category_tables(results, methods, datasets)
    alarms = false_alarms(maps) if maps and len(runs) == 1 else None
    diagnoses = [] if mixed else diagnose(results, methods, datasets, alarms)
    findings = list(dict.fromkeys(findings_of(runs)))  # several data sets may have the same
    findings += [text for diagnosis in diagnoses for text in diagnosis.findings]
    findings += _other_images(chain.from_iterable(run.scores for run in runs))
    names = dict.fromkeys(name.partition(":")[0] for run in runs for name in run.methods)  # or of its family
    bibtex = "\n".join(
        dict.fromkeys(methods[name].bibtex for name in names if name in methods and methods[name].bibtex)
    )
    return Report([*chosen, *(diagnosis.table for diagnosis in diagnoses)], findings, beside, bibtex, everything)


def _other_images(scores: Iterable[Score]) -> list[str]:
    """What to know of data sets whose test images are not as many as published."""
    n_test: dict[str, dict[str, int]] = {}
    for score in scores:
        n_test.setdefault(score.case.dataset, {})[score.case.category] = score.n_images
    texts = []
    for key, by_category in n_test.items():
        known = key in DATASETS and DATASETS[key].counts.keys() >= by_category.keys()
        if known and (deviations := count_deviations(DATASETS[key], by_category)):
            first = ", ".join(deviations[:_N_SHOWN])
            texts.append(
                f"{len(deviations)} of {len(by_category)} categories of {DATASETS[key].label} have other numbers of "
                f"test images than were published ({first}), so compare with published numbers with care."
            )
    return texts


def tables_of_methods(
    run: Results, metrics: Sequence[str] | None = None, methods: Sequence[str] | None = None, mixed: bool = False
) -> list[Table]:
    """A table for each method of a run, categories by metrics.

    Args:
        run: finished.
        metrics: keys in the order of the columns; None takes those that every table shows.
        methods: names; None takes all.
        mixed: accept several protocols.
    """
    results = marked(merge_runs([run.scores], mixed), [run])
    shown = {key: result for key, result in results.items() if methods is None or key.method in methods}
    return method_tables(shown, shown_methods([run]), dataset_labels(run.scores), metrics or MAIN)


def paper_report(
    tables: Sequence[str] | None = None,
    *,
    out: Path | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    page: bool = True,
    quiet: bool = True,
) -> Report:
    """The source paper's own Tables 1-5, and with a folder the inflation figures of published numbers.

    Args:
        tables: numbers of tables; None takes all.
        out: folder to write into; None writes nothing.
        formats: of the tables.
        page: draw the figures, too.
        quiet: do not show that work is under way.

    Raises:
        InputError: a table or format is unknown.
    """
    own = paper_own_tables()
    numbers = [str(number) for number in range(1, len(own) + 1)]
    made = Report([own[int(number) - 1] for number in known_names(tables, numbers)])
    if out is None:
        return made
    make_folder(out)
    paths = write_report(out, made, formats)
    if page:
        from aseg_bench.reporting.figures import write_published_figures

        with working("drawing the published numbers", quiet):
            paths += [path for figure in write_published_figures(out / "figures") for path in figure.paths[:1]]
    return replace(made, paths=paths)


def write_report(out: Path, made: Report, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write tables in every format, the findings, and published numbers beside measured ones.

    Raises:
        InputError: a format is unknown.
    """
    paths = write_formats(out, made.tables, known_names(formats, list(FORMATS)))
    texts = {
        FINDINGS: "".join(f"{without_places(text)}\n" for text in made.findings),
        "references.bib": made.bibtex,
        "published.csv": published_csv(made.beside) if made.beside is not None and len(made.beside) else "",
        "scores.json": json_of(made.results) if made.results else "",
    }
    for name, text in texts.items():
        if text:
            with written_whole(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
            paths.append(out / name)
    return paths


def _key(runs: Sequence[Results], *options: object) -> str:
    """What changes whenever a report would: scores, records, options and version."""
    key = sha256(repr((version("aseg-bench"), options)).encode())
    for run in runs:
        for file in (run.folder.scores_file, run.folder.record_file):
            key.update(file.read_bytes() if file.is_file() else b"")
    return key.hexdigest()


def _there(out: Path, key: str) -> list[Path]:
    """What a report of this key has written, if all of it is still there; nothing otherwise."""
    record = out / WRITTEN
    first, *names = record.read_text(encoding="utf-8").splitlines() if record.is_file() else [""]
    paths = [out / name for name in names]
    return paths if first == key and all(path.exists() for path in paths) else []


def _remove_stale(out: Path, written: Iterable[Path], key: str) -> None:
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
        temporary.write_text("".join(f"{line}\n" for line in (key, *names)), encoding="utf-8")


def false_alarms(maps: Sequence[Sequence[ScoredMaps]]) -> dict[Case, float]:
    """False-positive pixels per normal image at the threshold of the DSC, where a category has any normal image."""
    alarms = {}
    for scored in chain.from_iterable(maps):
        has_pixels = np.asarray(scored.counts.normal.any(axis=1))  # not where all are void
        normal = [i for i, sample in enumerate(scored.samples) if has_pixels[i] and not sample.is_anomalous]
        if scored.threshold is not None and normal:
            alarms[scored.case] = float(scored.counts.confusion(scored.threshold)[1][normal].mean())
    return alarms


def known_names(names: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    """The names; all known ones where there are none.

    Raises:
        InputError: a name is unknown.
    """
    for name in names or ():
        if name not in known:
            raise InputError(f"there is no {name} here; {near_matches(name, known)}")
    return known if names is None else names
