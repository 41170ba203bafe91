"""The accelerators that torch finds."""

import torch

_GIB = 2**30


def found_devices() -> str:
    """Each card of CUDA with its memory, or mps, or cpu."""
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return "; ".join(f"cuda, {card.name}, {card.total_memory / _GIB:.0f} GiB" for card in cards)
    return "mps" if torch.backends.mps.is_available() else "cpu; torch finds neither cuda nor mps"
