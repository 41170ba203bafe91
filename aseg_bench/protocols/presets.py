"""The settings of a protocol and the named presets of the field. The defaults are ours: the truth at the map's size."""

from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from json import dumps
from typing import Any, Literal

from aseg_bench.errors import InputError
from aseg_bench.methods import near_matches

_NAMING = ("name", "summary", "source")
TruthResize = Literal["nearest", "pillow_bilinear", "opencv_linear", "torch_antialias"]
TruthRule = Literal["above_zero", "above_half", "at_least_half", "only_full", "above_127"]
MapScale = Literal["none", "category_min_max", "image_min_max", "anomalib"]
ImageScore = Literal["max", "std", "top_100_mean", "pool_8_eight_times_max", "pool_16_max", "pool_21_max"]
Binning = Literal["exact", "histogram_50", "histogram_1000", "percentiles_202"]
DscRule = Literal["paper", "anomalous_only", "pooled"]
F1Rule = Literal["exact", "grid_21"]
AuproRule = Literal[
    "exact",
    "histogram",
    "grid_200",
    "grid_200_dilated",
    "grid_200_per_image",
    "grid_100_min_max",
    "resampled_regions",
]


@dataclass(frozen=True)
class Protocol:
    """How maps are compared with the truth. Frozen: change a setting with ``dataclasses.replace``.

    Attributes:
        name: key in ``PROTOCOLS``.
        summary: what it is, in one line.
        source: repository and file that it restates.
        size: where scores and truth meet: ``map`` keeps the map's height and width, ``image`` resizes maps to the
            original image, a number resizes both to this edge in pixels.
        keep_aspect: a numeric ``size`` is the shorter edge, and the longer one follows; otherwise both are equal.
        crop: edge of the centre square that is kept after resizing; None keeps all.
        truth_resize: who resizes the mask, and how.
        truth_rule: which pixels of the resized mask are anomalous; half and full refer to a mask from 0 to 255.
        truth_binarised_first: the mask becomes 0 or 255 by ``> 0`` before it is resized.
        smoothing: standard deviation in pixels of a Gaussian blur of the map; 0 is none.
        map_scale: how the maps of a category are rescaled before the metrics.
        auroc_flip: an AUROC below one half is replaced by one minus itself.
        ap_rule: area under the precision-recall curve by ``steps`` or by ``trapezoids``.
        binning: the scores at which pixel AUROC and AP look.
        f1_rule: thresholds of best F1 and IoU.
        dsc_rule: which average of Dice at the precision + recall threshold is printed as DSC and IoU.
        aupro_rule: variant of the per-region overlap.
        image_score: one number per image from its map.
        image_label: whether the ``folder`` or the evaluated ``mask`` says that an image is anomalous.
    """

    name: str
    summary: str
    source: str
    size: Literal["map", "image"] | int = "map"
    keep_aspect: bool = False
    crop: int | None = None
    truth_resize: TruthResize = "nearest"
    truth_rule: TruthRule = "above_zero"
    truth_binarised_first: bool = False
    smoothing: float = 0.0
    map_scale: MapScale = "none"
    auroc_flip: bool = False
    ap_rule: Literal["steps", "trapezoids"] = "steps"
    binning: Binning = "exact"
    f1_rule: F1Rule = "exact"
    dsc_rule: DscRule = "paper"
    aupro_rule: AuproRule = "exact"
    image_score: ImageScore = "max"
    image_label: Literal["folder", "mask"] = "folder"

    @property
    def settings(self) -> dict[str, Any]:
        """All that can change a number, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _NAMING}

    @property
    def stamp(self) -> str:
        """The name; with changed settings also a short digest of them, so that no two protocols share a stamp."""
        preset = PROTOCOLS.get(self.name)
        if preset is not None and preset.settings == self.settings:
            return self.name
        return f"{self.name}~{sha256(dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]}"


EXACT = Protocol(
    name="exact",
    summary="truth at the map's resolution by nearest neighbour (Pillow), every score counted, nothing else",
    source="aseg-bench",
)
NATIVE = Protocol(
    name="native",
    summary="maps bilinearly resized to the original image, truth untouched",
    source="aseg-bench, after MVTec's evaluation scripts",
    size="image",
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (EXACT, NATIVE)}


def find_protocol(name: str) -> Protocol:
    """The preset of this name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol is named {name}; {near_matches(name, list(PROTOCOLS))}")
    return PROTOCOLS[name]
