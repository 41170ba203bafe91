"""The settings of a protocol and the named presets of the field. The defaults are ours: the truth at the map's size."""

from dataclasses import dataclass, fields, replace
from hashlib import sha256
from json import dumps
from typing import Any, Literal

from aseg_bench.errors import InputError, near_matches
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, MaskRule

_NAMING = ("name", "summary", "source")
TruthResize = Literal["nearest", "opencv_nearest", "pillow_bilinear", "opencv_linear", "torch_antialias"]
TruthRule = Literal["above_zero", "above_half", "at_least_half", "only_full", "above_127"]
MapScale = Literal["none", "category_min_max", "image_min_max", "anomalib"]
ImageScoreRule = Literal["max", "std", "top_100_mean", "pool_8_eight_times_max", "pool_16_max", "pool_21_max"]
ApRule = Literal["steps", "trapezoids", "trapezoids_resorted"]
Binning = Literal["exact", "histogram_50", "histogram_50_cuda", "histogram_1000", "percentiles_202"]
DscRule = Literal["paper", "anomalous_only", "pooled"]
F1Rule = Literal["exact", "grid_21"]
AuproRule = Literal[
    "exact",
    "histogram_50",
    "histogram_50_cuda",
    "histogram_1000",
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
        source: repository and files that it restates.
        version: of the preset's meaning. Whoever changes the meaning raises it, so that scores from before and after
            are never merged unmarked.
        size: where scores and truth meet: ``map`` keeps the map's height and width, ``image`` resizes maps to the
            original image, a number resizes both to this edge in pixels. Where masks travel with the maps at their
            size, the original compares them there, and ``size`` and ``crop`` do not apply.
        keep_aspect: a numeric ``size`` is the shorter edge, and the longer one follows; otherwise both are equal.
        crop: edge of the centre square that is kept after resizing; None keeps all.
        truth_resize: who resizes the mask, and how.
        truth_rule: which pixels of the resized mask are anomalous; half and full refer to a mask from 0 to 255.
        truth_binarised_first: the mask becomes 0 or 255 by ``> 0`` before it is resized.
        smoothing: standard deviation in pixels of a Gaussian blur of the map; 0 for no blur.
        map_scale: how the maps of a category are rescaled before the metrics.
        auroc_flip: an AUROC below one half is replaced by one minus itself.
        ap_rule: area under the precision-recall curve by ``steps``, by ``trapezoids``, or by those between points that
            were sorted by recall again.
        binning: the scores at which pixel AUROC and AP look; anything but ``exact`` implies trapezoids.
        image_binning: the same for image AUROC and AP.
        f1_rule: thresholds of best F1 and IoU; on a grid also F1, found share and IoU over thresholds 0.2 to 0.8.
        dsc_rule: which average of Dice at the precision + recall threshold is printed as DSC and IoU.
        aupro_rule: variant of the per-region overlap; with ``resampled_regions`` IAP is DeSTSeg's too, which finds all
            normal pixels at a threshold of 0 or below.
        image_score: one number per image from its map.
        image_label: whether the ``folder`` or the evaluated ``mask`` says that an image is anomalous.
        mask_rule: which stored values of a mask mean anomalous, and which mean void, as `MaskRule` reads it. With any
            other than ``>0`` the mask is binarised by it before it is resized.

    Raises:
        InputError: the mask rule has no meaning, or makes pixels void in a protocol that restates other code.
    """

    name: str
    summary: str
    source: str
    version: int = 1
    size: Literal["map", "image"] | int = "map"
    keep_aspect: bool = False
    crop: int | None = None
    truth_resize: TruthResize = "nearest"
    truth_rule: TruthRule = "above_zero"
    truth_binarised_first: bool = False
    smoothing: float = 0.0
    map_scale: MapScale = "none"
    auroc_flip: bool = False
    ap_rule: ApRule = "steps"
    binning: Binning = "exact"
    image_binning: Binning = "exact"
    f1_rule: F1Rule = "exact"
    dsc_rule: DscRule = "paper"
    aupro_rule: AuproRule = "exact"
    image_score: ImageScoreRule = "max"
    image_label: Literal["folder", "mask"] = "folder"
    mask_rule: str = DEFAULT_RULE

    def __post_init__(self) -> None:
        rule = MaskRule.parse(self.mask_rule)
        object.__setattr__(self, "mask_rule", rule.text)
        if rule.ignored and self.is_restated:
            raise InputError(
                f"the protocol {self.name} restates code that knows no void pixels, so the mask rule {rule.text} does "
                f"not go with it; leave out ignore=, or take exact or native"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All that can change a number, by name; the mask rule is among them where it is not the default one."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _NAMING}
        if self.mask_rule == DEFAULT_RULE:
            del settings["mask_rule"]  # what was kept before there were mask rules stays known
        return settings

    @property
    def is_restated(self) -> bool:
        """Whether it computes as other code does, which knows no void pixels; ours do not, under any mask rule."""
        plain = {key: value for key, value in self.settings.items() if key != "mask_rule"}
        return plain not in (EXACT.settings, NATIVE.settings)

    @property
    def stamp(self) -> str:
        """The name, from version 2 on as ``name@2``; with changed settings the name and a short digest of them.

        A mask rule other than ``>0`` follows: ``exact[>127]``. So two protocols never share a stamp, and two meanings
        of one preset do not either.
        """
        preset = PROTOCOLS.get(self.name)
        if self.mask_rule != DEFAULT_RULE:
            return replace(self, mask_rule=DEFAULT_RULE).stamp + self.mask_suffix
        if preset is not None and preset.settings == self.settings:
            return self.name if self.version == 1 else f"{self.name}@{self.version}"
        return f"{self.name}~{self.digest}"

    @property
    def mask_suffix(self) -> str:
        """What the mask rule adds to a name, for instance ``[>127]``; nothing by default."""
        return "" if self.mask_rule == DEFAULT_RULE else f"[{self.mask_rule}]"

    @property
    def digest(self) -> str:
        """A short digest of all settings."""
        return sha256(dumps(self.settings, sort_keys=True).encode()).hexdigest()[:8]


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
_UNIAD = Protocol(
    name="uniad",
    summary="224 pixels, nearest truth, flipped AUROC, image score after a 16 x 16 average pool",
    source="zhiyuanyou/UniAD: datasets/custom_dataset.py, utils/eval_helper.py",
    version=2,
    size=224,
    auroc_flip=True,
    image_score="pool_16_max",
    image_label="mask",
)
_PATCHCORE = Protocol(
    name="patchcore",
    summary="shorter edge 256, centre crop 224, a pixel is anomalous only where the blurred mask is full",
    source="amazon-science/patchcore-inspection: src/patchcore/datasets/mvtec.py, metrics.py, bin/run_patchcore.py",
    version=2,
    size=256,
    keep_aspect=True,
    crop=224,
    truth_resize="pillow_bilinear",
    truth_rule="only_full",
    map_scale="category_min_max",
)
_ADER = Protocol(
    name="ader",
    summary="256 pixels, truth above one half, F1 at 21 thresholds, AUPRO at 100 thresholds with stretched FPR",
    source="zhangzjn/ADer: data/ad_dataset.py, util/metric.py (use_adeval=False)",
    version=2,
    size=256,
    truth_resize="pillow_bilinear",
    truth_rule="above_half",
    truth_binarised_first=True,
    f1_rule="grid_21",
    aupro_rule="grid_100_min_max",
    image_score="pool_16_max",
    image_label="mask",
)
_ANOMALIB = Protocol(
    name="anomalib_2_7",
    summary="256 pixels, nearest truth, maps shifted by their best-F1 threshold and clamped to [0, 1]",
    source="open-edge-platform/anomalib: src/anomalib/post_processing/post_processor.py, metrics/aupr.py",
    version=2,
    size=256,
    truth_resize="opencv_nearest",
    map_scale="anomalib",
)

# What only reaches the screen (rounding to 3 or 4 decimals), and scores that no map holds (PatchCore's and SimpleNet's
# image score before upsampling), is not restated. Official maps are smoothed already, so no preset smooths again.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        EXACT,
        NATIVE,
        Protocol(
            name="unias",
            summary="224 pixels, flipped AUROC, Dice at the precision + recall threshold, image score is the maximum",
            source="Mwxinnn/UniAS: datasets/dataset_loader.py, utils/eval_helper.py",
            version=2,
            size=224,
            auroc_flip=True,
            image_label="mask",
        ),
        _UNIAD,
        replace(
            _UNIAD, name="hvq_trans", source="RuiyingLu/HVQ-Trans: datasets/custom_dataset.py, utils/eval_helper.py"
        ),
        Protocol(
            name="diad",
            summary="256 pixels, truth wherever the blurred mask is above zero, flipped AUROC, AUPRO at 200 thresholds",
            source="lewandofskee/DiAD: mvtecad_dataloader.py, utils/eval_helper.py",
            version=2,
            size=256,
            truth_resize="pillow_bilinear",
            auroc_flip=True,
            aupro_rule="grid_200",
            image_score="pool_8_eight_times_max",
            image_label="mask",
        ),
        _PATCHCORE,
        replace(
            _PATCHCORE,
            name="simplenet",
            summary="shorter edge 329, centre crop 288, truth only where full, AUPRO with dilated predictions",
            source="DonaldRR/SimpleNet: datasets/mvtec.py, metrics.py, simplenet.py",
            size=329,
            crop=288,
            map_scale="none",
            aupro_rule="grid_200_dilated",
        ),
        Protocol(
            name="draem",
            summary="256 pixels, OpenCV's linear resize, truth only where full, image score after a 21 x 21 pool",
            source="VitjanZ/DRAEM: data_loader.py, test_DRAEM.py",
            version=2,
            size=256,
            truth_resize="opencv_linear",
            truth_rule="only_full",
            image_score="pool_21_max",
        ),
        Protocol(
            name="rd4ad",
            summary="256 pixels, truth above one half, AUPRO of each anomalous image alone; the original stops at a "
            "defect image whose mask is empty, which is left out here",
            source="hq-deng/RD4AD: dataset.py, test.py",
            version=2,
            size=256,
            truth_resize="pillow_bilinear",
            truth_rule="above_half",
            aupro_rule="grid_200_per_image",
            image_label="mask",
        ),
        Protocol(
            name="destseg",
            summary="256 pixels, antialiased truth from one half, resampled AUPRO, image score of the top 100 pixels",
            source="apple/ml-destseg: data/mvtec_dataset.py, eval.py, model/metrics.py",
            version=2,
            size=256,
            truth_resize="torch_antialias",
            truth_rule="at_least_half",
            aupro_rule="resampled_regions",
            image_score="top_100_mean",
            image_label="mask",
        ),
        _ADER,
        replace(
            _ADER,
            name="ader_adeval50",
            summary="as ader, but pixel AUROC, AP and AUPRO from a histogram of 50 bins, the maximum counted twice",
            source="zhangzjn/ADer: util/metric.py (use_adeval=True, as its benchmark configurations set)",
            binning="histogram_50_cuda",
            aupro_rule="histogram_50_cuda",
        ),
        Protocol(
            name="adeval1000",
            summary="original resolution, truth above 127, everything from histograms of 1000 bins",
            source="ADEval 1.1.0 on PyPI: adeval/__main__.py, mem_effic.py",
            size="image",
            truth_resize="opencv_nearest",
            truth_rule="above_127",
            binning="histogram_1000",
            image_binning="histogram_1000",
            aupro_rule="histogram_1000",
            image_label="mask",
        ),
        replace(
            _ANOMALIB,
            name="anomalib_2_6",
            summary=f"{_ANOMALIB.summary}; AP by trapezoids between resorted points",
            ap_rule="trapezoids_resorted",
        ),
        _ANOMALIB,
        Protocol(
            name="visa_official",
            summary="original resolution, 202 thresholds, areas by trapezoids",
            source="amazon-science/spot-diff: utils/metrics.py",
            size="image",
            ap_rule="trapezoids",
            binning="percentiles_202",
        ),
        Protocol(
            name="mvtec_official",
            summary="original resolution, truth untouched, exact AUROC and AUPRO",
            source="MVTec AD evaluation scripts (mvtec.com), read from public copies",
            version=2,
            size="image",
            image_label="mask",
        ),
    )
}


def find_protocol(name: str, mask_rule: str = DEFAULT_RULE) -> Protocol:
    """The preset of this name, under a mask rule.

    Raises:
        InputError: no preset has this name, or the mask rule has no meaning or does not go with it.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol is named {name}; {near_matches(name, list(PROTOCOLS))}")
    return PROTOCOLS[name] if mask_rule == DEFAULT_RULE else replace(PROTOCOLS[name], mask_rule=mask_rule)


def protocol_stamped(stamp: str) -> Protocol:
    """The preset, with its mask rule, under which scores with this stamp were made.

    Raises:
        InputError: no preset has this stamp, or the meaning of the preset has changed since.
    """
    base, bracket, rule = stamp.partition("[")
    for protocol in PROTOCOLS.values():
        if protocol.stamp == base:
            return find_protocol(protocol.name, rule.removesuffix("]")) if bracket else protocol
    name = base.split("@")[0]
    if name in PROTOCOLS:
        raise InputError(f"scores under {stamp}, which is now {PROTOCOLS[name].stamp}; score the maps again")
    raise InputError(f"scores under {stamp}, which is not a preset; {near_matches(name, list(PROTOCOLS))}")
