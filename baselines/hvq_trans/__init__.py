"""HVQ-Trans (Lu et al., NeurIPS 2023): UniAD's features, rebuilt from learned codes of the image's category.

The official code deletes its maps after use. To keep them, remove the line ``shutil.rmtree(...)`` from ``validate`` in
``tools/train_val.py``; they are in ``result_eval_temp/``. Run ``HVQ_TR_switch_OT`` for the paper's numbers.
"""

from collections.abc import Mapping
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions


def _build(options: MethodOptions) -> Method:
    from baselines.hvq_trans.model import make_method  # torch is imported when a model is made, not when all are listed

    return make_method(options)


def _presets() -> Mapping[str, Any]:
    from baselines.hvq_trans.settings import PRESETS

    return PRESETS


def _model(settings: Any) -> Any:
    from baselines.hvq_trans.model import build_hvq_trans

    return build_hvq_trans(settings, pretrained=False)


METHOD = MethodFacts(
    name="hvq_trans",
    label="HVQ-Trans",
    venue="NeurIPS 2023",
    summary="features rebuilt from a hierarchy of learned codes per category; told the category of every test image",
    paper="https://arxiv.org/abs/2310.14228",
    licence="no licence file",
    protocol="hvq_trans",
    reader="uniad",
    published="HVQ-Trans",
    dump=__doc__ or "",
    presets=_presets,
    build=_build,
    model=_model,
)
