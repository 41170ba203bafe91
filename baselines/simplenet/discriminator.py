"""Section 3.4: the discriminator, which scores how normal a feature is."""

from torch import nn


class Discriminator(nn.Sequential):
    """Two linear layers, batch normalisation and a leaky ReLU between them; (N, C) to (N, 1), higher is more normal."""

    def __init__(self, channels: int, hidden: int) -> None:
        first, last = nn.Linear(channels, hidden), nn.Linear(hidden, 1, bias=False)
        for layer in (first, last):
            nn.init.xavier_normal_(layer.weight)  # code
        super().__init__(first, nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2), last)
