"""One training step: which parameters learn, order of passes, effect of a loss that is not finite."""

import copy

import pytest
import torch
from sf2f.config import OptimiserConfig
from sf2f.discriminator_config import BackboneConfig, DiscriminatorsConfig
from sf2f.discriminators import Discriminators
from sf2f.facenet_loss import FaceNetLoss
from sf2f.generator import EncoderDecoder, GeneratorOutput, freeze_except_fuser
from sf2f.losses import match_image_sizes, sum_terms
from sf2f.network_config import (
    EncoderConfig,
    FaceGanDecoderConfig,
    FaceGanV2DecoderConfig,
    FuserConfig,
    GeneratorConfig,
    LossConfig,
)
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
BACKBONE = BackboneConfig(arch="C4-6-2,C3-8-2")
ONE = DiscriminatorsConfig(image=(BACKBONE,), identity=(BACKBONE,), hidden_dim=9)
TWO = DiscriminatorsConfig(
    image=(BACKBONE,) * 2, identity=(BACKBONE,) * 2, condition=(BACKBONE,) * 2, hidden_dim=9
)
NUM_IDENTITIES = 4


def build_networks(two: bool = False, fuser: bool = False) -> tuple[EncoderDecoder, Discriminators]:
    torch.manual_seed(0)
    decoder = (
        FaceGanV2DecoderConfig(channels=(8, 6, 4), mid_channels=3)
        if two
        else FaceGanDecoderConfig(channels=(8, 6, 4))
    )
    config = GeneratorConfig(encoder=ENCODER, decoder=decoder, fuser=FuserConfig() if fuser else None)
    return EncoderDecoder(config).train(), Discriminators(
        TWO if two else ONE, NUM_IDENTITIES, embedding_dim=16
    )


