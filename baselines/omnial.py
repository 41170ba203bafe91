"""OmniAL: its code was never released; the maps of a re-implementation are read as a plain folder."""

from aseg_bench.methods import MethodFacts

_BIBTEX = """\
@inproceedings{zhao2023omnial,
  title = {{OmniAL}: A Unified {CNN} Framework for Unsupervised Anomaly Localization},
  author = {Zhao, Ying},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {3924--3933},
  year = {2023},
}
"""

METHOD = MethodFacts(
    name="omnial",
    label="OmniAL",
    venue="CVPR 2023",
    summary="one reconstruction and localisation network for all categories, trained on drawn anomalies",
    paper="https://openaccess.thecvf.com/content/CVPR2023/html/Zhao_OmniAL_A_Unified_CNN_Framework_for_Unsupervised_Anomaly_Localization_CVPR_2023_paper.html",
    licence="no code",
    bibtex=_BIBTEX,
    protocol="exact",
    reader="plain",
    published="OmniAL",
    dump=__doc__ or "",
)
