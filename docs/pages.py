"""Pages that the project's own tables fill, written before Sphinx reads, so that nothing is written twice.

They go into ``docs/generated``, which git ignores: from METRICS, PROTOCOLS, DATASETS, the methods, the readers, the
command line and the docstrings of the house.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from inspect import getdoc, getmembers, isclass, isfunction
from types import ModuleType
from typing import Any

import typer
from links import DEFINITIONS, GENERATED, ROOT, definition, linked, mirror
from steps import steps

import aseg_bench
from aseg_bench import errors
from aseg_bench.cli import COMMANDS, app
from aseg_bench.datasets import DATASETS
from aseg_bench.methods import MethodFacts, find_methods
from aseg_bench.metrics import DEFAULT_METRICS, METRICS, Metric, functions
from aseg_bench.predictions.readers import find_readers
from aseg_bench.protocols import EXACT, PROTOCOLS, Protocol

TABLES = {"DATASETS": "datasets.md", "METRICS": "metrics.md", "PROTOCOLS": "protocols.md"}


def write_all() -> None:
    """Write every generated page and the mirror."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    mirror()
    definitions = dict(definitions_by_key())
    pages = {
        "metrics": _metrics(),
        **{f"metrics/{key}": _metric(metric, definitions[key]) for key, metric in METRICS.items()},
        "protocols": _protocols(),
        **{f"protocols/{name}": _protocol(protocol) for name, protocol in PROTOCOLS.items()},
        "methods": _methods(),
        "datasets": _datasets(),
        "readers": _readers(),
        "commands": _commands(),
        "api": _api(),
        "house": _house(),
    }
    pages["measured"] = _page(
        "Measured",
        "What `make speed` and `make benchmark` wrote.",
        _toctree(
            sorted(file.relative_to(ROOT).with_suffix("").as_posix() for file in (ROOT / "reports").rglob("*.md")),
            hidden=False,
        ),
    )
    for name, text in pages.items():
        file = GENERATED / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def definitions_by_key() -> Iterator[tuple[str, str]]:
    """Each metric with the hand-written definition of its family, in which names of protocols become links."""
    protocol = re.compile(rf"(?<!\[)`({'|'.join(PROTOCOLS)})`")
    for file in sorted(DEFINITIONS.glob("*.md")):
        keys, text = definition(file)
        text = protocol.sub(r"[`\1`](/generated/protocols/\1.md)", linked(text, file.parent))
        yield from ((key, text) for key in keys)


def _metrics() -> str:
    rows = [
        (
            f"[`{metric.key}`](metrics/{metric.key}.md)",
            metric.label,
            metric.level,
            "yes" if metric.key in DEFAULT_METRICS else "",
            _plain(metric.summary),
        )
        for metric in METRICS.values()
    ]
    return _page(
        "Metrics",
        "Each has its formula, an example by hand, and what other code bases do in its place. `run` and `eval` compute "
        "the usual ones, or those that `--metrics` names. [What the metrics say](/metrics.md) is about reading them.",
        _table(("key", "metric", "level", "usual", "what it is"), rows),
        definition(DEFINITIONS / "toy.md")[1],
        _toctree(f"metrics/{key}" for key in METRICS),
    )


def _metric(metric: Metric, definition: str) -> str:
    better = {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better]
    facts = [
        ("key", f"`{metric.key}`"),
        ("what it is", _plain(metric.summary)),
        ("level", metric.level),
        ("better", better),
        ("unit", metric.unit),
        ("source", _plain(metric.source)),
        ("at the command line", f"`--metrics {metric.key}`"),
        ("in Python", f'`METRICS["{metric.key}"](scores, masks)`'),
    ]
    return _page(
        metric.label,
        _table(("", ""), facts),
        definition,
        "The example is of [the toy](/generated/metrics.md#the-toy). A protocol's page names its files.",
    )


def _protocols() -> str:
    rows = [(f"[`{name}`](protocols/{name}.md)", _plain(protocol.summary)) for name, protocol in PROTOCOLS.items()]
    meanings = [(f"`{field}`", meaning) for field, meaning in _attributes(Protocol).items()]
    return _page(
        "Protocols",
        "A protocol says how maps meet the truth. `--protocol NAME` scores under one, `aseg-bench audit` under all, "
        "and names the setting that moves each number most. The presets restate published code, and name its files.",
        _table(("protocol", "what it does"), rows),
        "## What can be set",
        "Masks without a value above 127 (class indices, as in raw VisA) are binarised by `> 0` first, whatever the "
        "protocol.",
        "Fields of [`aseg_bench.protocols.Protocol`](/generated/api.md); `dataclasses.replace` changes one.",
        _table(("field", "meaning"), meanings),
        _toctree(f"protocols/{name}" for name in PROTOCOLS),
    )


