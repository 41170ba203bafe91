"""Maps that other code made, scored into a folder beside what runs have left there."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from aseg_bench.datasets import AS_USUAL, Reading
from aseg_bench.errors import InputError
from aseg_bench.files import make_folder
from aseg_bench.metrics import METRICS
from aseg_bench.metrics.checks import check_keys
from aseg_bench.predictions.records import Limits
from aseg_bench.progress import progress_bar, working
from aseg_bench.protocols import find_protocol
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.records import grouped
from aseg_bench.runs.admission import check_data, check_maps, check_name, check_tables
from aseg_bench.runs.engines import Engine
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import holding
from aseg_bench.runs.provenance import made_by
from aseg_bench.runs.record import CaseRecord, Conditions
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import beside
from aseg_bench.runs.shard_files import Tallied, merged, tally
from aseg_bench.runs.shards import Facts, Plan, check_whole, facts_on, scored_on
from aseg_bench.runs.sources import Source
from aseg_bench.scoring.categories import SCORING
from aseg_bench.scoring.dumps import ScoredDump, score_dump
from aseg_bench.scoring.shards import Shard


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        results: all that the folder now holds.
        findings: what looks wrong in the maps though they were scored, one sentence per kind.
        failures: why a category was not scored, one sentence each.
    """

    results: Results
    findings: Sequence[str]
    failures: Sequence[str]


@holding
def evaluate(
    maps: Path,
    *,
    out: Path,
    name: str = "maps",
    seed: int = 0,
    dataset: str | None = None,
    data_root: Path | None = None,
    categories: Sequence[str] | None = None,
    reader: str = "auto",
    protocol: str = "exact",
    mask_rule: str = DEFAULT_RULE,
    metrics: Sequence[str] | None = None,
    limits: Limits | None = None,
    allow_clamped: bool = False,
    keep_going: bool = False,
    mixed: bool = False,
    reading: Reading = AS_USUAL,
    workers: int | None = None,
    dask: str | None = None,
    quiet: bool = True,
) -> Evaluation:
    """Score maps that other code made; ``aseg-bench eval`` is this function.

    Args:
        maps: file or folder of maps, may be a URL: ``Path("s3://bucket/maps")``.
        out: folder of the scores; those of a run may lie there already.
        name: of the method in the tables.
        seed: of the training that made the maps; a report merges evaluations of one name that differ in it.
        dataset: key of ``DATASETS``; None where masks travel with the maps.
        data_root: where the data set lies, may be a URL; None for one that comes with the toolkit.
        categories: those to score; None takes all.
        reader: key of a reader, or ``auto``.
        protocol: key of ``PROTOCOLS``.
        mask_rule: which values of a mask mean anomalous or void, see `MaskRule`; part of the protocol.
        metrics: keys of ``METRICS``; None takes the default ones.
        limits: how much a file may ask for, and whether pickles are read.
        allow_clamped: score clamped maps of layouts that usually clamp them.
        keep_going: leave out categories that have a problem instead of stopping.
        mixed: tables may mix protocols.
        reading: how the files of the data set are read; it needs no training images.
        workers: score in so many processes, or with ``dask`` wait for so many workers; the digits are the
            same.
        dask: score on the workers of this Dask scheduler, an address or the path of its file, which must find maps and
            images under the same paths.
        quiet: no progress bars.

    Raises:
        InputError: a name is unknown, maps or data cannot be used, the folder holds what does not go with them, or
            another process holds it.
    """
    check_keys(metrics or (), tuple(METRICS))
    find_protocol(protocol, mask_rule)  # a name that is wrong is told before any work
    folder = RunFolder(out)
    check_name(folder, name)
    source = Source(
        maps=maps,
        dataset=dataset,
        data_root=data_root,
        categories=None if categories is None else tuple(categories),
        reader=reader,
        mask_rule=mask_rule,
        limits=limits or Limits(),
        allow_clamped=allow_clamped,
        reading=reading,
    )
    plan = Plan.of(source, name, seed, protocol, metrics)
    _check_entry(folder, plan, mixed)
    with ExitStack() as stack:
        engine = None
        if workers is not None or dask is not None:
            if keep_going:
                raise InputError("--keep-going works in one process; leave out --workers and --dask, or --keep-going")
            check_whole(source)
            engine = stack.enter_context(Engine(workers, dask))
            plan = replace(plan, n_shards=engine.n_workers)
        with working("checking images and maps", quiet):
            facts = facts_on(engine, plan, source)
        _check_files(folder, plan, facts)
        bar = stack.enter_context(progress_bar(quiet))
        n_steps = len(plan.categories) if engine is None else plan.n_jobs
        task = bar.add_task("scoring", total=n_steps, note="")
        if engine is None:
            scored = score_dump(
                source.opened().imported,
                name,
                protocol=find_protocol(protocol, mask_rule),
                metrics=metrics,
                keep_going=keep_going,
                tell=lambda note: bar.update(task, advance=1, note=note),
            )
        else:
            scored = scored_on(engine, plan, source, lambda: bar.advance(task))
    return _kept(folder, plan, facts, scored)


