"""HVQ-Trans, written from the paper and facts of the authors' release (commit 12fbfa9); no code is taken from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.datasets.mvtec_ad import MVTEC_AD
from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.checkpoints import load_renamed
from aseg_bench.training.features import FeatureScaler
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.official import load_port, state_in
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import settings_for
from baselines.hvq_trans.codebooks import Codebooks
from baselines.hvq_trans.experts import Experts
from baselines.hvq_trans.settings import PRESETS, HVQTransSettings
from baselines.hvq_trans.transformer import Layer

STRIDES = (2, 4, 8, 16)  # blocks 1, 5, 9 and 21 of EfficientNet-B4, as in UniAD

_OFFICIAL = {  # names in the authors' code, and here
    "official.": "",
    "pos_embed.row_embed.weight": "rows",
    "pos_embed.col_embed.weight": "columns",
    "quantize_conv_t.": "project.",
    "decoder.norm.": "decoded.",
    "encoder.layers.": "encode.",
    "decoder.layers.": "decode.",
    ".self_attn.": ".attentions.0.",
    ".multihead_attn.": ".attentions.1.",
    ".linear1.": ".feed_forward.0.",
    ".linear2.": ".feed_forward.3.",
    ".norm1.": ".norms.0.",
    ".norm2.": ".norms.1.",
    ".norm3.": ".norms.2.",
}
_OFFICIAL_CODES = {"embed": "codes", "cluster_size": "counts", "embed_avg": "sums"}


class HVQTrans(nn.Module):
    """Encoder, hierarchy of codebooks, decoder and experts (figure 2), and the distance of what they rebuild.

    Args:
        level_channels: channels of the levels, shallowest first.
        grid: rows and columns of cells to which all levels are resized.
        settings: the other numbers.

    Attributes:
        categories: whose codebooks and experts it has; none before a training or a checkpoint brings them.
    """

    def __init__(self, level_channels: Sequence[int], grid: tuple[int, int], settings: HVQTransSettings) -> None:
        super().__init__()
        width, self.grid, self._settings = settings.channels, grid, settings
        self.categories: list[str] = []
        self.n_features = sum(level_channels)

        def layers(channels: int, has_memory: bool) -> nn.ModuleList:
            return nn.ModuleList(
                Layer(channels, settings.n_heads, settings.ffn_channels, settings.dropout, has_memory)
                for _ in range(settings.n_layers)
            )

        self.project = nn.Linear(self.n_features, width)
        self.rows, self.columns = (nn.Parameter(torch.rand(side, width // 2)) for side in grid)
        self.encode, self.decode = layers(width, has_memory=False), layers(2 * width, has_memory=True)
        self.decoded = nn.LayerNorm(2 * width)
        self.set_categories([])

    def set_categories(self, names: Sequence[str]) -> None:
        """Make codebooks and experts for these categories, at random."""
        numbers, self.categories = self._settings, list(names)

        def codebooks(channels: int) -> Codebooks:
            return Codebooks(len(names), numbers.n_codes, channels, numbers.code_decay, numbers.restart_below)

        self.deepest = codebooks(numbers.channels)
        self.others = nn.ModuleList(codebooks(2 * numbers.channels) for _ in range(numbers.n_layers))
        self.experts = Experts(len(names), 2 * numbers.channels, self.n_features)
        self.train(self.training)  # new modules would follow what they see, whatever the others do

    def get_extra_state(self) -> list[str]:
        """The names of the categories, for the checkpoint."""
        return self.categories

    def set_extra_state(self, state: Sequence[str]) -> None:
        """Make room for a checkpoint's categories, before its codebooks and experts are loaded."""
        if self.categories != list(state):
            self.set_categories(state)

    def quantised(self, outputs: Sequence[Tensor], labels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Prototypes in the place of the encoder's outputs: the hierarchy.

        Args:
            outputs: projected features and what each layer makes of them, (B, N, C') each.
            labels: categories of the images, (B,).

        Returns:
            Prototypes of every output but the deepest, each quantised together with the deepest's prototypes,
            (B, N, 2 C'), deepest first; and the sum of all levels' commitment.
        """
        top, commitment = self.deepest(outputs[-1], labels)
        found = []
        for output, codebooks in zip(reversed(outputs[:-1]), self.others, strict=True):
            prototypes, own = codebooks(torch.cat([output, top], dim=2), labels)
            found.append(prototypes)
            commitment = commitment + own
        return found, commitment

    def forward(self, features: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature tokens and their reconstruction, both (B, N, sum of C_i), and the commitment."""
        resized = [
            functional.interpolate(values, self.grid, mode="bilinear", align_corners=True) for values in features
        ]
        target = torch.cat(resized, dim=1).flatten(2).transpose(1, 2)  # (B, C, rows, columns) -> (B, N, C)
        n_rows, n_columns = self.grid
        position = torch.cat(
            [self.columns[None].expand(n_rows, -1, -1), self.rows[:, None].expand(-1, n_columns, -1)], dim=2
        ).flatten(0, 1)  # (N, C')
        outputs = [self.project(target)]
        for layer in self.encode:
            outputs.append(layer(outputs[-1], position))
        prototypes, commitment = self.quantised(outputs, labels)
        position, tokens = position.repeat(1, 2), prototypes[0]  # as wide as two
        for layer, memory in zip(self.decode, prototypes, strict=True):
            tokens = layer(tokens, position, memory)
        return target, self.experts(self.decoded(tokens), labels), commitment

    def pairs(self, features: Sequence[Tensor], labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features and their reconstruction, (B, sum of C_i, N)."""
        target, reconstructed, _ = self(features, labels)
        return [(target.transpose(1, 2), reconstructed.transpose(1, 2))]

    def losses(self, features: Sequence[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Mean squared error of the reconstruction, and the weighted commitment; the codes learn by averaging."""
        target, reconstructed, commitment = self(features, labels)
        return {
            "mse": functional.mse_loss(reconstructed, target),
            "commitment": self._settings.commitment * commitment,
        }

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int], labels: Tensor) -> Tensor:
        """Euclidean distance per cell, upsampled to (B, height, width)."""
        target, reconstructed, _ = self(features, labels)
        distance = (target - reconstructed).norm(dim=2).reshape(-1, 1, *self.grid)
        return functional.interpolate(distance, tuple(size), mode="bilinear", align_corners=True)[:, 0]


def build_hvq_trans(
    settings: HVQTransSettings, weights: Path | None = None, pretrained: bool = True
) -> FeatureReconstruction:
    """HVQ-Trans as a module: ``model(images, categories)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Its decoder knows no category until ``set_categories`` is called or a state is loaded.

    Args:
        settings: every number.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that holds its weights.

    Raises:
        InputError: numbers do not fit together, or the backbone lacks a stride.
        MissingWeightsError: the backbone's weights cannot be found.
    """
    grid = settings.grid(STRIDES)
    if settings.channels % settings.n_heads or settings.channels % 2:
        raise InputError(f"channels {settings.channels} is not an even multiple of n_heads {settings.n_heads}")
    backbone = Backbone(settings.backbone, STRIDES, weights, pretrained)
    decoder = HVQTrans(backbone.channels, grid, settings)
    return FeatureReconstruction(backbone, FeatureScaler(backbone.channels), decoder)


def load_official(model: FeatureReconstruction, content: Mapping[str, Any]) -> None:
    """Load the authors' ``ckpt.pth.tar`` of MVTec-AD or its ``state_dict`` alone, for the preset ``paper``.

    The backbone's weights are loaded too: the authors' training changes its batch statistics. Their codebooks and
    experts have numbers, which are those of MVTec-AD's categories in alphabetical order. Their ``input_proj`` is never
    used.

    Raises:
        InputError: it is of other categories; or an entry has no place here, has another shape, or is missing.
    """
    entries, decoder = state_in(content, "state_dict"), cast(HVQTrans, model.decoder)
    load_port(model.backbone, entries, "enc.")
    names = sorted(MVTEC_AD.counts or ())
    numbers = {int(name.split(".")[1]) for name in entries if name.startswith("output_proj_list.")}
    if numbers != set(range(len(names))):
        raise InputError(f"it has experts for {len(numbers)} categories, and not for the {len(names)} of MVTec-AD")
    decoder.set_categories(names)

    def stacked(name: str) -> Tensor:
        """Entries of all categories as one, (categories, ...), matrices transposed."""
        own = [entries.pop(name.format(number), torch.empty(0)) for number in range(len(names))]
        if len({values.shape for values in own}) > 1 or not own[0].numel():
            raise InputError(f"{name.format(0)} and those of the other categories are missing or differ in shape")
        return torch.stack([values.T if values.ndim == 2 else values for values in own])

    n_levels = len(decoder.others)
    books = {f"quantize_list_{n_levels - level}": f"others.{level}" for level in range(n_levels)}
    books[f"quantize_list_{n_levels + 1}"] = "deepest"
    own = {
        f"{ours}.{kept}": stacked(f"{theirs}.{{}}.{entry}")
        for theirs, ours in books.items()
        for entry, kept in _OFFICIAL_CODES.items()
    }
    own["experts.weight"] = stacked("output_proj_list.{}.weight")
    own["experts.bias"] = stacked("output_proj_list.{}.bias")[:, None]
    if "quantize_conv_t.weight" in entries:  # of a convolution of 1 x 1
        entries["quantize_conv_t.weight"] = entries["quantize_conv_t.weight"].flatten(1)
    load_renamed(decoder, {"official": entries | own}, _OFFICIAL, unused=["official.input_proj."])


def make_method(options: MethodOptions) -> TrainedMethod:
    """HVQ-Trans as the runner uses it."""
    settings = settings_for(PRESETS, options)
    return TrainedMethod(
        "hvq_trans",
        lambda: build_hvq_trans(settings, options.backbone_weights, not options.checkpoint),
        settings,
        options,
    )
