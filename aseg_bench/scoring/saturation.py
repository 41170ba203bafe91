"""The defects of a data set with their saturation areas, as sPRO takes them."""

from collections.abc import Sequence

from aseg_bench.datasets import DATASETS
from aseg_bench.errors import UndefinedMetricError
from aseg_bench.metrics import METRICS, SaturatedRegion
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.records import LazySequence


def needing_saturation(metrics: Sequence[str] | None) -> str:
    """The first of some metrics that needs saturation areas; empty without one, as among the default ones (None)."""
    return next((key for key in metrics or () if key in METRICS and METRICS[key].needs_saturation), "")


def needs_whole(dataset: str | None, metrics: Sequence[str] | None) -> bool:
    """Whether a metric needs the saturation areas that a data set has, which shards do not carry."""
    facts = DATASETS.get(dataset) if dataset else None
    return facts is not None and facts.regions is not None and bool(needing_saturation(metrics))


def saturated_regions(meeting: Meeting) -> Sequence[Sequence[SaturatedRegion]]:
    """The defects of each image of a category, read when asked for; none of a normal image.

    Saturation areas count pixels of the masks as stored. At another size a defect has other pixels, and some have
    none: no area is made up for them.

    Raises:
        UndefinedMetricError: the data set has no saturation areas, or the truth is not that of its masks as stored.
    """
    samples, rule = meeting.samples, meeting.protocol.mask_rule
    facts = DATASETS.get(samples[0].dataset) if samples else None
    if facts is None or facts.regions is None or meeting.has_own_masks:
        raise UndefinedMetricError("the saturation area of each defect is not given")
    if rule != DEFAULT_RULE:
        raise UndefinedMetricError(f"saturation areas are of the masks as stored, without the mask rule {rule}")
    if not meeting.is_native:
        raise UndefinedMetricError(
            "saturation areas are in pixels of the images, and maps were scored at another size; take --protocol native"
        )
    read = facts.regions
    return LazySequence(len(samples), lambda index: [SaturatedRegion(*region) for region in read(samples[index])])
