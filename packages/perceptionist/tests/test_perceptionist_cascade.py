"""The cascade: which networks are trained or frozen, the flow of gradients, and noise."""

import pytest
import torch
from perceptionist.cascade import (
    Cascade,
    CascadeConfig,
    compute_discriminator_losses,
    compute_generator_losses,
    run_expert_and_student,
)
from perceptionist.losses import sum_terms
from perceptionist.network_config import (
    FaceNetworkConfig,
    GeneratorConfig,
    ImageTo3DConfig,
    StageConfig,
    VoiceNetworkConfig,
)
from torch import Tensor, nn
from voiceface.models.contexts import parameters_frozen

STUDENT = ImageTo3DConfig(
    image_size=24,
    stem=4,
    stages=(StageConfig(expansion=2, channels=4, blocks=1, stride=1),),
    num_features=8,
    inter_block=1,
    shape=4,
    expression=2,
    texture=0,
    dropout=0,
)
CONFIG = CascadeConfig(
    voice=VoiceNetworkConfig(n_mels=5, channels=(6,), embedding_dim=4),
    generator=GeneratorConfig(embedding_dim=4, channels=(6, 5, 4)),
    face=FaceNetworkConfig(channels=(4, 5, 6), embedding_dim=4),
    student=STUDENT,
    expert=STUDENT.model_copy(update={"stem": 6, "texture": 3}),
)
BASIS = torch.randn(18, 3 * 7)


def mesh(parameters: Tensor) -> Tensor:
    return (parameters[:, :18] @ BASIS).view(-1, 3, 7)


def small() -> Cascade:
    torch.manual_seed(1)
    return Cascade(CONFIG, 3)


def touched(module: nn.Module) -> set[bool]:
    return {p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters()}


def run(cascade: Cascade, batches: int = 3) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(2)
    voices = [torch.randn(4, 5, 20) for _ in range(batches)]
    labels = torch.tensor([0, 1, 2, 0])
    images = cascade.generate_images(voices, 0.05 * torch.randn(4, 4))
    first = compute_discriminator_losses(cascade, torch.randn(4, 3, 16, 16), images[0], labels)
    second = compute_generator_losses(
        cascade, images[0], run_expert_and_student(cascade, images, mesh), labels
    )
    return first, second


def test_each_side_has_gradients_in_its_own_networks_only() -> None:
    cascade = small().train()
    first, second = run(cascade)
    sum_terms(first).backward(retain_graph=True)
    assert [touched(part) for part in (cascade.f, cascade.d, cascade.c)] == [{True}] * 3
    assert touched(cascade.g) == touched(cascade.student) == {False}
    for part in (cascade.f, cascade.d, cascade.c):
        part.zero_grad()
    sum_terms(second).backward()
    assert True in touched(cascade.g) and True in touched(cascade.student)
    for part in (cascade.e, cascade.expert, cascade.f, cascade.d, cascade.c):
        assert touched(part) == {False}


def test_names_of_the_terms() -> None:
    first, second = run(small().train())
    assert list(first) == ["D_real", "D_fake", "C_real"]
    distillation = ["Distill_vertices", "Distill_pooled", "Distill_inter"]
    assert list(second) == ["G_D_fake", "G_C_fake", *distillation, "Triplet"]
    assert "Triplet" not in run(small().train(), batches=1)[1]


def test_the_expert_passes_a_gradient_on_to_the_generator() -> None:
    cascade = small().train()
    image = cascade.generate_images([torch.randn(4, 5, 20)])[0]
    visible = run_expert_and_student(cascade, [image], mesh)
    visible.expert_vertices.sum().backward()
    assert True in touched(cascade.g) and touched(cascade.student) == {False}


def test_voice_network_and_expert_stay_in_evaluation_mode() -> None:
    cascade = small().train()
    assert cascade.training and cascade.student.training and cascade.g.training
    assert not cascade.e.training and not cascade.expert.training
    before = {k: v.clone() for k, v in cascade.state_dict().items() if k.startswith(("e.", "expert."))}
    run(cascade)
    assert all(torch.equal(cascade.state_dict()[k], v) for k, v in before.items())


def test_student_processes_three_batches_separately() -> None:
    cascade = small().train()
    run(cascade)
    assert cascade.student.features[0][1].num_batches_tracked == 3


def test_noise_is_shared_and_embeddings_have_unit_length() -> None:
    cascade, voice, noise = small(), torch.randn(4, 5, 20), torch.randn(4, 4)
    embedding = cascade.embed(voice, noise)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
    plain = cascade.embed(voice)
    torch.testing.assert_close(plain.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(embedding, torch.nn.functional.normalize(plain + noise, dim=1))
    one, other = cascade.generate_images([voice, voice], noise)
    assert torch.equal(one, other)


def test_the_cascade_predicts_parameters_from_the_generated_image() -> None:
    cascade, voice = small().eval(), torch.randn(2, 5, 20)
    image = cascade.g(cascade.embed(voice))
    large = torch.nn.functional.interpolate(image, size=24, mode="bilinear", align_corners=True)
    torch.testing.assert_close(cascade(voice).parameters, cascade.student(large).parameters)


def test_frozen_parameters_are_trainable_again_afterwards() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    layer.bias.requires_grad_(False)
    with parameters_frozen(layer):
        loss = layer(x).square().sum()
    loss.backward()
    assert layer.weight.grad is None and x.grad.abs().max() > 0
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def test_incompatible_networks_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"networks\.voice\.embedding_dim is 4, networks\.generator\.embedding_dim is 9"
    ):
        Cascade(
            CONFIG.model_copy(update={"generator": GeneratorConfig(embedding_dim=9, channels=(6, 5, 4))}), 3
        )
    with pytest.raises(ValueError, match="16 pixels, the face network expects 8"):
        Cascade(CONFIG.model_copy(update={"face": FaceNetworkConfig(channels=(4, 5))}), 3)
