"""Section 3.3: the multi-level hybrid pipeline reconstructs normal features from coarse to fine."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aseg_bench.errors import InputError
from uni_as.corruption import Corruption
from uni_as.features import FilteredFeatures
from uni_as.maps import LevelMaps, combine, cosine_distance, joint_map, level_loss, weighted
from uni_as.mgg_cnn import MGGCNN
from uni_as.patches import PatchEmbedding, PatchReconstruction
from uni_as.sar_query import SARQuery
from uni_as.settings import Combination
from uni_as.transformer import TransformerLayer


class HybridBlock(nn.Module):
    """One level of the pipeline: a transformer layer for the whole image, an MGG-CNN for detail (eq. 4 and 5)."""

    def __init__(self, transformer: TransformerLayer, local: MGGCNN, reconstruct: PatchReconstruction) -> None:
        super().__init__()
        self.transformer, self.local, self.reconstruct = transformer, local, reconstruct

    def forward(self, query: Tensor, patches: Tensor, position: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next level's query q_i (B, N, C') and this level's reconstruction z_r (B, C_i, H_i, W_i)."""
        query = self.local(self.transformer(query, patches, position, mask))
        return query, self.reconstruct(query)


class UniASDecoder(nn.Module):
    """Reconstructs all levels, the deepest first, and compares them with the extracted features.

    Args:
        filtered: eq. 2.
        embeddings: eq. 3, one per level, shallowest first, as everywhere below.
        query: section 3.4.
        blocks: eq. 4 and 5 and the reconstruction, one per level.
        maps: distances to maps.
        levels: numbers of the levels in the map; 1 is the shallowest.
        combination: their ``product`` (eq. 6), one ``joint`` distance, or that ``weighted`` by the product.
        position: added to queries and keys, (N, C').
        mask: hides a position's neighbours from attention, (N, N) bool; None hides nothing.
        corruption: damage to the inputs in training.
    """

    position: Tensor
    mask: Tensor | None

    def __init__(
        self,
        filtered: FilteredFeatures,
        embeddings: Sequence[PatchEmbedding],
        query: SARQuery,
        blocks: Sequence[HybridBlock],
        maps: LevelMaps,
        levels: Sequence[int],
        combination: Combination,
        position: Tensor,
        mask: Tensor | None,
        corruption: Corruption,
    ) -> None:
        super().__init__()
        self.filter, self.query, self.maps = filtered, query, maps
        self.levels, self.combination = tuple(levels), combination
        self.embed, self.blocks = nn.ModuleList(embeddings), nn.ModuleList(blocks)
        self.level_embedding = nn.Parameter(torch.randn(len(blocks), position.shape[1]) * 0.02)
        self.register_buffer("position", position, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.corruption = corruption

    def forward(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Targets z_o and reconstructions z_r, both (B, C_i, H_i, W_i), shallowest level first.

        Args:
            features: scaled backbone features (B, C_i, H_i, W_i), shallowest first.
        """
        filtered = [self.filter(values) for values in features]
        inputs = self.corruption(features, self.filter) if self.training else [values for _, values in filtered]
        patches = [embed(values) for embed, values in zip(self.embed, inputs, strict=True)]  # -> (B, N, C')
        rows, columns = self.query.grid
        if (int(features[-1].shape[-2]), int(features[-1].shape[-1])) != (rows, columns):
            raise InputError(
                f"this model takes images of {rows} x {columns} deepest cells; "
                "resize them to the image_size it was built with"
            )
        query = self.query(patches[-1])
        reconstructed: list[Tensor] = []
        for level in reversed(range(len(patches))):
            position = self.position + self.level_embedding[level]
            query, values = self.blocks[level](query, patches[level], position, self.mask)
            reconstructed.insert(0, values)
        return [(target, values) for (target, _), values in zip(filtered, reconstructed, strict=True)]

    def pairs(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Targets and reconstructions of the levels, as ``forward`` gives them."""
        found: list[tuple[Tensor, Tensor]] = self(features)
        return found

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Cosine distance plus mean squared error per level."""
        return {
            f"level_{number}": level_loss(reconstructed, target)
            for number, (target, reconstructed) in enumerate(self(features), start=1)
        }

    def level_maps(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Anomaly maps of the single levels at image size, (B, K, height, width), shallowest first."""
        return self._level_maps(self(features), size)

    def _level_maps(self, pairs: Sequence[tuple[Tensor, Tensor]], size: Sequence[int]) -> Tensor:
        maps: Tensor = self.maps([cosine_distance(reconstructed, target) for target, reconstructed in pairs], size)
        return maps

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The levels as one map, (B, height, width)."""
        pairs = self(features)
        joint = joint_map([pairs[level - 1] for level in self.levels], size)
        if self.combination == "joint":
            return joint
        product = combine(self._level_maps(pairs, size), self.levels)
        return product if self.combination == "product" else weighted(joint, product, len(self.levels))
