"""UniAS, the one-for-all anomaly segmentation model of Ma et al. (WACV 2025), readable beside the paper."""

from collections.abc import Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

from aseg_bench.methods import MethodFacts, call

_BIBTEX = """\
@inproceedings{ma2025unias,
  title = {Towards Accurate Unified Anomaly Segmentation},
  author = {Ma, Wenxin and Yao, Qingsong and Zhang, Xiang and Huang, Zhelong and Jiang, Zihang and Zhou, S.
    Kevin},
  booktitle = {Proceedings of the Winter Conference on Applications of Computer Vision (WACV)},
  pages = {1342--1352},
  year = {2025},
}
"""


def _model(settings: Any) -> Any:
    from uni_as.model import build_uni_as

    return build_uni_as(settings=settings, pretrained=False)


TABLE_4: tuple[Mapping[str, str], ...] = (
    {"multi_level": "false"},
    {"sample_aware": "false", "local": "none"},
    {"local": "none"},
    {"local": "conv3"},
    {"local": "mg"},
    {},
)

METHOD = MethodFacts(
    name="uni_as",
    label="UniAS",
    venue="WACV 2025",
    summary="multi-level reconstruction with transformers and a gated CNN, one model for all categories",
    paper="https://github.com/Mwxinnn/UniAS",
    licence="no licence file",
    bibtex=_BIBTEX,
    protocol="unias",
    reader="uniad",
    published="UniAS",
    presets=partial(resolve_name, "uni_as.settings:PRESETS"),
    build=partial(call, "uni_as.model:make_method"),
    ablation=TABLE_4,
    model=_model,
)


def __getattr__(name: str) -> Any:
    """``uni_as.UniAS`` and ``uni_as.build_uni_as``, without torch in ``import uni_as``."""
    if name == "UniAS":
        from uni_as.trained import UniAS

        return UniAS
    if name == "build_uni_as":
        from uni_as.model import build_uni_as

        return build_uni_as
    raise AttributeError(f"module uni_as has no attribute {name}")