def _protocol(protocol: Protocol) -> str:
    told = []
    for step in steps(protocol):
        settings = ", ".join(f"`{field}={getattr(protocol, field)}`" for field in step.settings)
        told.append(f"1. {f'**{step.text}**' if step.differs else step.text}<br>{settings}")
    ours = protocol in (EXACT,)
    return _page(
        protocol.name,
        f"{protocol.summary[0].upper()}{protocol.summary[1:]}.",
        _table(
            ("", ""),
            [
                ("restates", _plain(protocol.source)),
                ("stamp", f"`{protocol.stamp}`"),
                ("at the command line", f"`--protocol {protocol.name}`"),
            ],
        ),
        "## Step by step",
        "" if ours else "What is set in **bold** is not as [`exact`](exact.md) does it.",
        "\n".join(told),
    )


def _methods() -> str:
    parts = [
        "Live models, and systems whose maps can be read. `aseg-bench methods --show NAME` prints the same; "
        "[anomalib's models](/anomalib.md) have a page of their own."
    ]
    for facts in find_methods().values():
        parts += [
            f"## {facts.label}",
            f"{facts.summary[0].upper()}{facts.summary[1:]}.",
            _table(("", ""), _facts(facts)),
        ]
        if facts.dump.strip():
            parts.append(_rest(facts.dump.strip()))
        if facts.presets is not None:
            parts.append(_presets(facts.presets()))
    return _page("Methods", *parts)


def _facts(facts: MethodFacts) -> Iterator[tuple[str, str]]:
    name = f"{facts.name}:NAME" if facts.members else facts.name
    live = facts.build is not None or facts.members is not None
    yield "name", f"`{name}`"
    yield (
        "published",
        f"{facts.venue}, [{facts.paper}]({facts.paper})" if facts.paper.startswith("http") else facts.venue,
    )
    yield "licence of the official code", facts.licence
    yield "here", "live" if live else f"maps are read{f'; live as `{facts.live_as}`' if facts.live_as else ''}"
    if facts.protocol:
        yield "official evaluation", f"[`{facts.protocol}`](/generated/protocols/{facts.protocol}.md)"
    if facts.reader:
        yield "reader of its maps", f"[`{facts.reader}`](/generated/readers.md)"
    if facts.official_file:
        yield "official weights", facts.official_file


def _presets(presets: Mapping[str, Any]) -> str:
    first = next(iter(presets.values()))
    meanings = _attributes(*reversed(type(first).__mro__))
    rows = [
        (
            f"`{field.name}`",
            meanings.get(field.name, ""),
            *(_value(getattr(preset, field.name)) for preset in presets.values()),
        )
        for field in fields(first)
    ]
    return _table(("setting", "meaning", *(f"`{name}`" for name in presets)), rows)


def _datasets() -> str:
    parts = [
        "What `--dataset` takes; `aseg-bench datasets --show KEY` prints the same. [Data sets](/datasets.md) says what "
        "is done with each, and [what your files mean](/files.md) how files are read."
    ]
    for data in DATASETS.values():
        known = (data.homepage and f"[{data.homepage}]({data.homepage})", _plain(data.licence), _plain(data.citation))
        facts = [(name, text) for name, text in zip(("homepage", "licence", "citation"), known, strict=True) if text]
        parts += [f"## {data.label}", f"`--dataset {data.key}`: {_plain(data.summary)}", _table(("", ""), facts)]
        if layout := data.tree or (data.layout.tree if data.layout else ""):
            parts.append(f"```text\n{layout}\n```")
        if data.counts:
            rows = [(name, *counts) for name, counts in data.counts.items()]
            parts.append(_table(("category", "training", "test, good", "test, anomalous"), rows))
    return _page("Data sets", *parts)


def _readers() -> str:
    rows = [(f"`{reader.key}`", _plain(reader.summary)) for reader in find_readers().values()]
    return _page(
        "Readers",
        "Layouts of anomaly maps that `eval`, `audit` and `run` read; `--reader auto` finds the one that fits. "
        "[Bring your own maps](/maps.md) says how to choose.",
        _table(("reader", "what it reads"), rows),
    )


def _commands() -> str:
    parts = ["What `aseg-bench COMMAND --help` says."]
    group: Any = typer.main.get_command(app)
    for example in COMMANDS.values():
        name = example.split()[0]
        command = group.commands[name]
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        words = " ".join(argument.name.upper() for argument in arguments)
        rows = [
            (
                ", ".join(f"`{word}`" for word in _spelt(parameter)),
                _plain(parameter.help or ""),
                _value(parameter.default),
            )
            for parameter in command.params
        ]
        parts += [
            f"## {name}",
            _plain(command.help),
            f"```sh\naseg-bench {example}\n```",
            f"`aseg-bench {name} {words} [OPTIONS]`" if words else f"`aseg-bench {name} [OPTIONS]`",
            _table(("option", "what it does", "default"), rows),
        ]
    return _page("Commands", *parts)


