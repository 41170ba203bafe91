"""HVQ-Trans, by its official code, which deletes its maps after use.

To keep them, remove the line ``shutil.rmtree(...)`` from ``validate`` in ``tools/train_val.py``; they are in
``result_eval_temp/``. Run ``HVQ_TR_switch_OT`` for the paper's numbers.
"""

from aseg_bench.methods import MethodFacts

METHOD = MethodFacts(
    name="hvq_trans",
    label="HVQ-Trans",
    venue="NeurIPS 2023",
    summary="UniAD's features, rebuilt from a hierarchy of learned codes per category",
    paper="https://arxiv.org/abs/2310.14228",
    licence="no licence file",
    protocol="hvq_trans",
    reader="uniad",
    published="HVQ-Trans",
    dump=__doc__ or "",
)
