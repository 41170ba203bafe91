"""Section 3.2: the patches that cover all others best, chosen greedily (Algorithm 1)."""

import math
import time

import torch
from torch import Tensor

from aseg_bench.progress import progress_bar

_ACTIVE = 4096  # patches that are followed after every choice
_BLOCK = 16384


@torch.no_grad()
def greedy_coreset(
    patches: Tensor,
    size: int,
    seed: int,
    projection: int = 0,
    seconds: float = math.inf,
    quiet: bool = True,
) -> Tensor:
    """Indices of patches, each the one that lies farthest from all chosen before (k-centre, Algorithm 1).

    Distances only fall while patches are chosen. So after a look at all patches only those that lie farthest are
    followed: the next ones to choose are among them until all of these are nearer than the rest was. What took a pass
    over all patches per choice is then one matrix product per thousand choices.

    Args:
        patches: (N, D).
        size: how many to choose.
        seed: of the first patch and of the projection.
        projection: random dimensions in which distances are measured (Johnson and Lindenstrauss), where D is larger;
            0 measures in all.
        seconds: after which no more are chosen.
        quiet: no progress bar.

    Returns:
        (K,) in the order of choice; K is ``size`` unless the time is up.
    """
    n_patches, n_channels = patches.shape
    if size >= n_patches:
        return torch.arange(n_patches, device=patches.device)
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(n_patches, (1,), generator=generator))]
    if 0 < projection < n_channels:
        patches = patches @ torch.randn(n_channels, projection, generator=generator).to(patches.device)
    else:
        patches = patches.clone()
    patches -= patches.mean(0)  # distances of vectors far from zero would lose digits
    norms = patches.square().sum(1)
    distances = torch.full_like(norms, math.inf)  # squared, to the nearest chosen patch; -1 of a chosen one
    n_seen, stop = 0, time.monotonic() + seconds
    with progress_bar(quiet) as bar:
        task = bar.add_task("coreset", total=size, completed=1, note="")
        while len(chosen) < size and time.monotonic() < stop:
            new = patches[chosen[n_seen:]]
            for start in range(0, n_patches, _BLOCK):
                block = slice(start, start + _BLOCK)
                nearest = torch.addmm(norms[chosen[n_seen:]], patches[block], new.T, alpha=-2).amin(1) + norms[block]
                distances[block] = torch.minimum(distances[block], nearest.clamp_min(0))
            distances[chosen[n_seen:]] = -1
            n_seen = len(chosen)
            bar.update(task, completed=n_seen)
            far, places = distances.topk(min(_ACTIVE, n_patches))
            rest = float(far[-1]) if len(far) < n_patches else -1.0
            active, active_norms, numbers = patches[places], norms[places], places.tolist()
            while len(chosen) < size and time.monotonic() < stop:
                best = int(far.argmax())
                if float(far[best]) < rest:
                    break
                chosen.append(numbers[best])
                to_best = torch.addmv(active_norms, active, active[best], alpha=-2) + active_norms[best]
                far = torch.minimum(far, to_best.clamp_min(0))
                far[best] = -1
        bar.update(task, completed=len(chosen))
    return torch.tensor(chosen, device=patches.device)
