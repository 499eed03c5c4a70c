"""Aggregation of latents."""

from typing import get_args

import pytest
import torch
from voicestyle.aggregation import aggregate_latents
from voicestyle.config import AggregationMethod

WAYS = get_args(AggregationMethod)


@pytest.fixture(params=[(5, 4), (5, 3, 4)])
def codes(request):
    return torch.randn(*request.param, generator=torch.Generator().manual_seed(2))


FITS = torch.tensor([0.1, 0.5, 0.2, 0.4, 0.3])


@pytest.mark.parametrize("by", WAYS)
def test_order_of_latents_does_not_matter(codes, by):
    order = torch.tensor([3, 0, 4, 2, 1])
    found, turned = aggregate_latents(codes, by, FITS), aggregate_latents(codes[order], by, FITS[order])
    assert found.shape == (1, *codes.shape[1:])
    torch.testing.assert_close(found, turned)


@pytest.mark.parametrize("by", WAYS)
def test_one_latent_is_returned(codes, by):
    torch.testing.assert_close(aggregate_latents(codes[:1], by, FITS[:1]), codes[:1])


@pytest.mark.parametrize("by", WAYS)
def test_equal_latents_are_returned(codes, by):
    torch.testing.assert_close(aggregate_latents(codes[:1].expand_as(codes), by, FITS), codes[:1])


def test_each_method_by_hand():
    codes = torch.tensor([[0.0, 0], [1, 0], [2, 9]])
    assert aggregate_latents(codes).tolist() == [[1, 3]]
    assert aggregate_latents(codes, "median").tolist() == [[1, 0]]
    assert aggregate_latents(codes, "medoid").tolist() == [[1, 0]]
    fits = torch.tensor([0.2, 0.1, 0.3])
    assert aggregate_latents(codes, "nearest", fits).tolist() == [[2, 9]]
    e = torch.tensor(1.0).exp()
    shares = torch.stack([e, torch.ones(()), e * e]) / (e + 1 + e * e)
    torch.testing.assert_close(aggregate_latents(codes, "similarity", fits)[0], shares @ codes)


def test_medoid_is_one_of_the_latents(codes):
    found = aggregate_latents(codes, "medoid")
    assert any(torch.equal(found[0], each) for each in codes)


def test_invalid_arguments_raise(codes):
    with pytest.raises(ValueError, match=r"mean, median, medoid, similarity, nearest, found 'sum'"):
        aggregate_latents(codes, "sum")
    with pytest.raises(ValueError, match=r"no latent to aggregate"):
        aggregate_latents(codes[:0])
    with pytest.raises(ValueError, match=r"similarity needs one weight per latent \(5\), found None"):
        aggregate_latents(codes, "similarity")
    with pytest.raises(ValueError, match=r"nearest needs one weight per latent \(5\), found \(3,\)"):
        aggregate_latents(codes, "nearest", FITS[:3])
