"""Batches as a function of seed and step."""

import pytest
import torch
from voiceface.training.sampling import batches, batches_per_epoch, epoch_order


class IndexDataset:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def sample(self, index, rng):
        return {"index": index, "noise": rng.random()}


def sampled_batches(**options):
    options = {"seed": 3, "max_steps": 9, **options}
    return [(b["index"].tolist(), b["noise"].tolist()) for b in batches(IndexDataset(11), 4, **options)]


def test_batch_is_a_function_of_seed_and_step():
    expected = sampled_batches()
    assert len(expected) == 9
    assert sampled_batches(start_step=5) == expected[5:]
    assert sampled_batches(start_step=9) == sampled_batches(start_step=12) == []
    assert sampled_batches(num_workers=2) == expected
    assert sampled_batches(num_workers=1, start_step=4) == expected[4:]
    assert sampled_batches(seed=4) != expected
    for epoch in range(4):  # two full batches of four of eleven items
        seen = {*expected[2 * epoch][0], *expected[2 * epoch + 1][0]}
        assert len(seen) == 8
    assert expected[0] != expected[2]


def test_processes_share_a_batch_by_rows():
    expected = sampled_batches()
    halves = [sampled_batches(rank=rank, world_size=2) for rank in range(2)]
    assert [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*halves)] == expected


def test_the_last_batch_may_be_kept():
    sizes = [len(index) for index, _ in sampled_batches(drop_last=False)]
    assert sizes == [4, 4, 3] * 3
    assert (batches_per_epoch(924, 64), batches_per_epoch(11, 4, drop_last=False)) == (14, 3)
    one = batches(IndexDataset(1), 4, seed=3, max_steps=2, drop_last=False)
    assert [batch["index"].tolist() for batch in one] == [[0], [0]]


def test_sampling_leaves_global_random_states_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    sampled_batches(num_workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_that_cannot_be_filled_or_shared_are_refused():
    with pytest.raises(ValueError, match="3 training items do not fill one batch of 4"):
        batches(IndexDataset(3), 4, seed=1, max_steps=1)
    with pytest.raises(ValueError, match="multiple of 3"):
        batches(IndexDataset(8), 4, seed=1, max_steps=1, world_size=3)


def test_a_shuffle_buffer_keeps_neighbours_near_each_other():
    for items, buffer in ((1000, 50), (1001, 64), (7, 50), (20, 1)):
        orders = [epoch_order(items, 3, epoch, buffer) for epoch in range(3)]
        for order in orders:
            assert sorted(order.tolist()) == list(range(items))
        assert items == 7 or any((orders[0] != orders[1]).tolist())
    order = epoch_order(1000, 3, 0, 50)
    for first in range(0, 1000, 50):  # what is read while 50 items are taken comes from three blocks
        assert len({item // 50 for item in order[first : first + 50].tolist()}) <= 3
    assert epoch_order(1000, 3, 0).tolist() != order.tolist()
    neighbours = abs(order[1:] - order[:-1]) == 1
    assert neighbours.mean() < 0.1  # they are shuffled


def test_batches_of_a_shuffle_buffer_are_those_of_any_number_of_processes_and_of_a_resumed_run():
    options = {"shuffle_buffer": 3}
    expected = sampled_batches(**options)
    assert expected != sampled_batches()
    assert sampled_batches(start_step=5, num_workers=1, **options) == expected[5:]
    halves = [sampled_batches(rank=rank, world_size=2, **options) for rank in range(2)]
    assert [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*halves)] == expected
    seen = [
        index for indices, _ in sampled_batches(drop_last=False, max_steps=3, **options) for index in indices
    ]
    assert sorted(seen) == list(range(11))
