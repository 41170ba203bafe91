"""What a run is asked to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aseg_bench.datasets import AS_USUAL, Reading
from aseg_bench.methods import MethodOptions
from aseg_bench.predictions.records import Limits
from aseg_bench.protocols.mask_rule import DEFAULT_RULE

MAP_SIZES = ("model", "image")


@dataclass(frozen=True)
class RunPlan:
    """What a run will do.

    Attributes:
        methods: names of installed methods, in the order of the tables.
        dataset: key of ``DATASETS``.
        out: folder of the run.
        data_root: where the data set lies, may be a URL; None for one that needs no root.
        categories: those to take; None takes all.
        options: for every live method; ``folder`` and ``settings`` are set per method.
        settings: method -> field -> value, as the user typed them.
        protocol: key of ``PROTOCOLS``.
        mask_rule: which values of a mask mean anomalous or void, see `MaskRule`; part of the protocol.
        metrics: keys of ``METRICS``; None takes ``DEFAULT_METRICS``.
        half: keep maps in half precision.
        map_size: keep maps in the size that the method gives them (``model``), or resize them bilinearly to the
            original ``image``, as MVTec's evaluation code needs them.
        overwrite: discard what there is of the methods on the data set, and compute it again.
        mixed: tables may mix protocols, if the folder holds scores under others.
        train_only: stop when the live methods are trained; the same plan without it goes on from there.
        reading: how the files of the data set are read.
        maps: method -> file, folder or URL of maps that other code made; these methods are read, not run.
        checkpoints: method -> file with its weights; these live methods are not trained.
        limits: how much a file of these may ask for, and whether pickles are read.
        allow_clamped: take clamped maps of layouts that usually clamp them.
        keep_going: a method that fails is noted with its reason, and the others go on.
        threshold: key of ``THRESHOLDS``, the rule by which normal images that are not trained on give the threshold at
            which pixels are called anomalous; None finds none.
        logger: takes the losses and scores of each method, see `make_logger`; None for none.
        config: what the folder keeps as ``config.yaml``, to repeat the run from; empty keeps none.
    """

    methods: Sequence[str]
    dataset: str
    out: Path
    data_root: Path | None = None
    categories: Sequence[str] | None = None
    options: MethodOptions = field(default_factory=MethodOptions)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    protocol: str = "exact"
    mask_rule: str = DEFAULT_RULE
    metrics: Sequence[str] | None = None
    half: bool = False
    map_size: str = MAP_SIZES[0]
    overwrite: bool = False
    mixed: bool = False
    train_only: bool = False
    reading: Reading = AS_USUAL
    maps: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    allow_clamped: bool = False
    keep_going: bool = False
    threshold: str | None = None
    logger: str | None = None
    config: str = ""
