"""Thresholds of a run: on which normal images they are found, and what the record keeps of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aseg_bench.analysis.scored_maps import by_category
from aseg_bench.corruptions import clean_of
from aseg_bench.datasets import DATASETS, Reading, checksum, find_samples
from aseg_bench.datasets.records import VALIDATION
from aseg_bench.errors import InputError, first_few
from aseg_bench.metrics.thresholds import ThresholdRule
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import Protocol
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.records import Sample
from aseg_bench.runs.record import FoundThreshold

HELD_OUT = 0.1  # of the training images of each category, of data sets without that split
_SEED = 0  # of the choice of these, the same for every method and seed


def find_with_validation(
    dataset: str, root: Path | None, categories: Sequence[str] | None, reading: Reading
) -> list[Sample]:
    """The samples of a data set, with those of its validation split where it has one.

    Raises:
        InputError: as `find_samples`, the validation split of a layout that has one is not there, or a list of
            files names one of some categories and not of others.
    """
    both = replace(reading, splits=[*reading.splits, VALIDATION])
    layout = DATASETS[dataset].layout if dataset in DATASETS else None
    if layout is None:  # such as a list of files, which may name that split
        try:
            return find_samples(dataset, root, categories, both)
        except InputError as error:
            found = find_samples(dataset, root, categories, reading)
            there = sorted({sample.category for sample in found})
            without = [name for name in there if not _is_found(dataset, root, name, both)]
            if len(without) == len(there):
                return found
            raise InputError(
                f"{root} has {VALIDATION} images of some categories and none of {first_few(without)}; add them, or "
                "leave out those of the others, and a tenth of the training images is held out"
            ) from error
    return find_samples(dataset, root, categories, both if layout and VALIDATION in layout.images else reading)


def _is_found(dataset: str, root: Path | None, category: str, reading: Reading) -> bool:
    try:
        return bool(find_samples(dataset, root, [category], reading))
    except InputError:
        return False


def held_out(train: Sequence[Sample]) -> list[Sample]:
    """A tenth of the training images of each category, at least one and always the same ones.

    Raises:
        InputError: a category has a single training image.
    """
    chosen = []
    for (_, category), own in by_category(train).items():
        if len(own) == 1:
            raise InputError(
                f"{category} has one training image, and --threshold needs another one that is not trained on; add "
                "normal images, or leave --threshold out"
            )
        n = max(1, round(HELD_OUT * len(own)))
        places = np.random.default_rng(_SEED).choice(len(own), n, replace=False)
        chosen += [own[place] for place in sorted(places)]
    return chosen


def normal_checksum(normal: Sequence[Sample]) -> str | None:
    """Checksum of normal images, the same in a corrupted data set, whose normal ones are clean; None of no image."""
    return checksum([replace(one, dataset=clean_of(one.dataset)) for one in normal]) if normal else None


def where_of(split: str) -> str:
    """Where the normal images of a threshold come from, in print, by their split."""
    return "of the validation split" if split == VALIDATION else "held out of the training"


def check_leaves_scores(protocol: Protocol) -> None:
    """Refuse a protocol under which a threshold would follow from the test images, or be none of the maps as they are.

    Raises:
        InputError: it rescales maps by the lowest and highest score of the test images, or smooths them.
    """
    if protocol.map_scale != "none" or protocol.smoothing:
        what = "smooths maps" if protocol.map_scale == "none" else "rescales maps by the scores of the test images"
        raise InputError(
            f"the protocol {protocol.name} {what}, and --threshold needs scores as they are; choose another protocol, "
            "for instance exact or native"
        )


def found_threshold(
    store: MapStore, name: str, normal: Sequence[Sample], protocol: Protocol, rule: ThresholdRule
) -> FoundThreshold:
    """The threshold of each category, and that of all of them together, on the maps of normal images.

    Each map is read twice, and none is kept.

    Args:
        store: where the maps lie.
        name: of the method.
        normal: images without defects that it was not trained on.
        protocol: how maps come into the frame in which pixels are scored.
        rule: by which it is found.
    """
    maps = {
        category: Meeting(own, store.maps(name, own), None, protocol, 0).scores
        for (_, category), own in by_category(normal).items()
    }
    sizes = {category: sum(scores.size for scores in own) for category, own in maps.items()}
    of_all, values = rule.start(sum(sizes.values())), {}
    for category, own in maps.items():
        estimator = rule.start(sizes[category])
        for scores in own:
            estimator.update(scores)
            of_all.update(scores)
        values[category] = estimator.value()
    return FoundThreshold(rule.key, normal[0].split, len(normal), protocol.stamp, of_all.value(), values)