def batch_for(generator: EncoderDecoder, windows: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(1)
    shape = (3, windows, 5, 9) if windows else (3, 5, 9)
    side = generator.image_sizes[-1]
    labels = torch.tensor([0, 3, 1])
    return Batch(torch.randn(*shape, generator=draw), torch.randn(3, 3, side, side, generator=draw), labels)


def clone_state(*modules: nn.Module) -> dict[str, Tensor]:
    return {f"{at}.{k}": v.clone() for at, m in enumerate(modules) for k, v in m.state_dict().items()}


def changed_keys(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key, value in after.items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("two", [False, True])
def test_all_parameters_learn_and_the_loss_is_the_sum_of_its_terms(two: bool) -> None:
    generator, discriminators = build_networks(two)
    before = clone_state(generator, discriminators)
    optimisers = build_optimisers(generator, discriminators)
    outcome = train_step(generator, discriminators, optimisers, batch_for(generator))
    assert not outcome.skipped and changed_keys(before, clone_state(generator, discriminators)) == set(before)
    torch.testing.assert_close(outcome.loss, sum(outcome.generator_losses.values()))
    sizes = 2 if two else 1
    assert sum(name.startswith("d_img_gan") for name in outcome.discriminator_losses) == sizes
    assert len(outcome.discriminator_losses) == (8 if two else 3)
    assert not any(
        term.requires_grad for term in (*outcome.generator_losses.values(), *outcome.generated.images)
    )


@pytest.mark.parametrize("two", [False, True])
def test_reference_implementation_gives_the_same_weights_and_statistics(two: bool) -> None:
    """Naive implementation: gradients accumulate in discriminators, one backward pass per loss."""
    generator, discriminators = build_networks(two)
    batch = batch_for(generator)
    slow, copies = copy.deepcopy(generator), copy.deepcopy(discriminators)
    train_step(
        generator,
        discriminators,
        build_optimisers(generator, discriminators, OptimiserConfig(lr=0.01)),
        batch,
    )

    entropy = nn.functional.binary_cross_entropy_with_logits
    optimiser = torch.optim.Adam(slow.parameters(), 0.01)
    singles = {each: torch.optim.Adam(each.parameters(), 0.01) for each in _all_networks(copies)}
    found = slow(batch.mel)
    real = match_image_sizes(batch.real_images, found.images)
    loss = torch.zeros(())
    for at, generated in enumerate(found.images):
        loss = loss + 10 * (generated - real[at]).abs().mean()
        logits = copies.image[at](generated)
        loss = loss + entropy(logits, torch.ones_like(logits))
        verdict = copies.identity[at](generated)
        loss = loss + 0.05 * nn.functional.cross_entropy(verdict.identity, batch.labels)
        loss = loss + 0.05 * entropy(verdict.real, torch.ones(3, 1))
        if two:
            logits = copies.condition[at](generated, found.embedding)
            loss = loss + entropy(logits, torch.ones_like(logits))
    loss.backward()
    optimiser.step()
    for at, image in enumerate(found.images):
        generated, embedding = image.detach(), found.embedding.detach()
        for kind in ("image", "condition"):
            if len(getattr(copies, kind)):
                discriminator, beside = getattr(copies, kind)[at], [embedding] * (kind == "condition")
                discriminator.zero_grad()
                false, true = discriminator(generated, *beside), discriminator(real[at], *beside)
                (entropy(true, torch.ones_like(true)) + entropy(false, torch.zeros_like(false))).backward()
                singles[discriminator].step()
        discriminator = copies.identity[at]
        discriminator.zero_grad()
        true, false = discriminator(real[at]), discriminator(generated)
        adversarial = entropy(true.real, torch.ones(3, 1)) + entropy(false.real, torch.zeros(3, 1))
        (adversarial + nn.functional.cross_entropy(true.identity, batch.labels)).backward()
        singles[discriminator].step()
    ours, expected = clone_state(generator, discriminators), clone_state(slow, copies)
    for key, value in expected.items():
        if "cnn" in key and key.endswith("0.bias"):
            continue  # before a norm: its gradient is rounding, which Adam turns into a full step
        # Where a gradient is rounding alone, Adam makes a step of either sign of it: few elements may differ.
        different = ~torch.isclose(ours[key].double(), value.double(), atol=2e-5, rtol=1e-4)
        assert different.double().mean() <= 1e-3, f"{key}: {int(different.sum())} of {different.numel()}"


def _all_networks(copies: Discriminators) -> list[nn.Module]:
    return [*copies.image, *copies.identity, *copies.condition]


def test_generator_losses_leave_discriminators_and_facenet_without_gradients() -> None:
    generator, discriminators = build_networks()
    perceptual = FaceNetLoss(
        InceptionResNet(features=8, num_classes=None, repeats=(1, 1, 1), width_divisor=16)
    )
    batch = batch_for(generator)
    generated = generator(batch.mel)
    real = match_image_sizes(batch.real_images, generated.images)
    terms = compute_generator_losses(generated, real, batch.labels, discriminators, perceptual)
    assert terms["img_perceptual_loss"] > 0
    sum_terms(terms).backward()
    assert not [p for p in (*discriminators.parameters(), *perceptual.parameters()) if p.grad is not None]
    assert all(p.requires_grad for p in discriminators.parameters())
    assert all(p.grad is not None for p in generator.parameters())
    unseen = compute_generator_losses(
        generated, real, batch.labels, discriminators, perceptual, LossConfig(perceptual=0)
    )
    assert "img_perceptual_loss" not in unseen


def test_discriminator_losses_do_not_reach_the_generator_and_keep_the_published_order() -> None:
    generator, discriminators = build_networks()
    batch = batch_for(generator)
    generated = generator(batch.mel)
    real = match_image_sizes(batch.real_images, generated.images)
    order: list[str] = []
    for kind, side in (
        ("image", compute_image_discriminator_losses),
        ("identity", compute_identity_discriminator_losses),
    ):
        discriminator = getattr(discriminators, kind)[0]
        discriminator.register_forward_pre_hook(
            lambda module, given, kind=kind: order.append(
                f"{kind} {'real' if torch.equal(given[0], real[0]) else 'generated'}"
            )
        )
        labels = [batch.labels] * (kind == "identity")
        sum_terms(side(discriminators, generated, real, *labels)).backward()  # type: ignore[operator]
    assert order == ["image generated", "image real", "identity real", "identity generated"]
    assert all(p.grad is None for p in generator.parameters())
    assert all(p.grad is not None for p in discriminators.parameters())


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    generator, discriminators = build_networks()
    optimisers = build_optimisers(generator, discriminators)
    before = clone_state(generator, discriminators)
    batch = batch_for(generator)
    spoilt = batch._replace(mel=batch.mel.index_fill(0, torch.tensor([1]), torch.nan))
    outcome = train_step(generator, discriminators, optimisers, spoilt)
    assert outcome.skipped and not outcome.discriminator_losses and outcome.loss.isnan()
    assert not changed_keys(before, clone_state(generator, discriminators))
    assert not any(optimiser.state for optimiser in optimisers.all)
    assert not train_step(generator, discriminators, optimisers, batch).skipped


def test_stage_two_trains_only_fuser_and_discriminators() -> None:
    generator, discriminators = build_networks(fuser=True)
    freeze_except_fuser(generator).train()
    optimisers = build_optimisers(generator, discriminators)
    before = clone_state(generator)
    batch = batch_for(generator, windows=4)._replace(
        mask=torch.tensor([[True] * 4, [True] * 4, [True, False] * 2])
    )
    outcome = train_step(generator, discriminators, optimisers, batch)
    changed = changed_keys(before, clone_state(generator))
    assert changed == {key for key in before if "attn_fuser" in key}
    assert not any(p.grad is not None for p in generator.encoder.model.parameters())
    hidden = batch.mel.clone()
    hidden[2, 1::2] = 9
    other, copies = build_networks(fuser=True)
    freeze_except_fuser(other).train()
    again = train_step(other, copies, build_optimisers(other, copies), batch._replace(mel=hidden))
    torch.testing.assert_close(again.loss, outcome.loss)


def test_a_custom_update_replaces_the_optimiser_step() -> None:
    generator, discriminators = build_networks()
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
    generator, _ = build_networks()
    none = Discriminators(DiscriminatorsConfig(image=(), identity=()))
    optimisers = build_optimisers(generator, none)
    assert optimisers == Optimisers(optimisers.generator)
    outcome = train_step(generator, none, optimisers, batch_for(generator))
    assert set(outcome.generator_losses) == {"L1_pixel_loss"} and not outcome.discriminator_losses


def test_wrong_numbers_of_discriminators_and_frozen_generators_are_rejected() -> None:
    generator, discriminators = build_networks()
    two, _ = build_networks(two=True)
    batch = batch_for(two)
    generated = two(batch.mel)
    with pytest.raises(ValueError, match="1 discriminators for images of 2 sizes"):
        compute_generator_losses(
            generated, match_image_sizes(batch.real_images, generated.images), batch.labels, discriminators
        )
    with pytest.raises(ValueError, match="1 discriminators"):
        compute_image_discriminator_losses(
            discriminators, GeneratorOutput(generated.images, generated.embedding), generated.images
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
