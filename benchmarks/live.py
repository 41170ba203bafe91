"""All live methods beside each other: those written here with their learning curves, and models of anomalib."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from aseg_bench import MethodOptions, RunPlan, report, run
from aseg_bench.training.settings import OFFLINE_BACKBONE
from benchmarks.claims import joined

METHODS = ("uni_as", "uniad", "patchcore", "rd4ad", "simplenet", "destseg", "hvq_trans", "vitad")
_LAYERS = {"layers": "blocks.2,blocks.4"}
# anomalib's models that take the backbone whose weights come with the package
BRIDGE: Mapping[str, Mapping[str, str]] = {
    "anomalib:Padim": {**_LAYERS, "n_features": "100"},
    "anomalib:Stfpm": {"layers": "blocks.1,blocks.2,blocks.4"},
    "anomalib:Supersimplenet": {**_LAYERS, "n_steps": "50"},  # ten times as long a step as the others
}
_DRAWN = {"weights": "random", "n_steps": "10"}
_RESNET = {"backbone": "resnet18", "image_size": "128"}
_VIT = {"encoder_name": "vit_small_patch14_reg4_dinov2", "image_size": "112"}
# and those that do not, as their networks are drawn: their scores say that they run, and no more
DRAWN: Mapping[str, Mapping[str, str]] = {
    "anomalib:Patchcore": {**_DRAWN, **_RESNET, "coreset_sampling_ratio": "0.001"},
    "anomalib:ReverseDistillation": {**_DRAWN, **_RESNET},
    "anomalib:Fastflow": {**_DRAWN, **_RESNET},
    "anomalib:Dinomaly": {**_DRAWN, **_VIT},
    "anomalib:InpFormer": {**_DRAWN, **_VIT},
}
_TINY = {
    "uni_as": {"n_steps": "8", "image_size": "64"},
    "patchcore": {"bank_size": "50", "image_size": "64"},
}


def run_live(
    work: Path, roots: Sequence[Path], preset: str, max_minutes: float | None = None, quick: bool = False
) -> tuple[Path, Path | None]:
    """Train, map and score what is not done yet, and write the reports.

    Args:
        work: keeps runs; finished methods are not done again.
        roots: folders in MVTec-AD's layout, all of whose categories are taken together; none takes the embedded demo.
        preset: of every method.
        max_minutes: of each training; None trains all steps.
        quick: UniAS and PatchCore on tiny images alone, to try this program.

    Returns:
        The folder of the run, and that of the models with drawn networks; None where anomalib is not installed.
    """
    options = MethodOptions(preset=preset, max_minutes=max_minutes, learning_curve=True)
    root = joined(work / "data", roots) if roots else None
    plan = RunPlan(METHODS, "mvtec_ad" if roots else "demo", work / "live", root, options=options)
    if quick:
        plan = replace(plan, methods=tuple(_TINY), settings=_TINY)
    run(plan)
    drawn = None
    if find_spec("anomalib") and not quick:
        bridge = replace(options, backbone=OFFLINE_BACKBONE)
        run(replace(plan, methods=tuple(BRIDGE), settings=BRIDGE, options=bridge))
        drawn = work / "drawn"
        run(replace(plan, methods=tuple(DRAWN), settings=DRAWN, options=replace(options, preset="quick"), out=drawn))
        report([drawn], page=False)
    report([plan.out])
    return plan.out, drawn
