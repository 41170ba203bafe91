"""Tables 4 and 5 of a finished ablation, beside the source paper's numbers, and pictures of single levels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from aseg_bench.analysis.scored_maps import by_category, stored_maps
from aseg_bench.datasets import dataset_labels, find_samples
from aseg_bench.methods import find_method
from aseg_bench.records import MEAN, Case
from aseg_bench.reporting.cells import DASH, Cell, Table, heading, result_text
from aseg_bench.reporting.figures import write_levels_figures
from aseg_bench.reporting.paper import paper_own_tables
from aseg_bench.reporting.report import CATEGORIES, Report, known_names, write_report
from aseg_bench.reporting.tables import ablation_table, category_tables
from aseg_bench.runs.ablation import ABLATED, Kind, level_maps
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import held
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.scores import Key, Result, merge_runs, read_scores

_NUMBERS = {Kind.COMPONENTS: "4", Kind.LEVELS: "5"}  # of the paper's tables


def ablation_report(
    out_of_ablation: Path,
    tables: Sequence[str] | None = None,
    *,
    out: Path | None = None,
    formats: Sequence[str] = ("md", "tex", "csv"),
) -> Report:
    """The table of a finished ablation beside the paper's numbers, and pixel AP by category.

    Args:
        out_of_ablation: folder that an ablation has written.
        tables: ``4`` or ``5``, whichever it is, and ``categories``; None takes both.
        out: folder to write into; None takes that of the ablation.
        formats: of the tables.

    Raises:
        InputError: the folder is damaged, or a table or format is unknown.
    """
    folder = RunFolder(out_of_ablation)
    ablation = folder.ablation
    kind, label = Kind(ablation.kind), find_method(ablation.method).label
    by_seed = [read_scores(folder.seed_file(seed)) for seed in ablation.seeds]
    results = merge_runs(by_seed)
    ((key, data),) = dataset_labels(chain.from_iterable(by_seed)).items()
    n_seeds = f", mean ± standard deviation of {len(by_seed)} seeds" if len(by_seed) > 1 else ""
    caption = (
        f"{label} by {kind} on {data}{n_seeds}, the gap to the last line in parentheses; beside it the paper's "
        "numbers on MVTec-AD, other images and another budget."
    )
    number = _NUMBERS[kind]
    categories = [table for table in category_tables(results, {}, {key: data}) if table.key.endswith("_pixel_ap")]
    made = {number: [_beside_paper(number, caption, ablation.lines, results)], CATEGORIES: categories}
    report = Report([table for name in known_names(tables, list(made)) for table in made[name]])
    with held(out or folder.out):
        return replace(report, paths=write_report(out or folder.out, report, formats))


def write_level_pictures(plan: RunPlan, seeds: Sequence[int]) -> None:
    """Draw single levels beside their product and the truth, as in Figure 5, into ``figures`` of each seed's run."""
    test = [
        sample
        for sample in find_samples(plan.dataset, plan.data_root, plan.categories, plan.reading)
        if sample.split == "test"
    ]
    for seed in seeds:
        out = plan.out / f"seed{seed}"
        store = level_maps(out)
        coarse_to_fine = sorted((int(folder.name) for folder in store.root.iterdir()), reverse=True)
        categories = [
            [stored_maps(store, Case(str(level), *place), samples) for level in coarse_to_fine]
            for place, samples in by_category(test).items()
        ]
        write_levels_figures(out / "figures", categories)


def _beside_paper(number: str, caption: str, labels: Sequence[str], results: Mapping[Key, Result]) -> Table:
    """Table 4 or 5 with our numbers and the paper's behind them."""
    paper = paper_own_tables()[int(number) - 1]
    (_, printed_rows), *_ = paper.blocks
    if number == _NUMBERS[Kind.COMPONENTS]:
        heads, theirs = [row[:-2] for row in printed_rows], [row[-2:] for row in printed_rows]
    else:
        known = {row[1].text: row[-2:] for row in printed_rows}
        heads = [[Cell(str(1 + label.count(","))), Cell(label)] for label in labels]
        theirs = [known.get(label, [Cell(DASH), Cell(DASH)]) for label in labels]
    found = {(key.method, key.metric): result for key, result in results.items() if key.category == MEAN}
    columns = {
        heading(metric): [result_text(found.get((label, metric)), metric) for label in labels] for metric in ABLATED
    }
    ours = ablation_table(f"table{number}", caption, paper.header[:-2], heads, columns)
    (_, own_rows), *_ = ours.blocks
    rows = [[*own, *other] for own, other in zip(own_rows, theirs, strict=True)]
    header = [*ours.header, Cell("paper pAP"), Cell("paper DSC")]
    return replace(ours, header=header, blocks=[("", rows)], notes=paper.notes)
