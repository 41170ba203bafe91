"""DiAD, by its official code, which saves its maps in ``npz_result/``: nothing needs to be added."""

from aseg_bench.methods import MethodFacts

METHOD = MethodFacts(
    name="diad",
    label="DiAD",
    venue="AAAI 2024",
    summary="a diffusion model, guided by what the image shows, rebuilds it without the anomaly",
    paper="https://arxiv.org/abs/2312.06607",
    licence="Apache-2.0",
    protocol="diad",
    reader="uniad",
    published="DiAD",
    dump=__doc__ or "",
)