def _spelt(parameter: Any) -> list[str]:
    return (
        [parameter.name.upper()]
        if parameter.param_type_name == "argument"
        else [*parameter.opts, *parameter.secondary_opts]
    )


def _api() -> str:
    parts = [
        "The names in `aseg_bench.__all__` are the public API, and stay stable. A name is loaded when first used: "
        "`import aseg_bench` loads neither torch nor numba.",
        "Scores are any unit, higher is more anomalous; masks are True where anomalous; both always in that order. "
        "Metrics are fractions, never per cent. What is wrong with the input is an `InputError`, and a metric without "
        "a value an `UndefinedMetricError`; both are `AsegBenchError`.",
    ]
    tables = [f"- [`{name}`](/generated/{page}), a dictionary by key" for name, page in TABLES.items()]
    if examples := sorted(file.stem for file in (ROOT / "examples").glob("*.py")):
        parts += [
            "## Examples",
            "Scripts of `examples/`, which the tests run.",
            _toctree((f"examples/{name}" for name in examples), hidden=False),
        ]
    parts += ["## The package", "\n".join(tables)]
    for name in sorted(aseg_bench.__all__, key=str.lower):
        if name not in TABLES and not name.startswith("__") and not name.endswith("Error"):
            parts.append(_documented(f"aseg_bench.{name}", getattr(aseg_bench, name)))
    parts.append(_documented("aseg_bench.protocols.Protocol", Protocol))
    parts.append(_documented("aseg_bench.metrics.measure", aseg_bench.metrics.measure))
    parts.append(_documented("aseg_bench.metrics.Measured", aseg_bench.metrics.Measured))
    parts += [
        "## Errors",
        *(_documented(f"{errors.__name__}.{name}", thing) for name, thing in _own(errors) if isclass(thing)),
    ]
    parts += ["## Single metrics", _rest(getdoc(functions) or "")]
    parts += [_documented(f"{functions.__name__}.{name}", thing) for name, thing in _own(functions)]
    return _page("Python", *parts)


def _own(module: ModuleType) -> list[tuple[str, Any]]:
    """The public functions and classes that a module defines."""
    found = getmembers(module, lambda thing: isfunction(thing) or isclass(thing))
    return [(name, thing) for name, thing in found if thing.__module__ == module.__name__ and not name.startswith("_")]


def _documented(name: str, thing: Any) -> str:
    return _rest(f".. autoclass:: {name}\n   :members:" if isclass(thing) else f".. autofunction:: {name}")


def _house() -> str:
    rooms = []
    for package in ("aseg_bench", "baselines", "uni_as"):
        for file in sorted((ROOT / package).iterdir()):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            if file.name == "__init__.py" or (file.suffix != ".py" and not (file / "__init__.py").is_file()):
                continue
            doc = (import_module(module).__doc__ or "").strip().split("\n\n")[0]
            if doc and not file.name.startswith("__"):
                rooms.append(
                    (f"`{file.relative_to(ROOT).as_posix()}`", _plain(" ".join(doc.replace("``", "`").split())))
                )
    return _page(
        "Map of the house",
        "Where things are, in the words of the files themselves. The way of the data is one line: data set, samples, "
        "method, maps on disk, scoring, run folder, analysis, report. `aseg_bench` never imports `baselines` or "
        "`uni_as`, which never import each other. [Contributing](/generated/CONTRIBUTING.md) says how to add to it.",
        _table(("room", "what it holds"), rooms),
    )


def _attributes(*kinds: type) -> dict[str, str]:
    """What the docstrings of classes say under ``Attributes``; later classes have the last word."""
    found: dict[str, str] = {}
    for kind in kinds:
        section = re.search(r"^Attributes:\n((?:    .*\n?|\n)*)", getdoc(kind) or "", re.MULTILINE)
        for name, text in re.findall(
            r"^    (\w+): ((?:.*\n?)(?:     .*\n?)*)", section[1] if section else "", re.MULTILINE
        ):
            found[name] = _plain(" ".join(text.replace("``", "`").split()))
    return found


def _plain(text: str) -> str:
    """A text of the code, in which only what stands in backticks is marked."""
    return re.sub(r"`[^`]*`|[_*<]", lambda match: match[0] if match[0][0] == "`" else f"\\{match[0]}", text)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", *filter(None, parts)]) + "\n"


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _toctree(names: Iterable[str], hidden: bool = True) -> str:
    return "```{toctree}\n" + ":hidden:\n" * hidden + "\n" + "\n".join(names) + "\n```"


def _rest(text: str) -> str:
    return "``````{eval-rst}\n" + text + "\n``````"


def _value(value: Any) -> str:
    if value is None or value is False or value == ():
        return {None: "–", False: "no"}.get(value, "–")
    return "yes" if value is True else f"`{value}`"
