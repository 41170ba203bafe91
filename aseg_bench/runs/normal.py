"""What the run of a checkpoint says of its images, and a threshold from normal ones on which it was not trained."""

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from aseg_bench.corruptions import clean_of
from aseg_bench.datasets import find_samples, root_here
from aseg_bench.errors import InputError, first_few, near_matches
from aseg_bench.images import MAX_BIT_DEPTH
from aseg_bench.metrics.thresholds import Quantile, ThresholdRule, find_rule
from aseg_bench.records import Sample
from aseg_bench.remote import is_url, named
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import CaseRecord, DataFacts, FoundThreshold
from aseg_bench.runs.thresholds import held_out

_MEND = "give normal pictures that the model was not trained on with --normal FOLDER"


def rule_named(text: str) -> ThresholdRule:
    """The rule in a text like ``normal:0.999``, a quantile, or ``normal:mean_3std``, an entry of ``THRESHOLDS``.

    Raises:
        InputError: the text is another, or the number is not above 0 and at most 1.
    """
    kind, _, name = text.partition(":")
    try:
        share = float(name)
    except ValueError:
        share = math.nan
        if kind == "normal" and name:
            return find_rule(name)
    if kind != "normal" or not 0 < share <= 1:
        raise InputError(
            f"--threshold-from {text} is not normal:QUANTILE, above 0 and at most 1, normal:RULE, run or run:CATEGORY: "
            "try normal:0.999"
        )
    return ThresholdRule(f"quantile_{name}", f"{name} quantile", "", "", partial(Quantile, share=share))


def kept_threshold(checkpoint: Path, category: str = "") -> float | None:
    """The threshold that the run of a checkpoint has found: of all categories together, or of one.

    Returns:
        It; None where the run has none, or the checkpoint does not lie in a run.

    Raises:
        InputError: the run has one, and knows no such category.
    """
    found = _found_threshold(checkpoint)
    if found is None:
        return None
    if not category:
        return found.value
    if category not in found.categories:
        known = near_matches(category, sorted(found.categories))
        raise InputError(f"the run of {checkpoint} has no category {category}; {known}")
    return found.categories[category]


def normal_images(checkpoint: Path) -> list[Path]:
    """The normal test images, of all categories, of the run in which a checkpoint lies.

    Raises:
        InputError: the checkpoint does not lie in a run, or the run's images are not there or none of them is normal.
    """
    try:
        samples = _samples_of(checkpoint)
    except InputError as error:
        raise InputError(f"there are no normal pictures for a threshold: {error}; {_MEND}") from error
    found = [sample.image_path for sample in samples if sample.split == "test" and not sample.is_anomalous]
    if not found:
        raise InputError(f"no test image of the run of {checkpoint} is normal; {_MEND}")
    return found


def check_not_trained_on(checkpoint: Path, pictures: Iterable[Path]) -> None:
    """Refuse images on which the model was trained, as far as the checkpoint's run tells.

    Raises:
        InputError: some are, and a model's scores are lower on them than on others; or the store in which the run's
            images lie cannot be read.
    """
    try:
        root = _data_of(checkpoint)[1].root
    except InputError:  # a checkpoint on its own
        return
    try:
        train = [sample for sample in _samples_of(checkpoint) if sample.split == "train"]
        known = {_named(sample.image_path) for sample in train}
        if any(case.conditions.held_out for _, case in _cases_of(checkpoint)):
            known -= {_named(sample.image_path) for sample in held_out(train)}
    except InputError:
        if root and is_url(root):
            raise
        return  # nobody can tell, as the images have moved
    trained_on = [named(path) for path in pictures if _named(path) in known]
    if trained_on:
        raise InputError(
            f"the model was trained on {len(trained_on)} of the normal pictures, {first_few(trained_on, 1)}, and "
            f"scores them lower than others; {_MEND}"
        )


def bit_depth_of(checkpoint: Path) -> int:
    """Bits of the camera whose pictures a checkpoint was trained on, as its run tells; else all 16."""
    try:
        return _data_of(checkpoint)[1].bit_depth
    except InputError:  # a checkpoint on its own
        return MAX_BIT_DEPTH


def _samples_of(checkpoint: Path) -> list[Sample]:
    dataset, facts = _data_of(checkpoint)
    root = root_here(dataset, Path(facts.root) if facts.root else None, facts.categories, from_record=True)
    return find_samples(dataset, root, facts.categories, facts.reading)


def _named(path: Path) -> str:
    """One name for each file, in a store too, where each URL of a folder above it has a mirror of its own."""
    name = named(path)
    return name if is_url(name) else str(path.resolve())


def _data_of(checkpoint: Path) -> tuple[str, DataFacts]:
    """The data set on which a checkpoint was trained, and what its run says of it."""
    trained, run = _run_of(checkpoint)
    known = run.record.datasets if run else {}
    dataset = next((key for key in known if clean_of(key) == trained), "")  # of one training all are alike
    if not dataset:
        raise InputError(f"{checkpoint} does not lie in a run, RUN/training/METHOD/DATASET/checkpoint.pt")
    return dataset, known[dataset]


def _found_threshold(checkpoint: Path) -> FoundThreshold | None:
    trained = _run_of(checkpoint)[0]
    return next((case.threshold for dataset, case in _cases_of(checkpoint) if dataset == trained), None)


def _cases_of(checkpoint: Path) -> list[tuple[str, CaseRecord]]:
    """Data set and record of the cases, clean and corrupted, whose maps are of a checkpoint in a run."""
    run, place = _run_of(checkpoint)[1], checkpoint.resolve()
    cases = run.record.cases.items() if run else ()
    return [(of, case) for (name, of), case in cases if run and run.checkpoint_file(name, of).resolve() == place]


def _run_of(checkpoint: Path) -> tuple[str, RunFolder | None]:
    """The data set in the path of a checkpoint, and the folder of its run if it lies in one."""
    folders = checkpoint.resolve().parents
    is_inside = len(folders) > 3 and folders[2].name == "training"
    return folders[0].name, RunFolder(folders[3]) if is_inside else None
