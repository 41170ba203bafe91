"""Section 3.2: the denoising student, an encoder and a decoder that give the teacher's features of the clean image."""

from collections.abc import Sequence
from itertools import pairwise

import timm
from torch import Tensor, nn
from torch.nn import functional

from baselines.destseg.blocks import blocks


class StudentNet(nn.Module):
    """An untrained ResNet of basic blocks, and from its deepest grid back a pair of blocks per level of the teacher.

    Args:
        level_channels: of the teacher, shallowest first, at strides 4, 8 and 16.
        encoder_channels: of the ResNet's four stages, at strides 4 to 32.
        encoder_blocks: of the ResNet's four stages.
        rectified: levels end in a ReLU, as those of a ResNet teacher do.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        encoder_channels: Sequence[int],
        encoder_blocks: Sequence[int],
        rectified: bool,
    ) -> None:
        super().__init__()
        self.encoder = timm.create_model(
            "resnet18",
            features_only=True,
            out_indices=(4,),
            channels=tuple(encoder_channels),
            layers=tuple(encoder_blocks),
        )
        deepest = encoder_channels[-1]
        self.decoder_layer4 = blocks(deepest, deepest)
        self.decoder_layers = nn.ModuleList(
            blocks(deeper, own, rectified) for deeper, own in pairwise([deepest, *reversed(level_channels)])
        )

    def forward(self, images: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Features (B, C_k, H_k, W_k) of normalised images (B, 3, H, W), shallowest first.

        Args:
            images: as the teacher's network takes them.
            sizes: rows and columns of the teacher's levels, shallowest first.
        """
        (deepest,) = self.encoder(images)
        values: Tensor = self.decoder_layer4(deepest)
        levels: list[Tensor] = []
        for layer, size in zip(self.decoder_layers, reversed(sizes), strict=True):
            values = layer(functional.interpolate(values, tuple(size), mode="bilinear", align_corners=False))
            levels.insert(0, values)
        return levels
