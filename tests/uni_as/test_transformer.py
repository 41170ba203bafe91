import math

import torch

from aseg_bench.training.features import neighbour_mask
from uni_as.transformer import TransformerLayer, sine_position


def test_with_all_branches_silent_only_the_residuals_are_left():
    layer = TransformerLayer(8, 2, 16, 0.0)
    for branch in (layer.cross.out_proj, layer.own.out_proj, layer.ffn[-1]):
        torch.nn.init.zeros_(branch.weight)
        torch.nn.init.zeros_(branch.bias)
    query = torch.randn(2, 9, 8)
    torch.testing.assert_close(layer(query, torch.randn(2, 9, 8), torch.zeros(9, 8), None), query)


def test_cross_attention_sees_nothing_of_the_masked_neighbourhood():
    layer = TransformerLayer(8, 2, 16, 0.0)
    torch.nn.init.zeros_(layer.own.out_proj.weight)  # self-attention would pass on what other positions saw
    patches = torch.randn(1, 49, 8, requires_grad=True)
    output = layer(torch.randn(1, 49, 8), patches, sine_position((7, 7), 8), neighbour_mask((7, 7), 3))
    place = 3 * 7 + 3
    output[0, place].square().sum().backward()
    seen = patches.grad[0].abs().sum(1).reshape(7, 7) > 0
    expected = torch.ones(7, 7, dtype=torch.bool)
    expected[2:5, 2:5] = False
    assert torch.equal(seen, expected)


def test_queries_learn_of_the_patches_and_of_each_other():
    layer = TransformerLayer(8, 2, 16, 0.0)
    query, patches = (torch.randn(1, 4, 8, requires_grad=True) for _ in range(2))
    layer(query, patches, torch.zeros(4, 8), None)[0, 0].square().sum().backward()
    assert (query.grad[0].abs().sum(1) > 0).all()
    assert (patches.grad[0].abs().sum(1) > 0).all()


def test_sine_positions_code_the_row_in_one_half_and_the_column_in_the_other():
    grid, channels = (5, 7), 16
    position = sine_position(grid, channels).reshape(*grid, channels)
    assert (position[:, :1, :8] == position[:, :, :8]).all()
    assert (position[:1, :, 8:] == position[:, :, 8:]).all()
    assert len(torch.unique(position.reshape(-1, channels), dim=0)) == 35
    angle = 2 * math.pi * 3 / (5 + 1e-6)  # the third row, as DETR counts: from one, over the whole circle
    expected = [f(angle / 10000 ** (2 * k / 8)) for k in range(4) for f in (math.sin, math.cos)]
    torch.testing.assert_close(position[2, 0, :8], torch.tensor(expected))


def test_sines_over_cells_tell_neighbours_apart_where_those_over_the_image_hardly_do():
    def likeness(reach):
        position = sine_position((14, 14), 64, reach).reshape(14, 14, 64)
        return torch.cosine_similarity(position[:, 1:], position[:, :-1], dim=2).mean()

    assert likeness("cells") < 0.9 < 0.95 < likeness("image")
