"""RD4AD (Deng & Li, CVPR 2022): reverse distillation from a one-class embedding.

The official code tests in the order of ``os.listdir``, so to keep its maps save the names too. In
``evaluation`` of ``test.py`` add::

    maps.append(anomaly_map)  # (256, 256), after the blur
    np.savez(f"{_class_}.npz", anomaly_maps=np.stack(maps), img_paths=dataloader.dataset.img_paths)
"""

from functools import partial
from pkgutil import resolve_name

from aseg_bench.methods import MethodFacts, call
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import find_stacks, holds_members

_BIBTEX = """\
@inproceedings{deng2022rd4ad,
  title = {Anomaly Detection via Reverse Distillation from One-Class Embedding},
  author = {Deng, Hanqiu and Li, Xingyu},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {9737--9746},
  year = {2022},
}
"""

METHOD = MethodFacts(
    name="rd4ad",
    label="RD4AD",
    venue="CVPR 2022",
    summary="a decoder rebuilds the teacher's features from a bottleneck, and fails on anomalies",
    paper="https://arxiv.org/abs/2201.10703",
    licence="MIT",
    bibtex=_BIBTEX,
    protocol="rd4ad",
    reader="rd4ad",
    published="RD4AD",
    dump=__doc__ or "",
    presets=partial(resolve_name, "baselines.rd4ad.settings:PRESETS"),
    build=partial(call, "baselines.rd4ad.model:make_method"),
    model=partial(call, "baselines.rd4ad.model:build_rd4ad", pretrained=False),
    official=partial(call, "baselines.rd4ad.model:load_official"),
    official_file="what the authors' main.py saves (bn and decoder), with --preset paper",
)
READER = Reader(
    key="rd4ad",
    summary="npz per category: anomaly_maps, img_paths (its order is not fixed, so names are needed)",
    recognises=holds_members("anomaly_maps", "img_paths", without="cls_names"),
    find=partial(find_stacks, maps=["anomaly_maps", "anomaly_map"], places=["img_paths"]),
)
