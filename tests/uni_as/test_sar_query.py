import torch

from uni_as.sar_query import SARQuery


def test_the_query_differs_between_samples():
    query = SARQuery((2, 8), 32)
    first, second = query(torch.randn(2, 16, 32))
    assert first.shape == (16, 32)
    assert not torch.allclose(first, second)


def test_the_query_is_the_same_for_all_samples_without_awareness():
    query = SARQuery((2, 8), 32, sample_aware=False)
    assert torch.equal(query(torch.randn(3, 16, 32)), query.query.expand(3, -1, -1))


def test_reweighting_only_dampens_by_one_factor_per_channel_and_one_per_place():
    query = SARQuery((2, 8), 32)
    weights = query(torch.randn(1, 16, 32))[0] / query.query
    assert (weights > 0).all()
    assert (weights < 1).all()
    logarithms = weights.log()  # a product of the two is a sum of logarithms: of rank one after centring
    centred = logarithms - logarithms.mean(0) - logarithms.mean(1, keepdim=True) + logarithms.mean()
    torch.testing.assert_close(centred, torch.zeros_like(centred), atol=1e-4, rtol=0)


def test_channel_and_spatial_weights_come_from_the_deepest_embedding():
    query, deepest = SARQuery((2, 8), 32), torch.randn(1, 16, 32, requires_grad=True)
    query(deepest).sum().backward()
    assert (deepest.grad.abs() > 0).any(2).all()  # every place has a mean over its channels
