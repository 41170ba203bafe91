import pytest
import torch

from uni_as.patches import PatchEmbedding, PatchReconstruction, unpatchify


@pytest.mark.parametrize("patch_size", [1, 2, 4, 8])
def test_every_level_gives_the_same_number_of_patches_and_comes_back_in_its_own_shape(patch_size):
    values = torch.randn(2, 6, 4 * patch_size, 3 * patch_size)
    tokens = PatchEmbedding(6, 10, patch_size)(values)
    assert tokens.shape == (2, 12, 10)
    assert PatchReconstruction(10, 3, patch_size, (4, 3))(tokens).shape == (2, 3, *values.shape[2:])


def test_a_pixel_changes_only_the_token_of_its_patch():
    embed, values = PatchEmbedding(2, 5, 4), torch.randn(1, 2, 12, 12)
    changed = values.clone()
    changed[0, :, 9, 2] += 1  # patch row 2, column 0 of 3 x 3
    differs = (embed(values) != embed(changed)).any(2)[0]
    assert differs.nonzero().flatten().tolist() == [6]


def test_unpatchify_undoes_the_order_of_the_embedding():
    embed, values = PatchEmbedding(2, 5, 2), torch.randn(3, 2, 8, 6)
    torch.testing.assert_close(unpatchify(embed(values), (4, 3)), embed.project(values))


def test_a_token_reconstructs_only_its_own_patch():
    reconstruct, tokens = PatchReconstruction(5, 2, 4, (3, 3)), torch.randn(1, 9, 5)
    changed = tokens.clone()
    changed[0, 7, 0] += 1
    rows, columns = (reconstruct(tokens) != reconstruct(changed)).any(1)[0].nonzero(as_tuple=True)
    assert set(rows.tolist()) == set(range(8, 12))
    assert set(columns.tolist()) == set(range(4, 8))
