"""Options of a command from a YAML file, and the file that repeats a command."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import reading
from aseg_bench.remote import named, without_passwords

_NOT_REPEATED = {"config", "dry_run", "overwrite", "quiet"}  # they say how a command goes, not what it makes


def _take(context: typer.Context, file: Path | None) -> Path | None:
    """Make what a file says the defaults of the command; what is typed beside ``--config`` goes before it."""
    if file is not None:
        context.default_map = read_config(file.expanduser(), _options(context))
    return file


Config = Annotated[
    Path | None,
    typer.Option("--config", is_eager=True, callback=_take, help="YAML file of options; typed ones go before it."),
]


def read_config(file: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a YAML file says of the options of a command, by the names of its parameters.

    Lists stand for what is separated by commas, and ``set`` may be a mapping of METHOD.FIELD to a value.

    Args:
        file: keys are long options without dashes, for instance ``data-root``.
        options: the parameters of the command by key.

    Raises:
        InputError: the file cannot be read, is not a mapping, or has an unknown key or a value of the wrong kind.
    """
    import yaml

    with reading(file, "write one option a line", "cannot read {} as YAML"):
        text = file.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):  # within each other they have no end
            raise ValueError("it refers to a part of itself")
        content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no options; write one a line, for instance `methods: uni_as`")
    values = {}
    for key, value in content.items():
        if key not in options or key == "config":
            known = [name for name in options if name != "config"]
            raise InputError(f"{file}: there is no option {key}; {near_matches(str(key), known)}")
        if value is not None:
            values[options[key].name] = _value(f"{file}: {key}", value, options[key])
    return values


def config_text(context: typer.Context, out: Path) -> str:
    """The YAML that repeats the command of a context into a folder, every option written out."""
    import yaml

    said = {}
    for key, option in _options(context).items():
        value = context.params.get(option.name)
        if option.name == "out":
            value = out
        if value is not None and option.name not in _NOT_REPEATED:
            said[key] = [_said(one) for one in value] if isinstance(value, list | tuple) else _said(value)
    return f"# aseg-bench {context.info_name} --config THIS_FILE\n{yaml.safe_dump(said, sort_keys=False)}"


def _said(value: Any) -> Any:
    """A value as YAML has it, without a password."""
    return named(value) if isinstance(value, Path) else without_passwords(value) if isinstance(value, str) else value


def _options(context: typer.Context) -> dict[str, Any]:
    """The options of a command by their long names without dashes; of a pair such as --page/--no-page the first."""
    return {
        option.opts[0].removeprefix("--"): option
        for option in context.command.params
        if option.param_type_name == "option" and option.name != "help"
    }


def _value(where: str, value: Any, option: Any) -> Any:
    if option.is_flag != isinstance(value, bool):
        raise InputError(f"{where} is {value!r}; {'write true or false' if option.is_flag else 'it is not a switch'}")
    if option.multiple:
        if isinstance(value, dict):
            return [f"{name}={one}" for name, one in value.items()]
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, list):
        text = io.StringIO()
        csv.writer(text).writerow(value)
        return text.getvalue().strip()
    if isinstance(value, dict):
        raise InputError(f"{where} is a mapping; write one value")
    return value if option.is_flag else str(value)
