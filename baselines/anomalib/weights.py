"""The one door through which anomalib's models get the weights of timm's and torchvision's networks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import nn
from torchvision.models import WeightsEnum

from aseg_bench.errors import MissingWeightsError
from aseg_bench.training.backbone import is_reachable, load_into, load_weights


class Weights:
    """Where weights come from, and what has been asked for.

    Args:
        method: for messages, ``anomalib:Padim``.
        file: a state dict that the user brings; None takes installed ones, kept ones, or a download.
        random: leave the networks as they are drawn.

    Attributes:
        used: where the weights of each network came from.
        networks: timm's that were made, pretrained or not.
    """

    def __init__(self, method: str, file: Path | None = None, random: bool = False) -> None:
        self.used: dict[str, str] = {}
        self.networks: dict[str, nn.Module] = {}
        self._method, self._file, self._random = method, file, random

    @contextmanager
    def served(self) -> Iterator[None]:
        """Every request of the block for pretrained weights comes here, whether or not a model has a switch for it."""
        library: Any = timm
        create, state_of = library.create_model, WeightsEnum.get_state_dict

        def created(model_name: str, pretrained: bool = False, **options: Any) -> nn.Module:
            network: nn.Module = create(model_name, pretrained=False, **options)
            name, self.networks[model_name] = model_name, network
            if pretrained and not self._random:
                library.create_model = create  # the way to the hub leads through it
                try:
                    load_into(network, _in_size(self._state(name), network), name, self._file)
                finally:
                    library.create_model = created
            if pretrained:
                self._note(name)
            return network

        def state(weights: WeightsEnum, *words: Any, **options: Any) -> Mapping[str, Any]:
            name = next(
                name
                for name in torchvision.models.list_models()
                if torchvision.models.get_model_weights(name) is type(weights)
            )
            self._note(name)
            if self._random:
                drawn: Mapping[str, Any] = torchvision.models.get_model(name, weights=None).state_dict()
                return drawn
            if self._file is not None:
                return load_weights(name, self._file)
            address = weights.url
            kept = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
            if not kept.is_file() and not is_reachable(address):
                raise MissingWeightsError(self._advice(name, f"{address} as {kept}, or anywhere"))
            found: Mapping[str, Any] = state_of(weights, *words, **options)
            return found

        library.create_model, WeightsEnum.get_state_dict = created, state
        try:
            yield
        finally:
            library.create_model, WeightsEnum.get_state_dict = create, state_of

    def _state(self, name: str) -> Mapping[str, Any]:
        try:
            return load_weights(name, self._file)
        except MissingWeightsError as error:
            saved = f"torch.save(timm.create_model('{name}', pretrained=True).state_dict(), FILE)"
            raise MissingWeightsError(self._advice(name, f"what {saved} writes where there is one")) from error

    def _note(self, name: str) -> None:
        self.used[name] = "random" if self._random else str(self._file or "pretrained")

    def _advice(self, name: str, way: str) -> str:
        return (
            f"{self._method} needs the ImageNet weights of {name}: neither installed nor kept here, and no network. "
            f"Bring {way}, and give --backbone-weights FILE; choose another network with --backbone; or say "
            f"--set {self._method}.weights=random, whose scores mean nothing"
        )


def _in_size(state: Mapping[str, Any], network: Any) -> Mapping[str, Any]:
    """A state dict whose positions are resampled where a transformer was made for another image size, as timm does."""
    own, given = getattr(network, "pos_embed", None), state.get("pos_embed")
    if own is None or given is None or own.shape == given.shape:
        return state
    n_prefix = 0 if getattr(network, "no_embed_class", False) else network.num_prefix_tokens
    size = network.patch_embed.grid_size
    return {**state, "pos_embed": resample_abs_pos_embed(given, size, num_prefix_tokens=n_prefix)}
