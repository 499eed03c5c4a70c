"""The banks: what an update does, duplicates, momenta, saving, clustering."""

import pytest
import torch
from cmpc2.memory import MemoryBank
from torch.nn.functional import normalize


def memory(size: int = 12, momentum: float | tuple[float, float] = 0.5, seed: int = 0) -> MemoryBank:
    return MemoryBank(size, 6, momentum, generator=torch.Generator().manual_seed(seed))


def test_banks_start_with_different_unit_vectors() -> None:
    result = memory()
    for bank in result.banks.values():
        assert torch.allclose(bank.norm(dim=1), torch.ones(12))
    assert not torch.allclose(result.banks["voice"], result.banks["face"])
    assert torch.equal(result.banks["voice"], memory().banks["voice"])
    assert not torch.equal(result.banks["voice"], memory(seed=1).banks["voice"])


def test_update_moves_its_rows_halfway_and_no_others() -> None:
    result = memory()
    before = {side: bank.clone() for side, bank in result.banks.items()}
    index, voice, face = torch.tensor([3, 7]), 5 * torch.randn(2, 6), torch.randn(2, 6)
    result.update(index, voice, face)
    for side, vectors in (("voice", voice), ("face", face)):
        for place, row in enumerate(index.tolist()):
            wanted = 0.5 * before[side][row] + 0.5 * vectors[place] / vectors[place].norm()
            assert torch.allclose(result.banks[side][row], wanted / wanted.norm(), atol=1e-6)
        others = [row for row in range(12) if row not in (3, 7)]
        assert torch.equal(result.banks[side][others], before[side][others])


def test_last_embedding_of_a_repeated_row_counts() -> None:
    one, other = memory(), memory()
    voice, face = torch.randn(4, 6), torch.randn(4, 6)
    one.update(torch.tensor([2, 5, 2, 2]), voice, face)
    other.update(torch.tensor([5, 2]), voice[[1, 3]], face[[1, 3]])
    for side in one.banks:
        assert torch.equal(one.banks[side], other.banks[side])


def test_pair_of_momenta_is_for_faces_and_voices() -> None:
    result = memory(momentum=(0.0, 1.0))
    before = result.banks["voice"].clone()
    face = torch.randn(1, 6)
    result.update(torch.tensor([4]), torch.randn(1, 6), face)
    assert torch.allclose(result.banks["voice"], before)
    assert torch.allclose(result.banks["face"][4], normalize(face)[0], atol=1e-6)


def test_memory_state_round_trip() -> None:
    one, other = memory(), memory(seed=3)
    one.recluster([3, 4], seed=(1, 2))
    other.load_state_dict(one.state_dict())
    for side in one.banks:
        assert torch.equal(one.banks[side], other.banks[side])
        assert one.clusterings is not None and other.clusterings is not None
        for own, reference in zip(getattr(one.clusterings, side), getattr(other.clusterings, side)):
            for name, value in own.to_dict().items():
                assert torch.equal(value, reference.to_dict()[name])
    one.clear_clusterings()
    other.load_state_dict(one.state_dict())
    assert other.clusterings is None


def test_banks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(12, 6\).*expected \(13, 6\)"):
        memory(13).load_state_dict(memory().state_dict())


def test_empty_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one training video"):
        MemoryBank(0, 6)


def test_one_video_suffices() -> None:
    result = memory(1)
    assert len(result) == 1 and len(memory(12)) == 12
    voice, face = torch.randn(1, 6), torch.randn(1, 6)
    result.update(torch.tensor([0]), voice, face)
    assert result.recluster([1]).face[0].assignment.tolist() == [0]


def test_clusterings_follow_from_their_seed() -> None:
    one, other, third = memory(40), memory(40), memory(40)
    first, second = one.recluster([5, 8], seed=(0, 9)), other.recluster([5, 8], seed=(0, 9))
    for own, reference in zip(first.face, second.face):
        assert torch.equal(own.assignment, reference.assignment)
    fourth = third.recluster([5, 8], seed=(0, 10))
    assert not torch.equal(first.face[1].assignment, fourth.face[1].assignment)
    assert [len(each.centroids) for each in first.voice] == [5, 8]


def test_more_clusters_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reduce clustering\.num_clusters"):
        memory(4).recluster([5])
