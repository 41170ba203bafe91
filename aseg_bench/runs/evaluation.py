"""Maps that other code made, scored into a folder beside what runs have left there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aseg_bench.datasets import AS_USUAL, Reading, check_images, find_samples
from aseg_bench.errors import InputError
from aseg_bench.metrics import METRICS
from aseg_bench.metrics.checks import check_keys
from aseg_bench.predictions.imported import OWN_DATASET, import_maps
from aseg_bench.predictions.loading import checksum_of_files
from aseg_bench.predictions.records import Limits
from aseg_bench.progress import progress_bar, working
from aseg_bench.protocols import find_protocol
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, own_rule
from aseg_bench.records import Case, Sample, grouped
from aseg_bench.runs.admission import check_data, check_maps, check_name, check_tables, data_facts
from aseg_bench.runs.folder import CaseRecord, Conditions, RunFolder
from aseg_bench.runs.lock import holding
from aseg_bench.runs.provenance import made_by
from aseg_bench.runs.results import Results
from aseg_bench.runs.scores import beside
from aseg_bench.scoring.categories import SCORING
from aseg_bench.scoring.dumps import score_dump


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
    quiet: bool = True,
) -> Evaluation:
    """Score maps that other code made; ``aseg-bench eval`` is this function.

    Args:
        maps: file or folder of maps.
        out: folder of the scores; those of a run may lie there already.
        name: of the method in the tables.
        seed: of the training that made the maps; a report merges evaluations of one name that differ in it.
        dataset: key of ``DATASETS``; None where masks travel with the maps.
        data_root: where the data set lies; None for one that comes with the toolkit.
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
        quiet: no progress bars.

    Raises:
        InputError: a name is unknown, maps or data cannot be used, the folder holds what does not go with them, or
            another process holds it.
    """
    check_keys(metrics or (), tuple(METRICS))
    rules, folder = find_protocol(protocol, mask_rule), RunFolder(out)
    check_name(folder, name)
    samples = samples_of(dataset, data_root, reading)
    imported = import_maps(
        maps,
        of_test(samples),
        categories=categories,
        reader=reader,
        limits=limits,
        allow_clamped=allow_clamped,
        mask_rule=mask_rule,
    )
    planned = {Case(name, dataset or OWN_DATASET, key): len(found) for key, found in imported.found.items()}
    check_tables(folder, planned, rules, mixed=mixed)
    record, key = folder.record, dataset or OWN_DATASET
    with working("checking images and maps", quiet):
        conditions = Conditions(seed=seed, maps=str(maps), maps_checksum=checksum_of_files(maps))
        check_maps(folder, name, key, maps, conditions.maps_checksum or "")
        if dataset and samples:
            chosen = [sample for sample in samples if categories is None or sample.category in categories]
            findings = check_images(chosen, data_root, is_anomalous=own_rule(mask_rule), whole=False)
            data = data_facts(data_root, chosen, reading, findings)
            check_data(folder, dataset, data, [name], overwrite=True)
            record, conditions = record.with_data(dataset, data), replace(conditions, data=data.checksum)
    with progress_bar(quiet) as bar:
        task = bar.add_task("scoring", total=len(imported.found), note="")
        scored = score_dump(
            imported,
            name,
            protocol=rules,
            metrics=metrics,
            keep_going=keep_going,
            tell=lambda note: bar.update(task, advance=1, note=note),
        )
    case = CaseRecord(
        conditions,
        {"reader": imported.reader.key},
        findings=scored.findings,
        scoring=SCORING,
        scored_at=scored.sizes,
        is_evaluated=True,
        scored=dict.fromkeys(scored.sizes, made_by()),
    )
    scores, before = beside(folder.scores, scored.scores), folder.record.cases.get((name, key))
    if before is not None and scores == folder.scores and replace(case, scored=before.scored) == before:
        case = before  # the same once more
    record = record.with_case(name, key, case)
    if record != folder.record:
        folder.write_record(record)
    folder.write_scores(scores)
    n_categories = len({score.case.category for score in scored.scores})
    return Evaluation(Results.of(folder), grouped(scored.findings, n_categories), scored.failures)


def samples_of(dataset: str | None, root: Path | None, reading: Reading) -> list[Sample] | None:
    """The samples of a data set, which needs no training images; None where none is named.

    Raises:
        InputError: as ``find_samples``, or there is a root and no data set.
    """
    if dataset is None:
        if root is not None:
            raise InputError(
                "--data-root needs --dataset KEY, which says what lies there; `aseg-bench datasets` lists them"
            )
        return None
    return find_samples(dataset, root, None, replace(reading, splits=["test"]))


def of_test(samples: Sequence[Sample] | None) -> list[Sample] | None:
    """The test images; None where there are no samples."""
    return None if samples is None else [sample for sample in samples if sample.split == "test"]
