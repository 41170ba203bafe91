"""The learning curve of a method: pixel AP on a fixed part of the test images, at some moments of its training."""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from aseg_bench.analysis.scored_maps import by_category
from aseg_bench.files import written_whole
from aseg_bench.methods import Method
from aseg_bench.protocols import Protocol
from aseg_bench.records import Case, Sample
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import CaseRecord
from aseg_bench.scoring.categories import Maps, score_category

METRIC = "pixel_ap"
_OF_EACH_KIND = 8  # normal and anomalous images of a category


def some_of(samples: Sequence[Sample]) -> list[Sample]:
    """Of each category up to eight normal and eight anomalous images, evenly spread over its own."""
    chosen = []
    for own in by_category(samples).values():
        for is_anomalous in (False, True):
            kind = [sample for sample in own if sample.is_anomalous == is_anomalous and not sample.is_image_level]
            n = min(_OF_EACH_KIND, len(kind))
            chosen += [kind[index * len(kind) // n] for index in range(n)]
    return chosen


def write_curve(
    method: Method, case: CaseRecord, folder: RunFolder, dataset: str, test: Sequence[Sample], protocol: Protocol
) -> None:
    """Write ``curve.csv``: ``step``, ``seconds`` of training, ``pixel_ap`` (mean of the categories), ``n_images``.

    Args:
        method: trained; one without ``moments`` has only its end.
        case: of its finished maps, which are in the folder.
        folder: of the run.
        dataset: key of the data set.
        test: all test images.
        protocol: how maps and truth are compared.
    """
    samples = some_of(test)
    moments = getattr(method, "moments", None)
    rows = [
        (step, seconds, _score([one.scores for one in maps], samples, protocol))
        for step, seconds, maps in (moments(samples) if moments else ())
    ]
    training, fit = case.about.get("training", {}), (case.seconds or {}).get("fit", 0.0)
    end = _score(folder.store.maps(method.name, samples), samples, protocol)
    rows.append((training.get("steps", 0), training.get("seconds", fit), end))
    frame = pd.DataFrame(rows, columns=["step", "seconds", METRIC]).assign(n_images=len(samples))
    with written_whole(folder.curve_file(method.name, dataset)) as temporary:
        frame.to_csv(temporary, index=False)


def _score(maps: Maps, samples: Sequence[Sample], protocol: Protocol) -> float | None:
    """Mean pixel AP of the categories that define it."""
    by_sample = dict(zip(samples, maps, strict=True))
    values = []
    for place, own in by_category(samples).items():
        scored = score_category(
            Case("", *place), own, [by_sample[sample] for sample in own], protocol=protocol, metrics=[METRIC]
        )
        values += [score.value for score in scored.scores if score.value is not None]
    return fmean(values) if values else None
