"""Schedules return the documented rate of each iteration, and it reaches every parameter group."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from voiceface.training.lr_schedules import cosine_warmup, set_learning_rate, step_decay


def test_step_decay_changes_after_the_milestone_step():
    rate = step_decay(0.01, [2, 4], 0.1)
    assert [rate(t) for t in range(7)] == [0.01] * 3 + [0.01 * 0.1] * 2 + [0.01 * 0.1**2] * 2
    assert step_decay(0.5, [], 0.1)(10**6) == 0.5
    with pytest.raises(ValueError, match=r"\[4, 4\] do not ascend"):
        step_decay(0.1, [4, 4], 0.1)


def test_cosine_warmup_reaches_peak_and_final_rate():
    rate = cosine_warmup(1.0, 10, warmup_steps=3, final_lr=0.2)
    values = [rate(t) for t in range(11)]
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(a > b for a, b in pairwise(values[3:])) and values[10] == pytest.approx(0.2)
    assert cosine_warmup(1.0, 8)(4) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="warm-up of 5"):
        cosine_warmup(1.0, 5, warmup_steps=5)


def test_the_rate_is_set_in_every_parameter_group():
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    optimiser = torch.optim.SGD(
        [{"params": a.parameters()}, {"params": b.parameters(), "lr_scale": 0.1}], lr=1.0
    )
    set_learning_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.05]
