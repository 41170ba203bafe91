"""PatchCore (Roth et al., CVPR 2022): the distance to the nearest of a bank of normal patch features."""

from functools import partial
from pkgutil import resolve_name

from aseg_bench.methods import MethodFacts, call
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import find_stacks, holds_members

_DUMP = """PatchCore, by its official code.

To save its maps, put this into ``bin/run_patchcore.py``, after the segmentations are scaled and before the AUROCs::

    paths = [image[2] for image in dataloaders["testing"].dataset.data_to_iterate]
    np.savez(f"{dataset_name}.npz", segmentations=segmentations, scores=scores, paths=paths)

One file per category. The maps show the central 224 of 256 (or 320 of 366) pixels.
"""

_BIBTEX = r"""@inproceedings{roth2022patchcore,
  title = {Towards Total Recall in Industrial Anomaly Detection},
  author = {Roth, Karsten and Pemula, Latha and Zepeda, Joaquin and Sch{\"o}lkopf, Bernhard and Brox, Thomas
    and Gehler, Peter},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {14318--14328},
  year = {2022},
}
"""

METHOD = MethodFacts(
    name="patchcore",
    label="PatchCore",
    venue="CVPR 2022",
    summary="distance to the nearest of a bank of normal patch features, one bank for all categories",
    paper="https://arxiv.org/abs/2106.08265",
    licence="Apache-2.0",
    bibtex=_BIBTEX,
    protocol="patchcore",
    reader="patchcore",
    published="PatchCore",
    dump=_DUMP,
    presets=partial(resolve_name, "baselines.patchcore.settings:PRESETS"),
    build=partial(call, "baselines.patchcore.method:make_method"),
    model=partial(call, "baselines.patchcore.memory:build_patchcore", pretrained=False),
)
READER = Reader(
    key="patchcore",
    summary="npz per category: segmentations, paths",
    recognises=holds_members("segmentations", "paths"),
    find=partial(find_stacks, maps=["segmentations"], places=["paths"]),
    crops={224: 256, 320: 366},
)
