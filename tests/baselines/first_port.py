"""Names and shapes of an EfficientNet's first PyTorch port, which UniAD and HVQ-Trans carry, from its definition."""

import math

import torch

_STAGES = (  # repeats, kernel, expansion, channels in and out, before width and depth are scaled
    (1, 3, 1, 32, 16),
    (2, 3, 6, 16, 24),
    (2, 5, 6, 24, 40),
    (3, 3, 6, 40, 80),
    (3, 5, 6, 80, 112),
    (4, 5, 6, 112, 192),
    (1, 3, 6, 192, 320),
)


def first_port(width, depth, device="cpu"):
    """State dict of random values: width and depth are 1 and 1 of B0, 1.4 and 1.8 of B4."""
    shapes = {}

    def scaled(channels):
        rounded = max(8, int(channels * width + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels * width else rounded

    def norm(name, channels):
        shapes.update({f"{name}.{entry}": (channels,) for entry in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes["_conv_stem.weight"] = (scaled(32), 3, 3, 3)
    norm("_bn0", scaled(32))
    number = 0
    for repeats, kernel, expansion, first, own in _STAGES:
        for repeat in range(math.ceil(depth * repeats)):
            block, into, out = f"_blocks.{number}.", scaled(own if repeat else first), scaled(own)
            inner = into * expansion
            if expansion > 1:
                shapes[f"{block}_expand_conv.weight"] = (inner, into, 1, 1)
                norm(f"{block}_bn0", inner)
            shapes[f"{block}_depthwise_conv.weight"] = (inner, 1, kernel, kernel)
            norm(f"{block}_bn1", inner)
            squeezed = max(1, into // 4)
            shapes[f"{block}_se_reduce.weight"], shapes[f"{block}_se_reduce.bias"] = (
                (squeezed, inner, 1, 1),
                (squeezed,),
            )
            shapes[f"{block}_se_expand.weight"], shapes[f"{block}_se_expand.bias"] = (inner, squeezed, 1, 1), (inner,)
            shapes[f"{block}_project_conv.weight"] = (out, inner, 1, 1)
            norm(f"{block}_bn2", out)
            number += 1
    shapes["_conv_head.weight"] = (scaled(1280), scaled(320), 1, 1)
    norm("_bn1", scaled(1280))
    shapes["_fc.weight"], shapes["_fc.bias"] = (1000, scaled(1280)), (1000,)
    return {name: torch.rand(shape, device=device) for name, shape in shapes.items()}
