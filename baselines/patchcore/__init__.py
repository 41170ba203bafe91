"""PatchCore (Roth et al., CVPR 2022): the distance to the nearest of a bank of normal patch features."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import find_stacks, holds_members

_DUMP = """PatchCore, by its official code.

To save its maps, put this into ``bin/run_patchcore.py``, after the segmentations are scaled and before the AUROCs::

    paths = [image[2] for image in dataloaders["testing"].dataset.data_to_iterate]
    np.savez(f"{dataset_name}.npz", segmentations=segmentations, scores=scores, paths=paths)

One file per category. The maps show the central 224 of 256 (or 320 of 366) pixels.
"""


def _build(options: MethodOptions) -> Method:
    from baselines.patchcore.method import make_method  # torch loads when a model is made, not when methods are listed

    return make_method(options)


def _presets() -> Mapping[str, Any]:
    from baselines.patchcore.settings import PRESETS

    return PRESETS


def _model(settings: Any) -> Any:
    from baselines.patchcore.memory import build_patchcore

    return build_patchcore(settings, pretrained=False)


METHOD = MethodFacts(
    name="patchcore",
    label="PatchCore",
    venue="CVPR 2022",
    summary="distance to the nearest of a bank of normal patch features, one bank for all categories",
    paper="https://arxiv.org/abs/2106.08265",
    licence="Apache-2.0",
    protocol="patchcore",
    reader="patchcore",
    published="PatchCore",
    dump=_DUMP,
    presets=_presets,
    build=_build,
    model=_model,
)
READER = Reader(
    key="patchcore",
    summary="npz per category: segmentations, paths",
    recognises=holds_members("segmentations", "paths"),
    find=partial(find_stacks, maps=["segmentations"], places=["paths"]),
    crops={224: 256, 320: 366},
)
