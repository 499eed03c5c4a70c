"""One iteration: who learns, who does not, in which order passes come, what a spoilt batch leaves."""

import copy

import pytest
import torch
from sf2f.config import OptimiserConfig
from sf2f.decoders import FaceGanDecoderConfig, FaceGanV2DecoderConfig
from sf2f.discriminator_layers import BackboneConfig
from sf2f.discriminators import Discriminators, DiscriminatorsConfig
from sf2f.encoders import EncoderConfig
from sf2f.facenet_loss import FaceNetLoss
from sf2f.fusers import FuserConfig
from sf2f.generator import EncoderDecoder, GeneratorConfig, GeneratorOutput, freeze_except_fuser
from sf2f.losses import LossConfig, match_image_sizes, sum_terms
from sf2f.training_step import (
    Batch,
    Objective,
    Optimisers,
    build_adam,
    build_optimisers,
    compute_generator_losses,
    compute_identity_discriminator_losses,
    compute_image_discriminator_losses,
    train_step,
)
from torch import Tensor, nn
from voiceface.models.facenet import InceptionResNet

ENCODER = EncoderConfig(n_mels=5, channels=(8, 12), embedding_dim=16)
TRUNK = BackboneConfig(arch="C4-6-2,C3-8-2")
ONE = DiscriminatorsConfig(image=(TRUNK,), identity=(TRUNK,), hidden_dim=9)
TWO = DiscriminatorsConfig(image=(TRUNK,) * 2, identity=(TRUNK,) * 2, condition=(TRUNK,) * 2, hidden_dim=9)
PEOPLE = 4


def networks(two: bool = False, fuser: bool = False) -> tuple[EncoderDecoder, Discriminators]:
    torch.manual_seed(0)
    decoder = (
        FaceGanV2DecoderConfig(channels=(8, 6, 4), mid_channels=3)
        if two
        else FaceGanDecoderConfig(channels=(8, 6, 4))
    )
    config = GeneratorConfig(encoder=ENCODER, decoder=decoder, fuser=FuserConfig() if fuser else None)
    return EncoderDecoder(config).train(), Discriminators(TWO if two else ONE, PEOPLE, embedding_dim=16)


