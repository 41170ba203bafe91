"""RD4AD (Deng & Li, CVPR 2022): reverse distillation from a one-class embedding.

The official code tests in the order of ``os.listdir``, so to keep its maps save the names too. In
``evaluation`` of ``test.py`` add::

    maps.append(anomaly_map)  # (256, 256), after the blur
    np.savez(f"{_class_}.npz", anomaly_maps=np.stack(maps), img_paths=dataloader.dataset.img_paths)
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import find_stacks, holds_members


def _build(options: MethodOptions) -> Method:
    from baselines.rd4ad.model import make_method  # torch is imported when a model is made, not when methods are listed

    return make_method(options)


def _presets() -> Mapping[str, Any]:
    from baselines.rd4ad.settings import PRESETS

    return PRESETS


def _model(settings: Any) -> Any:
    from baselines.rd4ad.model import build_rd4ad

    return build_rd4ad(settings, pretrained=False)


METHOD = MethodFacts(
    name="rd4ad",
    label="RD4AD",
    venue="CVPR 2022",
    summary="a decoder rebuilds the teacher's features from a bottleneck, and fails on anomalies",
    paper="https://arxiv.org/abs/2201.10703",
    licence="MIT",
    protocol="rd4ad",
    reader="rd4ad",
    published="RD4AD",
    dump=__doc__ or "",
    presets=_presets,
    build=_build,
    model=_model,
)
READER = Reader(
    key="rd4ad",
    summary="npz per category: anomaly_maps, img_paths (its order is not fixed, so names are needed)",
    recognises=holds_members("anomaly_maps", "img_paths", without="cls_names"),
    find=partial(find_stacks, maps=["anomaly_maps", "anomaly_map"], places=["img_paths"]),
)
