"""Section 3.1: the student decoder, the teacher mirrored."""

from collections.abc import Sequence

from torch import Tensor, nn

from baselines.rd4ad.blocks import Bottleneck


class StudentDecoder(nn.Module):
    """Stages of residual blocks from the embedding back to the teacher's levels; the first block doubles the grid.

    Args:
        in_channels: of the embedding.
        level_channels: of the teacher's levels, shallowest first.
        n_blocks: per stage, deepest first.
        block_width: inner channels of a block as a share of those that it gives.
        rectified: levels end in a ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        level_channels: Sequence[int],
        n_blocks: Sequence[int],
        block_width: float,
        rectified: bool,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for channels, count in zip(reversed(level_channels), n_blocks, strict=True):
            inner = round(channels * block_width)
            stages.append(
                nn.Sequential(
                    *(
                        Bottleneck(
                            channels if block else in_channels,
                            channels,
                            inner,
                            "keep" if block else "double",
                            rectified or block < count - 1,
                        )
                        for block in range(count)
                    )
                )
            )
            in_channels = channels
        self.stages = nn.ModuleList(stages)

    def forward(self, embedding: Tensor) -> list[Tensor]:
        """One (B, C_k, H_k, W_k) per level, shallowest first, from the embedding (B, C, H_K / 2, W_K / 2)."""
        levels: list[Tensor] = []
        for stage in self.stages:
            levels.insert(0, stage(levels[0] if levels else embedding))
        return levels
