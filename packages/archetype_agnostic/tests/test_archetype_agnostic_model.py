"""Laws of the whole network."""

import pytest
import torch
from archetype_agnostic.equilibrium import Equilibrium
from archetype_agnostic.losses import aasm_losses, compute_similarities, mean_terms
from archetype_agnostic.model import Aasm
from archetype_agnostic.model_config import FaceConfig, ModelConfig, VoiceConfig
from torch import Tensor, nn
from voiceface.association.encoders import freeze
from voiceface.models.iresnet import BLOCKS
from voiceface.runtime.distributed import convert_to_global_layers

SMALL = ModelConfig(
    face=FaceConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 8, 10), image_size=32, hidden_dim=12),
    voice=VoiceConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 8, 10), hidden_dim=9, n_mels=16),
    embedding_dim=8,
)
HEADS = {"vNet.fc.0.weight", "vNet.fc.2.weight", "aNet.fc.0.weight", "aNet.fc.2.weight"}


def batch(size: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and waveforms of random identities; the second clips are shorter."""
    generator = torch.Generator().manual_seed(1)
    faces = torch.randint(0, 256, (2, size, 3, 32, 32), generator=generator).float()
    waveforms = 3000 * torch.randn(2, size, 8000, generator=generator)
    return faces[0], waveforms[0], faces[1], waveforms[1][:, :6400]


def moments(branch: nn.Module) -> dict[str, Tensor]:
    """Running statistics of all batch norms."""
    return {key: value.clone() for key, value in branch.state_dict().items() if "running_" in key}


def test_published_model_has_its_keys_and_sizes() -> None:
    model = Aasm(num_classes=924)
    state = model.state_dict()
    assert len(state) == 985 - 12 - 2 - 2  # no recognition layer, no voice output layer, no second counters
    assert not [key for key in state if "output_layer" in key or key.startswith("aNet.model.fc")]
    assert {key: tuple(state[key].shape) for key in HEADS} == {
        "vNet.fc.0.weight": (256, 512),
        "vNet.fc.2.weight": (128, 256),
        "aNet.fc.0.weight": (128, 128),
        "aNet.fc.2.weight": (128, 128),
    }
    assert tuple(state["eqm.weight"].shape) == (924,)
    assert tuple(state["vNet.model.body.47.shortcut_layer.0.weight"].shape) == (512, 256, 1, 1)
    face, voice = ([p.numel() for p in group["params"]] for group in model.parameter_groups())
    assert sum(face) == 57_889_984 + 163_840
    assert sum(voice) == 1_437_078 - 66_048 + 32_768
    assert model.config.num_classes == 924


@pytest.mark.parametrize("arch", BLOCKS)
def test_every_backbone_has_the_same_embedding_size(arch: str) -> None:
    face = FaceConfig(arch=arch, widths=(8, 8, 8, 8), image_size=32, hidden_dim=4)  # type: ignore[arg-type]
    model = Aasm(SMALL.model_copy(update={"face": face}), 3).eval()
    assert len(model.vNet.model.body) == sum(BLOCKS[arch])
    with torch.inference_mode():
        assert model.encode_faces(batch()[0]).shape == (3, 8)


def test_ir50_is_the_smaller_published_backbone() -> None:
    face = FaceConfig(arch="ir50", widths=(2, 3, 4, 5))
    state = Aasm(SMALL.model_copy(update={"face": face}), 924).state_dict()
    assert "vNet.model.body.23.res_layer.4.weight" in state
    assert "vNet.model.body.24.res_layer.4.weight" not in state
    assert [key for key in state if key.startswith("vNet") and key.endswith("shortcut_layer.0.weight")] == [
        f"vNet.model.body.{block}.shortcut_layer.0.weight" for block in (3, 7, 21)
    ]


def test_four_embeddings_are_those_of_each_input_alone() -> None:
    model = Aasm(SMALL, 5).eval()
    inputs = batch()
    out = model(*inputs)
    assert [tuple(part.shape) for part in out] == [(3, 8)] * 4
    for name, rows in zip(("face", "voice", "face_second", "voice_second"), inputs):
        encode = model.encode_faces if "face" in name else model.encode_voices
        assert torch.equal(encode(rows), getattr(out, name)), name
    assert torch.equal(model(*inputs).voice_second, out.voice_second)  # nothing is drawn at random


def test_rows_are_independent_in_evaluation() -> None:
    model = Aasm(SMALL, 5).eval()
    whole, alone = model(*batch()), model(*(rows[1:2] for rows in batch()))
    for all_rows, row in zip(whole, alone):
        assert torch.allclose(all_rows[1:2], row, rtol=1e-4, atol=1e-6)


def test_heads_are_two_layers_on_the_pooled_map() -> None:
    model = Aasm(SMALL, 5).eval()
    faces, voices, *_ = batch()
    features = model.vNet.model(model.normalize(faces))
    assert features.shape == (3, 10, 2, 2)
    first, second = model.vNet.fc[0].weight, model.vNet.fc[2].weight
    expected = (features.mean((2, 3)) @ first.T).relu() @ second.T
    assert torch.allclose(model.encode_faces(faces), expected, rtol=1e-4, atol=1e-6)
    pooled = model.aNet.model(voices)
    expected = (pooled @ model.aNet.fc[0].weight.T).relu() @ model.aNet.fc[2].weight.T
    assert torch.allclose(model.encode_voices(voices), expected, rtol=1e-4, atol=1e-6)
    assert not any(name.endswith("bias") for name, _ in model.vNet.fc.named_parameters())


def test_training_pass_updates_running_statistics_per_view() -> None:
    torch.manual_seed(0)
    model, twin = Aasm(SMALL, 3).train(), Aasm(SMALL, 3).train()
    twin.load_state_dict(model.state_dict())
    face, voice, face_second, voice_second = batch()
    model(face, voice, face_second, voice_second)
    counts = [value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counts and all(int(count) == 2 for count in counts)
    for rows in (face, face_second):
        twin.encode_faces(rows)
    for rows in (voice, voice_second):
        twin.encode_voices(rows)
    reference = moments(twin)
    assert all(torch.equal(value, reference[key]) for key, value in moments(model).items())
    stem = model.vNet.model.input_layer
    first, second = (stem[0](model.normalize(rows)).mean((0, 2, 3)) for rows in (face, face_second))
    expected = 0.9 * 0.1 * first + 0.1 * second  # momentum 0.1, from zero
    assert torch.allclose(moments(model.vNet)["model.input_layer.1.running_mean"], expected, atol=1e-5)


def test_step_lowers_the_loss_and_changes_every_parameter() -> None:
    torch.manual_seed(0)
    model = Aasm(SMALL, 3).train()
    optimiser = torch.optim.SGD(model.parameter_groups(), lr=0.05)
    inputs, totals = batch(), []
    for _ in range(5):
        terms = mean_terms(aasm_losses(compute_similarities(*model(*inputs))))
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        total.backward()
        assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("frozen", ["vNet", "aNet"])
def test_frozen_branch_keeps_parameters_and_running_statistics(frozen: str) -> None:
    model = Aasm(SMALL, 3)
    branch = getattr(model, frozen)
    freeze(branch)
    convert_to_global_layers(model)
    model.train()
    model.eval()  # as a validation does, which then goes back to training
    model.train()
    before = {key: value.clone() for key, value in branch.state_dict().items()}
    torch.stack([part.sum() for part in model(*batch())]).sum().backward()
    assert all(p.grad is None for p in branch.parameters())
    assert all(torch.equal(value, before[key]) for key, value in branch.state_dict().items())
    sizes = [len(group["params"]) for group in model.parameter_groups()]
    assert (sizes[0] == 0) == (frozen == "vNet") and (sizes[1] == 0) == (frozen == "aNet")
    other = model.aNet if frozen == "vNet" else model.vNet
    assert all(module.training for module in other.modules())


def test_normaliser_is_frozen_and_maps_bytes_to_one() -> None:
    model = Aasm(SMALL, 3)
    ends = model.normalize(torch.tensor([0.0, 255.0])[:, None, None, None].expand(2, 3, 4, 4))
    assert torch.allclose(ends[0], -torch.ones(3, 4, 4)) and torch.allclose(ends[1], torch.ones(3, 4, 4))
    learnt = {id(p) for group in model.parameter_groups() for p in group["params"]}
    assert not any(id(p) in learnt or p.requires_grad for p in model.normalize.parameters())
    assert learnt == {id(p) for p in model.parameters() if p.requires_grad}


def test_classes_must_be_known_and_agree() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Aasm(SMALL)
    with pytest.raises(ValueError, match="found 4 training identities"):
        Aasm(SMALL.model_copy(update={"num_classes": 5}), 4)
    with pytest.raises(ValueError, match="identity weights of 6 classes, expected 5"):
        Aasm(SMALL, 5, Equilibrium(6))
    assert Aasm(SMALL, 2, identity_names=["a", "b"]).eqm.identity_names == ("a", "b")
    assert Aasm(SMALL.model_copy(update={"num_classes": 5})).config.num_classes == 5


def test_model_of_evaluation_has_fixed_weights() -> None:
    model = Aasm(SMALL, 4)
    assert not any(model.eqm.update(step) for step in range(0, 30_000, 920))
    assert (model.eqm.weight == 1).all()
