"""Passes that leave nothing behind."""

import torch
from torch import nn
from voiceface.models.contexts import parameters_frozen, preserve_buffers


def test_held_parameters_get_no_gradient_but_their_input_does() -> None:
    network, fixed = nn.Linear(2, 3), nn.Linear(3, 1).requires_grad_(False)
    x = torch.rand(4, 2, requires_grad=True)
    with parameters_frozen(network, fixed):
        out = fixed(network(x)).sum()
    out.backward()
    assert x.grad is not None and all(p.grad is None for p in network.parameters())
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in fixed.parameters())


def test_buffers_come_back_in_place() -> None:
    norm = nn.BatchNorm1d(2)
    mean, before = norm.running_mean, [buffer.clone() for buffer in norm.buffers()]
    restore = preserve_buffers(norm)
    norm(torch.full((3, 2), torch.nan))
    assert norm.running_mean is not None and norm.running_mean.isnan().all()
    restore()
    assert norm.running_mean is mean
    assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), before))
