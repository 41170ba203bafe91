import pytest
import torch
from torch.nn import functional

from uni_as.mgg_cnn import MGGCNN
from uni_as.patches import unpatchify


def receptive_field(module, grid=11):
    """Side of the square of inputs on which the centre of the output depends."""
    values = torch.randn(1, 4, grid, grid, requires_grad=True)
    module(values)[0, :, grid // 2, grid // 2].sum().backward()
    touched = values.grad[0].abs().sum(0) > 0
    side = int(touched.any(0).sum())
    assert int(touched.sum()) == side**2
    return side


def test_the_branches_see_1_3_5_and_7_cells():
    assert [receptive_field(branch) for branch in MGGCNN(4, (3, 3)).branches] == [1, 3, 5, 7]


def test_the_lines_of_table_4_have_the_branches_that_they_name():
    assert [receptive_field(branch) for branch in MGGCNN(4, (3, 3), "mg").branches] == [1, 3, 5, 7]
    assert [receptive_field(branch) for branch in MGGCNN(4, (3, 3), "conv3").branches] == [3]
    tokens = torch.randn(2, 9, 4)
    assert torch.equal(MGGCNN(4, (3, 3), "none")(tokens), tokens)


def test_the_output_is_the_sum_of_the_gelu_gated_branches():
    cnn, tokens = MGGCNN(4, (2, 5)), torch.randn(2, 10, 4)
    grid = unpatchify(tokens, (2, 5))
    expected = sum(functional.gelu(branch[:-1](grid)) for branch in cnn.branches)
    torch.testing.assert_close(unpatchify(cnn(tokens), (2, 5)), expected)


@pytest.mark.parametrize(("kind", "is_affine"), [("mg", True), ("conv3", True), ("mgg", False)])
def test_only_the_gates_are_not_affine(kind, is_affine):
    cnn = MGGCNN(4, (3, 3), kind)
    first, second = torch.randn(2, 1, 9, 4)
    bend = cnn(first + second) - cnn(first) - cnn(second) + cnn(torch.zeros_like(first))
    assert bool(bend.abs().max() < 1e-5) is is_affine
