"""Weights from a file in the place of a training: a checkpoint of this toolkit, or of a method's official code."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from aseg_bench.errors import InputError
from aseg_bench.files import reading
from aseg_bench.methods import find_method
from aseg_bench.pickles import AskedForError, load_torch
from aseg_bench.records import Case, Finding
from aseg_bench.training.backbone import Backbone, load_into, of_first_port
from aseg_bench.training.checkpoints import FORMAT, load_weights_into
from aseg_bench.training.network import Network
from aseg_bench.training.settings import FeatureSettings, plain

_OF_OTHERS = [(OrderedDict, "easydict.EasyDict")]  # the configuration that UniAD and HVQ-Trans save beside the weights


def load_checkpoint(model: Network, settings: FeatureSettings, method: str, file: Path) -> None:
    """Give a model the weights of a file.

    Args:
        model: as built for the settings.
        settings: of the model.
        method: its key.
        file: ``checkpoint.pt`` of a run of this toolkit, or what the method's official code saved.

    Raises:
        InputError: the file is missing, damaged or asks for more than tensors and plain containers, is of another
            method or other settings, or the method has no official weights; or an entry has no place, another shape,
            or is missing.
    """
    content, facts = _read(file), find_method(method)
    if isinstance(content, Mapping) and "conditions" in content:
        with reading(file, "train again", "{} is not a whole checkpoint"):
            _load_own(model, settings, method, content, file)
        return
    if facts.official is None:
        raise InputError(f"{file} is not a checkpoint of aseg-bench, and no other of {facts.label} can be read")
    if settings.feature_scaling != "none":
        raise InputError(
            f"the official weights of {facts.label} are for features as they are; give --preset paper, or "
            f"--set {method}.feature_scaling=none"
        )
    try:
        with reading(file, "save the state dict of the official code again", "{} holds something else"):
            facts.official(model, content)
    except InputError as error:
        raise InputError(f"{file} cannot be taken as {facts.label}: {error}") from error


def loaded(method: str, dataset: str, file: Path) -> Finding:
    """What a reader of the tables must know of a method whose weights are those of a file."""
    text = f"not trained here: the weights are those of {file}, and the images that they were trained on are not known"
    return Finding("loaded", text, Case(method, dataset, ""))


def state_in(content: Any, key: str) -> dict[str, Tensor]:
    """The state dict under a key of what ``torch.save`` wrote, or all of it where there is no such key.

    Returns:
        Tensors by name, without the ``module.`` of distributed training.

    Raises:
        InputError: there is no state dict of tensors.
    """
    state = content.get(key, content) if isinstance(content, Mapping) else content
    is_state = isinstance(state, Mapping) and state
    if not is_state or not all(isinstance(name, str) and isinstance(one, Tensor) for name, one in state.items()):
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise InputError(f"it holds no state dict {key} of tensors, but {found or 'nothing'}")
    return {name.removeprefix("module."): values for name, values in state.items()}


def by_part(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """State dicts of the parts of a network, whose names stand before the first dot, from one of the whole."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, values in state.items():
        part, _, entry = name.partition(".")
        parts.setdefault(part, {})[entry] = values
    return parts


def load_port(backbone: Backbone, entries: dict[str, Tensor], prefix: str) -> None:
    """Take the entries of a frozen EfficientNet out of a state dict, and load them.

    Args:
        backbone: gets the weights.
        entries: by name; those of the EfficientNet, in the names of its first PyTorch port, are taken out.
        prefix: what their names begin with.

    Raises:
        InputError: an entry has no place, another shape, or is missing.
    """
    own = {name: entries.pop(name) for name in [name for name in entries if name.startswith(prefix)]}
    state = of_first_port(backbone.name, {name.removeprefix(prefix): values for name, values in own.items()})
    load_into(backbone.network, state, backbone.name)


def _load_own(model: Network, settings: FeatureSettings, method: str, content: Mapping[str, Any], file: Path) -> None:
    if content.get("format") != FORMAT:
        raise InputError(f"{file} is not a checkpoint of this version of aseg-bench; train again")
    found = plain(type(settings)()) | content["settings"] | {"method": content["conditions"]["method"]}
    for name, value in ({"method": method} | plain(settings)).items():
        if found.get(name) != value:
            raise InputError(
                f"{file} was trained with {name} {found.get(name)}, not {value}; give the --preset, --backbone and "
                "--set of its run"
            )
    load_weights_into(model, content, file)


def _read(file: Path) -> Any:
    if not file.is_file():
        raise InputError(f"there is no checkpoint {file}")
    try:
        return load_torch(file, _OF_OTHERS)
    except AskedForError as error:
        raise InputError(
            f"{file} asks for {error.name}, which could run code, so it is not loaded. Where you trust it, save its "
            f"weights alone: content = torch.load('{file}', weights_only=False); "
            "torch.save(content['state_dict'], FILE), with the key that it has in the place of 'state_dict'"
        ) from error
    except Exception as error:  # torch.load raises many kinds for a broken or unsafe file
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{file} is not a whole file that torch.save wrote ({reason})") from error
