"""UniAD (You et al., NeurIPS 2022): one transformer reconstructs the features of all categories."""

from functools import partial
from pkgutil import resolve_name

from aseg_bench.methods import MethodFacts, call

_BIBTEX = """\
@inproceedings{you2022uniad,
  title = {A Unified Model for Multi-class Anomaly Detection},
  author = {You, Zhiyuan and Cui, Lei and Shen, Yujun and Yang, Kai and Lu, Xin and Zheng, Yu and Le, Xinyi},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2022},
}
"""

METHOD = MethodFacts(
    name="uniad",
    label="UniAD",
    venue="NeurIPS 2022",
    summary="feature reconstruction by layer-wise queries and neighbour-masked attention, one model for all categories",
    paper="https://arxiv.org/abs/2206.03687",
    licence="Apache-2.0",
    bibtex=_BIBTEX,
    protocol="uniad",
    reader="uniad",
    published="UniAD",
    presets=partial(resolve_name, "baselines.uniad.settings:PRESETS"),
    build=partial(call, "baselines.uniad.model:make_method"),
    model=partial(call, "baselines.uniad.model:build_uniad", pretrained=False),
    official=partial(call, "baselines.uniad.model:load_official"),
    official_file="the authors' ckpt.pth.tar, or its state_dict alone, with --preset paper",
)
