"""What the run of a checkpoint says of its images, and a threshold from normal ones on which it was not trained."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aseg_bench.corruptions import clean_of
from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError, first_few
from aseg_bench.images import MAX_BIT_DEPTH
from aseg_bench.records import Sample
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import DataFacts

_MEND = "give normal pictures that the model was not trained on with --normal FOLDER"


def quantile_named(text: str) -> float:
    """The quantile in a text like ``normal:0.999``.

    Raises:
        InputError: the text is another, or the number is not above 0 and at most 1.
    """
    kind, _, number = text.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if kind != "normal" or not 0 < share <= 1:
        raise InputError(f"--threshold-from {text} is not normal:QUANTILE, above 0 and at most 1: try normal:0.999")
    return share


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
        InputError: some are; a model's scores are lower on them than on others.
    """
    try:
        known = {sample.image_path.resolve() for sample in _samples_of(checkpoint) if sample.split == "train"}
    except InputError:  # a checkpoint on its own
        return
    trained_on = [str(path) for path in pictures if path.resolve() in known]
    if trained_on:
        raise InputError(
            f"the model was trained on {len(trained_on)} of the normal pictures, {first_few(trained_on, 1)}, and "
            f"scores them lower than others; {_MEND}"
        )


def quantile_of(maps: Iterable[NDArray[np.float32]], n_scores: int, share: float) -> float:
    """Quantile of all scores of some maps: the one at place ``ceil(share * (n - 1))``, counted from 0 in rising order.

    That is ``numpy.quantile(scores, share, method="higher")`` in double precision: at most ``1 - share`` of the scores
    are higher. Only scores from the quantile upwards are kept in memory.

    Args:
        maps: anomaly scores.
        n_scores: of all maps together.
        share: in (0, 1].
    """
    n_kept = n_scores - math.ceil(share * (n_scores - 1))
    kept = np.empty(0, np.float32)
    for scores in maps:
        kept = np.concatenate([kept, scores.ravel()])
        n_lower = len(kept) - n_kept
        if n_lower > 0:
            kept = np.partition(kept, n_lower)[n_lower:]
    return float(kept.min())


def bit_depth_of(checkpoint: Path) -> int:
    """Bits of the camera whose pictures a checkpoint was trained on, as its run tells; else all 16."""
    try:
        return _data_of(checkpoint)[1].bit_depth
    except InputError:  # a checkpoint on its own
        return MAX_BIT_DEPTH


def _samples_of(checkpoint: Path) -> list[Sample]:
    dataset, facts = _data_of(checkpoint)
    return find_samples(dataset, Path(facts.root) if facts.root else None, facts.categories, facts.reading)


def _data_of(checkpoint: Path) -> tuple[str, DataFacts]:
    """The data set on which a checkpoint was trained, and what its run says of it."""
    folders = checkpoint.resolve().parents
    is_inside = len(folders) > 3 and folders[2].name == "training"
    known = RunFolder(folders[3]).record.datasets if is_inside else {}
    dataset = next((key for key in known if clean_of(key) == folders[0].name), "")  # of one training all are alike
    if not dataset:
        raise InputError(f"{checkpoint} does not lie in a run, RUN/training/METHOD/DATASET/checkpoint.pt")
    return dataset, known[dataset]
