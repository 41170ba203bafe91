"""DeSTSeg (Zhang et al., CVPR 2023): a denoising student, and a network that segments where its teacher differs.

To save the official code's maps, collect them in ``eval.py`` after the interpolation, and save them after the loop over
the batches::

    maps.append(output_segmentation.cpu().numpy())  # (B, 1, 256, 256)
    np.savez(f"{category}.npz", output_segmentation=np.concatenate(maps))

``output_de_st`` alone is read as well. The official test loader sorts its images, so their order is known.
"""

from functools import partial
from pkgutil import resolve_name

from aseg_bench.methods import MethodFacts, call
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import by_glob, find_stacks, holds_members

_BIBTEX = """\
@inproceedings{zhang2023destseg,
  title = {{DeSTSeg}: Segmentation Guided Denoising Student-Teacher for Anomaly Detection},
  author = {Zhang, Xuan and Li, Shiyu and Li, Xi and Huang, Ping and Shan, Jiulong and Chen, Ting},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {3914--3923},
  year = {2023},
}
"""

METHOD = MethodFacts(
    name="destseg",
    label="DeSTSeg",
    venue="CVPR 2023",
    summary="a student that repairs drawn anomalies, and a network that segments where it differs from its teacher",
    paper="https://arxiv.org/abs/2211.11317",
    licence="Apple sample code",
    bibtex=_BIBTEX,
    protocol="destseg",
    reader="destseg",
    published="DeSTSeg",
    dump=__doc__ or "",
    presets=partial(resolve_name, "baselines.destseg.settings:PRESETS"),
    build=partial(call, "baselines.destseg.model:make_method"),
    model=partial(call, "baselines.destseg.model:build_destseg", pretrained=False),
    official=partial(call, "baselines.destseg.model:load_official"),
    official_file="the authors' .pckl, with --preset paper",
)
_MEMBERS = ("output_segmentation", "output_de_st")
READER = Reader(
    key="destseg",
    summary="npz per category: output_segmentation or output_de_st",
    recognises=holds_members(*_MEMBERS, how_many=1),
    find=partial(find_stacks, maps=_MEMBERS, order=by_glob),
)
