"""Vector quantisation with one codebook per category: figure 2 (b), and the switch of figure 2 (c)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-5  # code: keeps the count of a code that is never chosen above zero


class Codebooks(nn.Module):
    """The prototypes of every category at one level: moving averages of the vectors that chose them.

    Args:
        n_categories: codebooks.
        n_codes: prototypes of each.
        channels: of a prototype.
        decay: of the moving averages, per image.
        restart_below: codes whose moving count falls below this start again at vectors of the image; 0 never.

    Attributes:
        codes: (n_categories, n_codes, channels).
        counts: moving averages of how many vectors of an image choose a code, (n_categories, n_codes).
        sums: moving averages of the sum of these vectors, in the shape of ``codes``.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, n_categories: int, n_codes: int, channels: int, decay: float, restart_below: float) -> None:
        super().__init__()
        self.decay, self.restart_below = decay, restart_below
        self.register_buffer("codes", torch.randn(n_categories, n_codes, channels))
        self.register_buffer("counts", torch.zeros(n_categories, n_codes))
        self.register_buffer("sums", self.codes.clone())

    def forward(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Replace vectors by the nearest codes of their image's category; in training the codes follow them.

        Args:
            vectors: (B, N, C).
            labels: categories of the images, (B,).

        Returns:
            Codes (B, N, C), through which gradients pass as if they were the vectors, and the mean squared distance of
            the vectors from them, by which only the vectors learn.
        """
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            given = vectors.detach().float()
            if self.training and self.restart_below:
                self._restart(given, labels)
            codes = self.codes[labels]  # (B, K, C)
            distances = codes.square().sum(2)[:, None] - 2 * given @ codes.transpose(1, 2)  # (B, N, K), less |vector|^2
            chosen = distances.argmin(2)
            nearest = codes.gather(1, chosen[..., None].expand(-1, -1, codes.shape[2]))
            if self.training:
                self._follow(given, chosen, labels)
        commitment = functional.mse_loss(vectors, nearest.to(vectors.dtype))
        return vectors + (nearest - vectors).detach(), commitment

    def _follow(self, vectors: Tensor, chosen: Tensor, labels: Tensor) -> None:
        one_hot = functional.one_hot(chosen, self.codes.shape[1]).to(vectors.dtype)  # (B, N, K)
        counts, sums = one_hot.sum(1), one_hot.transpose(1, 2) @ vectors
        for label, count, total in zip(labels.tolist(), counts, sums, strict=True):
            self.counts[label].lerp_(count, 1 - self.decay)
            self.sums[label].lerp_(total, 1 - self.decay)
        for label in set(labels.tolist()):
            n_all = self.counts[label].sum()
            smooth = (self.counts[label] + _EPSILON) / (n_all + len(self.counts[label]) * _EPSILON) * n_all
            self.codes[label] = self.sums[label] / smooth[:, None]

    def _restart(self, vectors: Tensor, labels: Tensor) -> None:
        """Dhariwal et al. (2020), section 3.1: codes that hardly anything chooses start again at what is there."""
        for label in set(labels.tolist()):
            unused = self.counts[label] < self.restart_below
            there = vectors[labels == label].flatten(0, 1)
            drawn = there[torch.randint(len(there), (int(unused.sum()),), device=there.device)]
            self.codes[label, unused] = self.sums[label, unused] = drawn
            self.counts[label, unused] = 1.0
