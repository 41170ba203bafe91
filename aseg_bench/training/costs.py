"""What a model costs beside time: its parameters, its bytes and its peak on the GPU, as Table "cost" shows them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from aseg_bench.methods import CUT_SHORT
from aseg_bench.records import Case, Finding


def restart_peak(device: torch.device) -> None:
    """Measure the peak memory of a CUDA device from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def costs_of(model: nn.Module, device: torch.device) -> dict[str, Any]:
    """The costs of a model by the keys that a method's ``about`` has for Table "cost".

    Returns:
        ``parameters`` (``trained`` and ``all``), ``model_bytes`` of all weights and buffers as a file keeps them, and
        of a CUDA device ``gpu_peak_bytes`` since ``restart_peak``, of this process alone.
    """
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    found: dict[str, Any] = {
        "parameters": {"trained": sum(n for n, is_trained in sizes if is_trained), "all": sum(n for n, _ in sizes)},
        "model_bytes": sum(
            values.numel() * values.element_size()
            for values in model.state_dict().values()
            if isinstance(values, torch.Tensor)  # names of categories are kept there as well
        ),
    }
    if device.type == "cuda":
        found["gpu_peak_bytes"] = torch.cuda.max_memory_allocated(device)
    return found


def cut_short(training: Mapping[str, float], method: str, dataset: str) -> list[Finding]:
    """A finding where ``--max-minutes`` has ended a training before its last step.

    Args:
        training: ``steps`` done ``of`` those planned.
        method: key of the method.
        dataset: key of the data set.
    """
    if training["steps"] >= training["of"]:
        return []
    text = (
        f"training cut short: {training['steps']:,} of {training['of']:,} steps; --max-minutes ended it, so its scores "
        "are those of a smaller budget than its settings have"
    )
    return [Finding(CUT_SHORT, text, Case(method, dataset, ""))]