def batch_for(generator: EncoderDecoder, windows: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(1)
    shape = (3, windows, 5, 9) if windows else (3, 5, 9)
    side = generator.image_sizes[-1]
    labels = torch.tensor([0, 3, 1])
    return Batch(torch.randn(*shape, generator=draw), torch.randn(3, 3, side, side, generator=draw), labels)


def state(*modules: nn.Module) -> dict[str, Tensor]:
    return {f"{at}.{k}": v.clone() for at, m in enumerate(modules) for k, v in m.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key, value in after.items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("two", [False, True])
def test_all_parameters_learn_and_the_loss_is_the_sum_of_its_terms(two: bool) -> None:
    generator, discriminators = networks(two)
    before = state(generator, discriminators)
    optimisers = build_optimisers(generator, discriminators)
    outcome = train_step(generator, discriminators, optimisers, batch_for(generator))
    assert not outcome.skipped and moved(before, state(generator, discriminators)) == set(before)
    torch.testing.assert_close(outcome.loss, sum(outcome.generator_losses.values()))
    sizes = 2 if two else 1
    assert sum(name.startswith("d_img_gan") for name in outcome.discriminator_losses) == sizes
    assert len(outcome.discriminator_losses) == (8 if two else 3)
    assert not any(
        term.requires_grad for term in (*outcome.generator_losses.values(), *outcome.generated.images)
    )


@pytest.mark.parametrize("two", [False, True])
def test_reference_implementation_gives_the_same_weights_and_statistics(two: bool) -> None:
    """Everything written out: gradients piling up in discriminators, one backward for each loss."""
    generator, discriminators = networks(two)
    batch = batch_for(generator)
    slow, judges = copy.deepcopy(generator), copy.deepcopy(discriminators)
    train_step(
        generator,
        discriminators,
        build_optimisers(generator, discriminators, OptimiserConfig(lr=0.01)),
        batch,
    )

    entropy = nn.functional.binary_cross_entropy_with_logits
    optimiser = torch.optim.Adam(slow.parameters(), 0.01)
    singles = {each: torch.optim.Adam(each.parameters(), 0.01) for each in _all(judges)}
    found = slow(batch.mel)
    real = match_image_sizes(batch.real_images, found.images)
    loss = torch.zeros(())
    for at, made in enumerate(found.images):
        loss = loss + 10 * (made - real[at]).abs().mean()
        logits = judges.image[at](made)
        loss = loss + entropy(logits, torch.ones_like(logits))
        verdict = judges.identity[at](made)
        loss = loss + 0.05 * nn.functional.cross_entropy(verdict.identity, batch.labels)
        loss = loss + 0.05 * entropy(verdict.real, torch.ones(3, 1))
        if two:
            logits = judges.condition[at](made, found.embedding)
            loss = loss + entropy(logits, torch.ones_like(logits))
    loss.backward()
    optimiser.step()
    for at, image in enumerate(found.images):
        made, embedding = image.detach(), found.embedding.detach()
        for kind in ("image", "condition"):
            if len(getattr(judges, kind)):
                judge, beside = getattr(judges, kind)[at], [embedding] * (kind == "condition")
                judge.zero_grad()
                false, true = judge(made, *beside), judge(real[at], *beside)
                (entropy(true, torch.ones_like(true)) + entropy(false, torch.zeros_like(false))).backward()
                singles[judge].step()
        judge = judges.identity[at]
        judge.zero_grad()
        true, false = judge(real[at]), judge(made)
        adversarial = entropy(true.real, torch.ones(3, 1)) + entropy(false.real, torch.zeros(3, 1))
        (adversarial + nn.functional.cross_entropy(true.identity, batch.labels)).backward()
        singles[judge].step()
    ours, theirs = state(generator, discriminators), state(slow, judges)
    for key, value in theirs.items():
        if "cnn" in key and key.endswith("0.bias"):
            continue  # before a norm: its gradient is rounding, which Adam makes a whole step of
        torch.testing.assert_close(ours[key], value, atol=2e-5, rtol=1e-4, msg=key)


def _all(judges: Discriminators) -> list[nn.Module]:
    return [*judges.image, *judges.identity, *judges.condition]


def test_generator_losses_leave_discriminators_and_facenet_without_gradients() -> None:
    generator, discriminators = networks()
    perceptual = FaceNetLoss(
        InceptionResNet(features=8, num_classes=None, repeats=(1, 1, 1), width_divisor=16)
    )
    batch = batch_for(generator)
    made = generator(batch.mel)
    real = match_image_sizes(batch.real_images, made.images)
    terms = compute_generator_losses(made, real, batch.labels, discriminators, perceptual)
    assert terms["img_perceptual_loss"] > 0
    sum_terms(terms).backward()
    assert not [p for p in (*discriminators.parameters(), *perceptual.parameters()) if p.grad is not None]
    assert all(p.requires_grad for p in discriminators.parameters())
    assert all(p.grad is not None for p in generator.parameters())
    unseen = compute_generator_losses(
        made, real, batch.labels, discriminators, perceptual, LossConfig(perceptual=0)
    )
    assert "img_perceptual_loss" not in unseen


def test_discriminator_losses_do_not_reach_the_generator_and_keep_the_published_order() -> None:
    generator, discriminators = networks()
    batch = batch_for(generator)
    made = generator(batch.mel)
    real = match_image_sizes(batch.real_images, made.images)
    order: list[str] = []
    for kind, side in (
        ("image", compute_image_discriminator_losses),
        ("identity", compute_identity_discriminator_losses),
    ):
        judge = getattr(discriminators, kind)[0]
        judge.register_forward_pre_hook(
            lambda module, given, kind=kind: order.append(
                f"{kind} {'real' if torch.equal(given[0], real[0]) else 'made'}"
            )
        )
        labels = [batch.labels] * (kind == "identity")
        sum_terms(side(discriminators, made, real, *labels)).backward()  # type: ignore[operator]
    assert order == ["image made", "image real", "identity real", "identity made"]
    assert all(p.grad is None for p in generator.parameters())
    assert all(p.grad is not None for p in discriminators.parameters())


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    generator, discriminators = networks()
    optimisers = build_optimisers(generator, discriminators)
    before = state(generator, discriminators)
    batch = batch_for(generator)
    spoilt = batch._replace(mel=batch.mel.index_fill(0, torch.tensor([1]), torch.nan))
    outcome = train_step(generator, discriminators, optimisers, spoilt)
    assert outcome.skipped and not outcome.discriminator_losses and outcome.loss.isnan()
    assert not moved(before, state(generator, discriminators))
    assert not any(optimiser.state for optimiser in optimisers.all)
    assert not train_step(generator, discriminators, optimisers, batch).skipped


def test_stage_two_trains_only_fuser_and_discriminators() -> None:
    generator, discriminators = networks(fuser=True)
    freeze_except_fuser(generator).train()
    optimisers = build_optimisers(generator, discriminators)
    before = state(generator)
    batch = batch_for(generator, windows=4)._replace(
        mask=torch.tensor([[True] * 4, [True] * 4, [True, False] * 2])
    )
    outcome = train_step(generator, discriminators, optimisers, batch)
    changed = moved(before, state(generator))
    assert changed == {key for key in before if "attn_fuser" in key}
    assert not any(p.grad is not None for p in generator.encoder.model.parameters())
    hidden = batch.mel.clone()
    hidden[2, 1::2] = 9
    other, judges = networks(fuser=True)
    freeze_except_fuser(other).train()
    again = train_step(other, judges, build_optimisers(other, judges), batch._replace(mel=hidden))
    torch.testing.assert_close(again.loss, outcome.loss)


def test_a_custom_update_replaces_the_optimiser_step() -> None:
    generator, discriminators = networks()
    calls: list[int] = []

    def learn(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
        assert loss.requires_grad
        calls.append(len(optimisers))

    before = {name: value.clone() for name, value in generator.named_parameters()}
    objective = Objective(update=learn)
    train_step(
        generator,
        discriminators,
        build_optimisers(generator, discriminators),
        batch_for(generator),
        objective,
    )
    assert calls == [1, 1, 1]
    assert all(torch.equal(value, before[name]) for name, value in generator.named_parameters())


def test_disabled_discriminators_are_not_needed() -> None:
    generator, _ = networks()
    none = Discriminators(DiscriminatorsConfig(image=(), identity=()))
    optimisers = build_optimisers(generator, none)
    assert optimisers == Optimisers(optimisers.generator)
    outcome = train_step(generator, none, optimisers, batch_for(generator))
    assert set(outcome.generator_losses) == {"L1_pixel_loss"} and not outcome.discriminator_losses


def test_wrong_numbers_of_discriminators_and_frozen_generators_are_rejected() -> None:
    generator, discriminators = networks()
    two, _ = networks(two=True)
    batch = batch_for(two)
    made = two(batch.mel)
    with pytest.raises(ValueError, match="1 discriminators for images of 2 sizes"):
        compute_generator_losses(
            made, match_image_sizes(batch.real_images, made.images), batch.labels, discriminators
        )
    with pytest.raises(ValueError, match="1 discriminators"):
        compute_image_discriminator_losses(
            discriminators, GeneratorOutput(made.images, made.embedding), made.images
        )
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimisers(generator.requires_grad_(False), discriminators)


def test_fused_adam_matches_the_published_optimiser() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    twin = nn.Parameter(weight.detach().clone())
    fused, stock = build_adam([weight], 0.1, 0.5), torch.optim.Adam([twin], 0.1, (0.5, 0.999), 1e-8)
    for slope in ([1.0, 2.0], [-3.0, 0.5]):
        for parameter, optimiser in ((weight, fused), (twin, stock)):
            parameter.grad = torch.tensor(slope)
            optimiser.step()
    torch.testing.assert_close(weight, twin)
