"""DeSTSeg (Zhang et al., CVPR 2023): a denoising student, and a network that segments where its teacher differs.

To save the official code's maps, collect them in ``eval.py`` after the interpolation, and save them after the loop over
the batches::

    maps.append(output_segmentation.cpu().numpy())  # (B, 1, 256, 256)
    np.savez(f"{category}.npz", output_segmentation=np.concatenate(maps))

``output_de_st`` alone is read as well. The official test loader sorts its images, so their order is known.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import by_glob, find_stacks, holds_members


def _build(options: MethodOptions) -> Method:
    from baselines.destseg.model import make_method  # torch is imported when a model is made, not when they are listed

    return make_method(options)


def _presets() -> Mapping[str, Any]:
    from baselines.destseg.settings import PRESETS

    return PRESETS


def _model(settings: Any) -> Any:
    from baselines.destseg.model import build_destseg

    return build_destseg(settings, pretrained=False)


METHOD = MethodFacts(
    name="destseg",
    label="DeSTSeg",
    venue="CVPR 2023",
    summary="a student that repairs drawn anomalies, and a network that segments where it differs from its teacher",
    paper="https://arxiv.org/abs/2211.11317",
    licence="Apple sample code",
    protocol="destseg",
    reader="destseg",
    published="DeSTSeg",
    dump=__doc__ or "",
    presets=_presets,
    build=_build,
    model=_model,
)
_MEMBERS = ("output_segmentation", "output_de_st")
READER = Reader(
    key="destseg",
    summary="npz per category: output_segmentation or output_de_st",
    recognises=holds_members(*_MEMBERS, how_many=1),
    find=partial(find_stacks, maps=_MEMBERS, order=by_glob),
)
