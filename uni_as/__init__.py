"""UniAS, the one-for-all anomaly segmentation model of Ma et al. (WACV 2025), readable beside the paper."""

from collections.abc import Mapping
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions


def _build(options: MethodOptions) -> Method:
    from uni_as.model import make_method  # torch loads when a model is made, not when methods are listed

    return make_method(options)


def _presets() -> Mapping[str, Any]:
    from uni_as.model import PRESETS

    return PRESETS


METHOD = MethodFacts(
    name="uni_as",
    label="UniAS",
    venue="WACV 2025",
    summary="multi-level reconstruction with transformers and a gated CNN, one model for all categories",
    paper="https://github.com/Mwxinnn/UniAS",
    licence="no licence file",
    protocol="unias",
    reader="uniad",
    published="UniAS",
    presets=_presets,
    build=_build,
)
