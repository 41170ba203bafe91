"""UniAD (You et al., NeurIPS 2022): one transformer reconstructs the features of all categories."""

from collections.abc import Mapping
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions


def _build(options: MethodOptions) -> Method:
    from baselines.uniad.model import make_method  # torch is imported when a model is made, not when methods are listed

    return make_method(options)


def _presets() -> Mapping[str, Any]:
    from baselines.uniad.settings import PRESETS

    return PRESETS


def _model(settings: Any) -> Any:
    from baselines.uniad.model import build_uniad

    return build_uniad(settings, pretrained=False)


METHOD = MethodFacts(
    name="uniad",
    label="UniAD",
    venue="NeurIPS 2022",
    summary="feature reconstruction by layer-wise queries and neighbour-masked attention, one model for all categories",
    paper="https://arxiv.org/abs/2206.03687",
    licence="Apache-2.0",
    protocol="uniad",
    reader="uniad",
    published="UniAD",
    presets=_presets,
    build=_build,
    model=_model,
)
