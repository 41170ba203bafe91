"""SimpleNet (Liu et al., CVPR 2023): a discriminator of normal features and the same with noise.

To save the official code's maps: ``_predict_dataloader`` in ``simplenet.py`` knows the image paths but drops them. Save
them there, before it returns::

    np.savez(f"{dataset_name}.npz", simplenet_maps=np.stack(masks), img_paths=img_paths)

Without ``img_paths`` the maps are taken in the order of the data loader: sorted defects, sorted images within each. The
scores may be negative, and the maps show the central 288 of 329 pixels.
"""

from functools import partial
from pkgutil import resolve_name

from aseg_bench.methods import MethodFacts, call
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import by_folders, find_stacks, holds_members

_BIBTEX = """\
@inproceedings{liu2023simplenet,
  title = {{SimpleNet}: A Simple Network for Image Anomaly Detection and Localization},
  author = {Liu, Zhikang and Zhou, Yiming and Xu, Yuansheng and Wang, Zilei},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {20402--20411},
  year = {2023},
}
"""

METHOD = MethodFacts(
    name="simplenet",
    label="SimpleNet",
    venue="CVPR 2023",
    summary="a discriminator tells adapted normal features from the same features with noise",
    paper="https://arxiv.org/abs/2303.15140",
    licence="MIT",
    bibtex=_BIBTEX,
    protocol="simplenet",
    reader="simplenet",
    published="SimpleNet",
    dump=__doc__ or "",
    presets=partial(resolve_name, "baselines.simplenet.settings:PRESETS"),
    build=partial(call, "baselines.simplenet.model:make_method"),
    model=partial(call, "baselines.simplenet.model:build_simplenet", pretrained=False),
    official=partial(call, "baselines.simplenet.model:load_official"),
    official_file="the authors' ckpt.pth (discriminator and pre_projection), with --preset paper",
)
READER = Reader(
    key="simplenet",
    summary="npz per category: simplenet_maps or segmentations, img_paths if known",
    recognises=holds_members("simplenet_maps"),
    find=partial(find_stacks, maps=["simplenet_maps", "segmentations"], places=["img_paths"], order=by_folders),
    crops={288: 329},
)
