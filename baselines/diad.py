"""DiAD, by its official code, which saves its maps in ``npz_result/``: nothing needs to be added."""

from aseg_bench.methods import MethodFacts

_BIBTEX = """\
@inproceedings{he2024diad,
  title = {A Diffusion-Based Framework for Multi-Class Anomaly Detection},
  author = {He, Haoyang and Zhang, Jiangning and Chen, Hongxu and Chen, Xuhai and Li, Zhishan and Chen, Xu and
    Wang, Yabiao and Wang, Chengjie and Xie, Lei},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume = {38},
  pages = {8472--8480},
  year = {2024},
}
"""

METHOD = MethodFacts(
    name="diad",
    label="DiAD",
    venue="AAAI 2024",
    summary="a diffusion model, guided by what the image shows, rebuilds it without the anomaly",
    paper="https://arxiv.org/abs/2312.06607",
    licence="Apache-2.0",
    bibtex=_BIBTEX,
    protocol="diad",
    reader="uniad",
    published="DiAD",
    dump=__doc__ or "",
)