def evaluate_shard(
    source: Source,
    shard: str,
    *,
    out: Path,
    name: str = "maps",
    seed: int = 0,
    protocol: str = "exact",
    metrics: Sequence[str] | None = None,
    quiet: bool = True,
) -> Tallied:
    """Score a part of the images of every category, for `merge`; ``aseg-bench eval --shard`` is this function.

    Args:
        source: the maps and their images.
        shard: number of the part and how many there are, for instance ``3/16``.
        out: folder of the files of all shards, which this call may add one or two to.
        name: as in `evaluate`.
        seed: as in `evaluate`.
        protocol: as in `evaluate`; exact or native.
        metrics: as in `evaluate`.
        quiet: no progress bars.

    Raises:
        InputError: as `evaluate`, or the folder holds shards of something else.
    """
    check_keys(metrics or (), tuple(METRICS))
    check_name(RunFolder(out), name)
    part = Shard.parse(shard)
    plan = Plan.of(source, name, seed, protocol, metrics, part.of)
    _ = plan.rules  # the protocol's code may need all maps at once
    check_whole(source)
    make_folder(out)
    with progress_bar(quiet) as bar:
        task = bar.add_task("scoring", total=2 * len(plan.categories), note=f"shard {part}")
        return tally(source, plan, part, out, lambda: bar.advance(task))


@holding
def merge(parts: Sequence[Path], *, out: Path, mixed: bool = False) -> tuple[Plan, Evaluation]:
    """Add up what all shards of an evaluation have left; ``aseg-bench merge`` is this function.

    Scores and findings are those of `evaluate` in one process, to the last bit; no map is read.

    Args:
        parts: files of shards, or folders of them, in any order.
        out: folder of the scores; those of a run may lie there already.
        mixed: tables may mix protocols.

    Returns:
        What the shards had in common, and what came of it.

    Raises:
        InputError: shards are missing, are there twice or do not belong together, or the folder holds what does not go
            with them.
    """
    plan, facts, scored = merged(parts)
    folder = RunFolder(out)
    check_name(folder, plan.method)
    _check_entry(folder, plan, mixed)
    _check_files(folder, plan, facts)
    return plan, _kept(folder, plan, facts, scored)


def _check_entry(folder: RunFolder, plan: Plan, mixed: bool) -> None:
    planned = {plan.case(category): n_images for category, n_images in plan.categories.items()}
    check_tables(folder, planned, find_protocol(plan.protocol, plan.mask_rule), mixed=mixed)


def _check_files(folder: RunFolder, plan: Plan, facts: Facts) -> None:
    check_maps(folder, plan.method, plan.key, Path(plan.maps), facts.maps_checksum)
    if facts.data is not None:
        check_data(folder, plan.key, facts.data, [plan.method], overwrite=True)


def _kept(folder: RunFolder, plan: Plan, facts: Facts, scored: ScoredDump) -> Evaluation:
    """Write scores and record."""
    record, data = folder.record, facts.data
    conditions = Conditions(seed=plan.seed, maps=plan.maps, maps_checksum=facts.maps_checksum)
    if data is not None:
        record, conditions = record.with_data(plan.key, data), replace(conditions, data=data.checksum)
    case = CaseRecord(
        conditions,
        {"reader": plan.maps_reader},
        findings=scored.findings,
        scoring=SCORING,
        scored_at=scored.sizes,
        is_evaluated=True,
        scored=dict.fromkeys(scored.sizes, made_by()),
    )
    scores, before = beside(folder.scores, scored.scores), folder.record.cases.get((plan.method, plan.key))
    if before is not None and scores == folder.scores and replace(case, scored=before.scored) == before:
        case = before  # the same once more
    record = record.with_case(plan.method, plan.key, case)
    if record != folder.record:
        folder.write_record(record)
    folder.write_scores(scores)
    n_categories = len({score.case.category for score in scored.scores})
    return Evaluation(Results.of(folder), grouped(scored.findings, n_categories), scored.failures)
