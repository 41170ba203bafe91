"""Whether a run is what it says: its files by their checksums, its scores and thresholds by finding them again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aseg_bench.analysis.scored_maps import by_category, stored_maps
from aseg_bench.datasets import DATASETS, checksum, root_here
from aseg_bench.datasets.records import VALIDATION
from aseg_bench.errors import InputError
from aseg_bench.metrics.thresholds import find_rule
from aseg_bench.predictions.imported import ImportedMaps, import_maps
from aseg_bench.predictions.loading import checksum_of_files
from aseg_bench.predictions.records import Limits
from aseg_bench.progress import track
from aseg_bench.protocols import protocol_stamped
from aseg_bench.records import Case, Sample, Score
from aseg_bench.remote import StoreError, here
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import holder
from aseg_bench.runs.record import CaseRecord
from aseg_bench.runs.results import Results
from aseg_bench.runs.thresholds import found_threshold, held_out, normal_checksum
from aseg_bench.scoring.categories import score_category, score_meeting

_SAME = 12  # digits of a checksum that a text shows


@dataclass(frozen=True)
class Verification:
    """What came of a verification.

    Attributes:
        n_scores: that were computed again.
        checked: what had its checksum compared; an older record has none of maps and weights.
        differences: one sentence each; none where all is equal.
    """

    n_scores: int
    checked: Sequence[str]
    differences: Sequence[str]


def verify(
    out: Path, data_root: Path | None = None, limits: Limits | None = None, *, quiet: bool = True
) -> Verification:
    """Compute the scores of a run and its thresholds again from its maps, and compare all that it has checksums of.

    Nothing is written. A score or a threshold is equal if it is the same number to its last digit.

    Args:
        out: folder of a finished run or evaluation; of someone else's, too.
        data_root: where the images lie, may be a URL, if not where the record says.
        limits: how much a file of evaluated maps may ask for, and whether pickles are read.
        quiet: no progress bars.

    Raises:
        InputError: the run is not finished, another process is at work in it, or its images are not to be found.
    """
    if held_by := holder(out):
        raise InputError(f"{out} is in use by {held_by}; verify it when that is done")
    results = Results.of(RunFolder(out))
    folder, differences, n_scores, checked = results.folder, list[str](), 0, list[str]()
    for dataset in results.datasets:
        samples = _images(folder, dataset, data_root)
        if samples is not None:
            checked.append(f"the images of {dataset}")
            before, now = folder.record.datasets[dataset].checksum, checksum(samples)
            differences += _compared(f"the images of {dataset}", before, now)
        test = [sample for sample in samples or () if sample.split == "test"]
        for method in dict.fromkeys(score.case.method for score in results.scores if score.case.dataset == dataset):
            case = folder.record.cases.get((method, dataset))
            scores = [one for one in results.scores if (one.case.method, one.case.dataset) == (method, dataset)]
            if case is None:
                differences.append(f"{method} on {dataset}: the record does not say how its scores came about")
                continue
            files = list(_checksums(folder, method, dataset, case))
            checked += [f"{what} of {method}" for what, *_ in files]
            for what, place, was, is_now in files:
                differences += _compared(f"{method} on {dataset}: {what}, {place},", was, is_now)
            if case.threshold is not None:
                checked += [f"the normal images of {method}"] if case.conditions.normal_checksum else []
                differences += _of_threshold(folder, method, dataset, case, data_root)
            try:
                again = _evaluated(case, scores, test, limits) if case.is_evaluated else _kept(folder, scores, test)
                for fresh in track(again, f"scoring {method} again", len(_places(scores)), quiet):
                    n_scores += len(fresh)
                    differences += _differing(scores, fresh)
            except InputError as error:  # maps that are gone, damaged, or do not belong to the images
                differences.append(f"{method} on {dataset} cannot be scored again: {error}")
    return Verification(n_scores, checked, differences)


def _images(folder: RunFolder, dataset: str, data_root: Path | None, splits: Sequence[str] = ()) -> list[Sample] | None:
    """The images of a data set, training images included; None where masks have travelled with maps."""
    facts = folder.record.datasets.get(dataset)
    if facts is None or dataset not in DATASETS:
        return None
    given = data_root if facts.root and data_root else Path(facts.root) if facts.root else None
    splits = splits or [split for split, n in (("train", facts.n_train), ("test", facts.n_test)) if n]
    try:
        root = root_here(dataset, given, facts.categories, from_record=given != data_root)
        return DATASETS[dataset].find(root, facts.categories, replace(facts.reading, splits=splits))
    except InputError as error:
        raise InputError(f"{error}; --data-root says where the images of {dataset} lie here") from None


def _checksums(
    folder: RunFolder, method: str, dataset: str, case: CaseRecord
) -> Iterator[tuple[str, Path | str, str, str | None]]:
    """What is compared, where it lies, its checksum in the record, and the one of today; None where it is gone."""
    conditions = case.conditions
    kept = case.kept_checksum or (conditions.maps_checksum if conditions.maps is None else None)
    for what, before, place in (
        ("the maps", None if case.is_evaluated else kept, folder.store.folder(method, dataset)),
        ("the maps", conditions.maps_checksum if case.is_evaluated else None, conditions.maps or ""),
        ("the checkpoint", case.weights_checksum, folder.checkpoint_file(method, dataset)),
    ):
        if before is not None:
            try:
                there = here(place, from_record=True)
            except StoreError:
                yield what, place, before, None
            else:
                yield what, place, before, checksum_of_files(there) if there.exists() else None


def _compared(what: str, before: str, now: str | None) -> list[str]:
    if now is None:
        return [f"{what} are not there"]
    return [] if now == before else [f"{what} have changed: checksum {before[:_SAME]} before, {now[:_SAME]} now"]


def _of_threshold(
    folder: RunFolder, method: str, dataset: str, case: CaseRecord, data_root: Path | None
) -> Iterator[str]:
    """How a threshold differs from what its rule finds today on the maps that the folder keeps of normal images."""
    before, was = case.threshold, case.conditions.normal_checksum
    assert before is not None, "seen to by verify"
    try:
        found = _images(folder, dataset, data_root, [before.split]) or ()
        normal = [one for one in found if one.split == before.split]
        normal = normal if before.split == VALIDATION else held_out(normal)
        if not normal:
            raise InputError(f"{folder.record_file} does not say where its normal images lie")
        if was is not None:
            now_are = normal_checksum(normal)
            yield from _compared(f"{method} on {dataset}: the normal images of its threshold", was, now_are)
        rule, protocol = find_rule(before.rule), protocol_stamped(before.protocol)
        now = found_threshold(folder.store, method, normal, protocol, rule)
    except InputError as error:
        yield f"{method} on {dataset}: its threshold cannot be found again: {error}"
        return
    for category, value in {"": before.value, **before.categories}.items():
        again = now.categories.get(category) if category else now.value
        if again != value:
            yield f"{method}, {dataset} {category}".rstrip() + f", threshold {before.rule}: {value} is now {again}"


def _kept(folder: RunFolder, scores: Sequence[Score], test: Sequence[Sample]) -> Iterator[list[Score]]:
    samples = by_category(test)
    for (case, stamp), metrics in _places(scores).items():
        own = samples.get((case.dataset, case.category), [])
        if missing := folder.store.missing(case.method, own):
            raise InputError(f"{len(missing)} maps are not there, first {missing[0].name}")
        meeting = stored_maps(folder.store, case, own, protocol_stamped(stamp)).meeting
        assert meeting is not None, "stored maps have met their truth"
        found = folder.record.cases[case.method, case.dataset].threshold
        at = found.at(case.category, stamp) if found else None
        yield score_meeting(case, meeting, metrics=metrics, threshold=at).scores


def _evaluated(
    case: CaseRecord, scores: Sequence[Score], test: Sequence[Sample], limits: Limits | None
) -> Iterator[list[Score]]:
    by_rule: dict[str, ImportedMaps] = {}
    for (place, stamp), metrics in _places(scores).items():
        protocol = protocol_stamped(stamp)
        imported = by_rule.get(protocol.mask_rule) or import_maps(
            here(case.conditions.maps or "", from_record=True),
            test or None,
            categories=list(dict.fromkeys(score.case.category for score in scores)),
            reader=str(case.about.get("reader", "auto")),
            limits=limits,
            allow_clamped=True,  # whoever made the scores has allowed it
            mask_rule=protocol.mask_rule,
        )
        by_rule[protocol.mask_rule] = imported
        if place.category not in imported.found:
            raise InputError(imported.problem_text or f"there are no maps of {place.category}")
        category = imported.read(place.category, protocol.mask_rule)
        yield score_category(
            place, category.samples, category.maps, protocol=protocol, metrics=metrics, masks=category.masks
        ).scores


def _places(scores: Sequence[Score]) -> dict[tuple[Case, str], list[str]]:
    """The metrics of each category and protocol."""
    metrics: dict[tuple[Case, str], list[str]] = {}
    for score in scores:
        metrics.setdefault((score.case, score.protocol), []).append(score.metric)
    return metrics


def _differing(before: Sequence[Score], now: Sequence[Score]) -> Iterator[str]:
    old = {(score.case, score.protocol, score.metric): score for score in before}
    for score in now:
        was = old[score.case, score.protocol, score.metric]
        if (was.value, was.n_images) != (score.value, score.n_images):
            told, tells = (f"{_number(one)} ({one.n_images} images)" for one in (was, score))
            case = score.case
            yield f"{case.method}, {case.dataset} {case.category}, {score.metric}: {told} is now {tells}"


def _number(score: Score) -> str:
    return "undefined" if score.value is None else repr(float(score.value))
