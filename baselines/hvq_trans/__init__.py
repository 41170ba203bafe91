"""HVQ-Trans (Lu et al., NeurIPS 2023): UniAD's features, rebuilt from learned codes of the image's category.

The official code deletes its maps after use. To keep them, remove the line ``shutil.rmtree(...)`` from ``validate`` in
``tools/train_val.py``; they are in ``result_eval_temp/``. Run ``HVQ_TR_switch_OT`` for the paper's numbers.
"""

from functools import partial
from pkgutil import resolve_name

from aseg_bench.methods import MethodFacts, call

_BIBTEX = """\
@inproceedings{lu2023hvqtrans,
  title = {Hierarchical Vector Quantized Transformer for Multi-class Unsupervised Anomaly Detection},
  author = {Lu, Ruiying and Wu, YuJie and Tian, Long and Wang, Dongsheng and Chen, Bo and Liu, Xiyang and Hu,
    Ruimin},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2023},
}
"""

METHOD = MethodFacts(
    name="hvq_trans",
    label="HVQ-Trans",
    venue="NeurIPS 2023",
    summary="features rebuilt from a hierarchy of learned codes per category; told the category of every test image",
    paper="https://arxiv.org/abs/2310.14228",
    licence="no licence file",
    bibtex=_BIBTEX,
    protocol="hvq_trans",
    reader="uniad",
    published="HVQ-Trans",
    dump=__doc__ or "",
    presets=partial(resolve_name, "baselines.hvq_trans.settings:PRESETS"),
    build=partial(call, "baselines.hvq_trans.model:make_method"),
    model=partial(call, "baselines.hvq_trans.model:build_hvq_trans", pretrained=False),
    official=partial(call, "baselines.hvq_trans.model:load_official"),
    official_file="the authors' ckpt.pth.tar of MVTec-AD, or its state_dict alone, with --preset paper",
)
