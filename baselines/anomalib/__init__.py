"""The bridge to anomalib: any image model of the installed version, by its class name, as ``anomalib:Dinomaly``.

Its own networks, losses and Engine; the same decoded images, folders and protocols as every other method here.
docs/anomalib.md says what is departed from.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aseg_bench.methods import Method, MethodFacts, MethodOptions
from baselines.anomalib.models import constructor, needs, needs_of_all, summary

_PAPER = "https://arxiv.org/abs/2202.08341"  # of the library; a model's own is named in anomalib's documentation
_LICENCE = "Apache-2.0"

_BIBTEX = """\
@inproceedings{akcay2022anomalib,
  title = {Anomalib: A Deep Learning Library for Anomaly Detection},
  author = {Akcay, Samet and Ameln, Dick and Vaidya, Ashwin and Lakshmanan, Barath and Ahuja, Nilesh and Genc,
    Utku},
  booktitle = {IEEE International Conference on Image Processing (ICIP)},
  pages = {1706--1710},
  year = {2022},
}
"""


def _build(options: MethodOptions, name: str) -> Method:
    from baselines.anomalib.method import AnomalibMethod  # imports torch and anomalib

    return AnomalibMethod(name, options)


def _presets(name: str) -> Mapping[str, Any]:
    from baselines.anomalib.settings import presets

    return presets(name)


def _member(name: str) -> MethodFacts:
    arguments = constructor(name)  # refuses an unknown name
    settable = "\n".join(f"    {key}{f' = {value}' if value else ''}" for key, value in arguments.items())
    wanted = needs(name)
    return MethodFacts(
        name=f"anomalib:{name}",
        label=f"{name} (anomalib)",
        venue="anomalib",
        summary=summary(name),
        paper=_PAPER,
        licence=_LICENCE,
        bibtex=_BIBTEX,
        protocol="anomalib_2_7",
        reader="anomalib",
        dump=(f"needs {wanted}\n\n" if wanted else "")
        + f"arguments of its constructor, --set anomalib:{name}.ARGUMENT=VALUE:\n{settable}",
        presets=partial(_presets, name),
        build=partial(_build, name=name),
    )


METHOD = MethodFacts(
    name="anomalib",
    label="anomalib's image models",
    venue="anomalib",
    summary="live models of the installed anomalib, one for all categories",
    paper=_PAPER,
    licence=_LICENCE,
    bibtex=_BIBTEX,
    protocol="anomalib_2_7",
    reader="anomalib",
    members=needs_of_all,
    member=_member,
)
