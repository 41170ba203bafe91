"""DRAEM, by its official code; as a live model it is ``anomalib:Draem``.

To save its maps, put this into ``test_DRAEM.py``, right after the line that cuts the flat scores to length::

    np.savez(f"{obj_name}.npz", total_pixel_scores=total_pixel_scores)

or collect ``out_mask_cv`` of each image in a list and save ``out_mask_cv=np.stack(...)``. The official test loader
sorts its images, so their order is known.
"""

from functools import partial

from aseg_bench.methods import MethodFacts
from aseg_bench.predictions.records import Reader
from aseg_bench.predictions.stacks import by_glob, find_stacks, holds_members

_BIBTEX = r"""@inproceedings{zavrtanik2021draem,
  title = {{DRAEM}: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly Detection},
  author = {Zavrtanik, Vitjan and Kristan, Matej and Sko{\v{c}}aj, Danijel},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  pages = {8330--8339},
  year = {2021},
}
"""

METHOD = MethodFacts(
    name="draem",
    label="DRAEM",
    venue="ICCV 2021",
    summary="a reconstruction and the image, compared by a network trained on drawn anomalies",
    paper="https://arxiv.org/abs/2108.07610",
    licence="MIT",
    bibtex=_BIBTEX,
    protocol="draem",
    reader="draem",
    published="DRAEM",
    dump=__doc__ or "",
    live_as="anomalib:Draem",
)
_MEMBERS = ("out_mask_cv", "total_pixel_scores")
READER = Reader(
    key="draem",
    summary="npz per category: out_mask_cv, or total_pixel_scores in one flat array",
    recognises=holds_members(*_MEMBERS, how_many=1),
    find=partial(find_stacks, maps=_MEMBERS, order=by_glob, edge=256),
)
