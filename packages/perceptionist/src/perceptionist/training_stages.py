"""What one iteration of each kind of training does: networks, optimisers, batches, objective.

The unsupervised kind has two sides, the discriminator's and the generator's, which take their turns as
functions of their own (`perceptionist.cascade`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from voiceface.checkpoints.native import load_into
from voiceface.runtime.config import check, to_dict
from voiceface.runtime.devices import to_device
from voiceface.training.run import Run
from voiceface.training.sampling import batches
from voiceface.training.settings import OptimiserConfig

from perceptionist.cascade import (
    Cascade,
    CascadeConfig,
    discriminator_side,
    face_side,
    generator_side,
    see,
)
from perceptionist.config import PerceptionistConfig, SpeakerLossConfig, SupervisedLossConfig
from perceptionist.dataset.records import People
from perceptionist.expert_losses import ExpertLossConfig, expert_terms, parameter_error, wing
from perceptionist.face_models.linear import FLIP, LinearFaceModel, split_pose
from perceptionist.generator import enlarge
from perceptionist.image_to_3d import ImageTo3DConfig
from perceptionist.losses import total
from perceptionist.models import (
    ExpertWithRefiners,
    Speaker,
    Supervised,
    VoiceToMesh,
    load_expert_of,
    load_voice_network_of,
)
from perceptionist.sampling import Faces, PicturesWithTruth, Triplets, VoicesWithTruth, shared_crop

FACE_ORDER = 1_000_003  # added to the seed: pictures are drawn independently of recordings
TRAINING_ONLY = ("f.", "d.", "c.")
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Start:
    """Files that a run starts from, each a run or weights file of ours or a published one."""

    expert: Path | None = None
    voice_network: Path | None = None


@dataclass(frozen=True)
class Plan:
    """One kind of training, ready to run.

    Attributes:
        model: everything that is saved, under the published names.
        optimisers: by name.
        ready: puts every part into the mode that it trains in.
        step: one iteration; gives the named terms.
        hears: what is judged on-line; None where nothing hears.
        extra: JSON values for the weights file.
        left_out: beginnings of the keys that the final weights do without.
        share: of the learning rate, for an optimiser's name and an iteration.
    """

    model: nn.Module
    optimisers: dict[str, Optimizer]
    ready: Callable[[], object]
    step: Callable[[int], Terms]
    hears: VoiceToMesh | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    share: Callable[[str, int], float] = lambda name, number: 1.0


def make_plan(
    run: Run, config: PerceptionistConfig, people: People, face_model: LinearFaceModel, start: Start
) -> Plan:
    """The plan of the configured kind.

    Raises:
        ValueError, OSError: files or truth that this kind needs are not start, or do not fit.
    """
    makers = {
        "expert": expert_plan,
        "speaker": speaker_plan,
        "supervised": supervised_plan,
        "unsupervised": unsupervised_plan,
    }
    return makers[config.kind](run, config, people, face_model, start)


def expert_plan(
    run: Run, config: PerceptionistConfig, people: People, face_model: LinearFaceModel, start: Start
) -> Plan:
    """Picture to whitened parameters, with or without the refining networks (specification, section 11)."""
    sizes, plan, loss = config.networks.expert, config.training, config.losses.expert
    assert sizes is not None and loss is not None
    truth = people.truth.pictures if people.truth else None
    if truth is None:
        raise ValueError("an expert learns from pictures with true parameters: give a population as --data")
    model = run.prepare(ExpertWithRefiners(sizes, config.networks.refiners))
    assert isinstance(model, ExpertWithRefiners)
    optimiser = make_optimiser(config.optimiser, model)
    as_published = config.data.expert_input == "published"
    data = config.data
    pictures = PicturesWithTruth(
        people.faces,
        truth,
        data.expert_side,
        data.colour_jitter,
        blur=data.blur,
        published=as_published,
    )
    drawn = run.batches(pictures, plan.batch_size, steps=plan.max_iter, workers=plan.workers)

    def step(number: int) -> Terms:
        batch = next(drawn)
        with run.autocast():
            terms = expert_objective(
                model, enlarge(batch["face"], sizes.side), batch["truth"], face_model, loss
            )
        run.backward(total(terms), optimiser, clip_norm=config.optimiser.clip_gradient)
        return terms

    return Plan(model, {"optimiser": optimiser}, model.train, step)


def expert_objective(
    model: ExpertWithRefiners,
    pictures: Tensor,
    truth: Tensor,
    face_model: LinearFaceModel,
    config: ExpertLossConfig,
) -> Terms:
    """Weighted terms for pictures (B, 3, S, S) and their whitened parameters (B, K)."""
    found = model.expert(pictures)
    numbers = found.parameters[:, : truth.shape[1]].float()
    marks, true_marks = landmarks_of(face_model, numbers), landmarks_of(face_model, truth)
    if model.forward_direction is None or model.reverse_direction is None:
        return {
            "landmarks": config.landmarks * wing(marks, true_marks),
            "parameters": config.parameters * parameter_error(numbers, truth),
        }
    shape, expression = numbers[:, 12:].split([face_model.shape_count, face_model.expression_count], 1)
    residual = model.forward_direction(marks, found.pooled, shape, expression)
    reverse = model.reverse_direction(marks + config.residual * residual)
    return expert_terms(marks, true_marks, numbers, truth, residual, reverse, config)


def landmarks_of(face_model: LinearFaceModel, parameters: Tensor) -> Tensor:
    """Landmarks (B, 3, 68) of whitened parameters in pixels of a picture of 120, y down."""
    known = face_model.unwhiten(parameters)
    pose = split_pose(known.pose)
    placed = pose.matrix @ face_model.points(known.shape, known.expression) + pose.offset
    x, y, z = placed.unbind(1)
    return torch.stack([x, FLIP - y, z], 1)


def speaker_plan(
    run: Run, config: PerceptionistConfig, people: People, face_model: LinearFaceModel, start: Start
) -> Plan:
    """Voice to its speaker, among those of the training: the voice network of the cascade."""
    sizes, plan, loss = config.networks.voice, config.training, config.losses.speaker
    assert sizes is not None and loss is not None
    model = run.prepare(Speaker(sizes, len(people.names)))
    assert isinstance(model, Speaker)
    _take_voice_network(run, model.e, start, needed=False)
    optimiser = make_optimiser(config.optimiser, model)
    voices = Triplets(people.voices, config.data.frames.file, alone=True)
    data = run.batches(voices, plan.batch_size, steps=plan.max_iter, workers=plan.workers)

    def step(number: int) -> Terms:
        batch = next(data)
        frames = shared_crop(config.data.frames, run.seed, number)
        with run.autocast():
            terms = speaker_terms(model, batch["anchor"][:, :, frames], batch["label"], loss)
        run.backward(total(terms), optimiser, clip_norm=config.optimiser.clip_gradient)
        return terms

    return Plan(model, {"optimiser": optimiser}, model.train, step, left_out=("c.",))


def speaker_terms(model: Speaker, features: Tensor, labels: Tensor, config: SpeakerLossConfig) -> Terms:
    """Cross entropy of features (B, M, T) and the numbers of their speakers (B,)."""
    if config.scale is None:
        logits = model.c(model.e(features))
    else:
        directions = nn.functional.normalize(model.c.model.weight, dim=1)
        logits = config.scale * nn.functional.linear(model.e.encode(features), directions)
    smoothing = config.smoothing
    return {"speaker": nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)}


def supervised_plan(
    run: Run, config: PerceptionistConfig, people: People, face_model: LinearFaceModel, start: Start
) -> Plan:
    """Voice to scale, shape and expression: what the paper says, our reading (specification, section 6)."""
    networks, plan, loss = config.networks, config.training, config.losses.supervised
    assert networks.voice is not None and networks.head is not None and loss is not None
    if people.truth is None:
        raise ValueError(
            "the supervised kind learns from true faces: give a population as --data, or a folder of fitted "
            "coefficients as --truth"
        )
    trained = plan.voice_network == "trained"
    inner = Supervised(networks.voice, networks.head)
    _take_voice_network(run, inner.e, start, needed=not trained)
    inner.e.requires_grad_(trained)
    model = run.prepare(inner)
    assert isinstance(model, Supervised)
    optimiser = make_optimiser(config.optimiser, model if trained else model.head)
    known = people.truth
    numbers = face_model.cpu().supervised_numbers(
        *(torch.from_numpy(each) for each in (known.scale, known.shape, known.expression))
    )
    face_model.to(run.device)
    voices = VoicesWithTruth(people.voices, numbers.numpy(), config.data.frames.file)
    data = run.batches(voices, plan.batch_size, steps=plan.max_iter, workers=plan.workers)

    def ready() -> None:
        model.train()
        model.e.train(trained)

    def step(number: int) -> Terms:
        batch = next(data)
        frames = shared_crop(config.data.frames, run.seed, number)
        with run.autocast():
            found = model(batch["voice"][:, :, frames])
        terms = supervised_terms(found.float(), batch["truth"], face_model, loss)
        run.backward(total(terms), optimiser, clip_norm=config.optimiser.clip_gradient)
        return terms

    hears = VoiceToMesh("supervised", model.e, face_model, head=model.head)
    return Plan(model, {"optimiser": optimiser}, ready, step, hears)


def supervised_terms(
    found: Tensor, truth: Tensor, face_model: LinearFaceModel, config: SupervisedLossConfig
) -> Terms:
    """Weighted squared errors of whitened scale, shape and expression (B, 1 + S + E), or of vertices."""
    if config.space == "vertices":
        moved = nn.functional.mse_loss(face_model.supervised(found), face_model.supervised(truth))
        return {"vertices": config.shape * moved}
    square = (found - truth).square()
    parts = square.split([1, face_model.shape_count, face_model.expression_count], 1)
    weights = {"scale": config.scale, "shape": config.shape, "expression": config.expression}
    return {name: weight * part.mean() for (name, weight), part in zip(weights.items(), parts, strict=True)}


def unsupervised_plan(
    run: Run, config: PerceptionistConfig, people: People, face_model: LinearFaceModel, start: Start
) -> Plan:
    """Voice to picture to mesh, by a discriminator, a classifier and a frozen expert (sections 6 and 7)."""
    networks, plan, data = config.networks, config.training, config.data
    expert = load_expert_of(start.expert) if start.expert else None
    sizes = run.values.get("expert")
    if expert:
        seen = expert.config
    elif sizes:
        seen = check(sizes, ImageTo3DConfig, "the run's expert")
    else:
        raise ValueError("the unsupervised kind learns from an image-to-3D expert: give one as --expert")
    run.values["expert"] = to_dict(seen)
    chosen = {name: getattr(networks, name) for name in ("voice", "generator", "face", "student")}
    cascade = Cascade(CascadeConfig(**chosen, expert=seen), len(people.names))
    if expert:
        load_into(cascade.expert, expert.state_dict(), source=str(start.expert))
    if plan.student == "expert" and not run.step:
        if cascade.student.config != cascade.expert.config:
            raise ValueError(
                "training.student=expert copies the expert, whose sizes the student needs: "
                f"networks.student is {cascade.student.config}, the expert {cascade.expert.config}"
            )
        cascade.student.load_state_dict(cascade.expert.state_dict())
    _take_voice_network(run, cascade.e, start, needed=True)
    if plan.voice_network == "batch_statistics":
        for module in cascade.e.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 0.0  # the published file stays as it is: what drifts is never stored
    cascade = run.prepare(cascade)  # type: ignore[assignment]
    optimisers = {
        "discriminator_optimiser": make_optimiser(config.optimiser, cascade.f, cascade.d, cascade.c),
        "generator_optimiser": make_optimiser(config.optimiser, cascade.g, cascade.student),
    }
    theirs, ours = optimisers.values()
    alone, distillation = config.losses.triplet is None, config.losses.distillation
    assert distillation is not None
    faces = Faces(people.faces, cascade.f.config.side, data.flip)
    shown = faces if data.faces == "same" else None
    triplets = Triplets(people.voices, data.frames.file, data.triplets, alone=alone, faces=shown)
    many: dict[str, Any] = {"steps": plan.max_iter, "workers": plan.workers}
    voice_batches = run.batches(triplets, plan.batch_size, **many)
    drawn = batches(faces, plan.batch_size, seed=run.seed + FACE_ORDER, start_step=run.step, **many)
    mesh, losses = face_model.to(run.device).frontal, config.losses
    drifts = plan.voice_network == "batch_statistics" and plan.validate_every > 0

    def ready() -> None:
        cascade.train()
        cascade.e.train(drifts)

    def step(number: int) -> Terms:
        voices = next(voice_batches)
        real = voices if shown else to_device(next(drawn), run.device)
        clip = config.optimiser.clip_gradient
        if number < plan.faces_first:
            with run.autocast():
                terms = face_side(cascade, real["face"], real["label"])
            run.backward(total(terms), theirs, clip_norm=clip)
            return terms
        joined = number >= plan.student_after
        words = ("anchor", "positive", "negative") if joined and not alone else ("anchor",)
        frames = shared_crop(data.frames, run.seed, number)
        shape = len(voices["label"]), cascade.e.config.embedding
        noise = (plan.noise * torch.randn(shape, generator=run.generator)).to(run.device)
        with run.autocast():
            made = cascade.pictures([voices[word][:, :, frames] for word in words], noise)
            first = discriminator_side(cascade, real["face"], made[0], real["label"])
        run.backward(total(first), theirs, clip_norm=clip)
        with run.autocast():
            looked_at = made if distillation.into_generator else [each.detach() for each in made]
            found = see(cascade, looked_at, mesh) if joined else None
            second = generator_side(
                cascade,
                made[0],
                found,
                voices["label"],
                distillation,
                losses.triplet,
                losses.pictures,
                voices.get("face"),
            )
        run.backward(total(second), ours, clip_norm=clip)
        return first | second

    parts = {"generator": cascade.g, "student": cascade.student, "expert": cascade.expert}
    hears = VoiceToMesh("unsupervised", cascade.e, face_model, **parts)  # type: ignore[arg-type]

    def share(name: str, number: int) -> float:
        late = name == "discriminator_optimiser" and number >= plan.faces_first
        return plan.face_rate if late else 1.0

    extra = {"expert": to_dict(seen)}
    return Plan(cascade, optimisers, ready, step, hears, extra, TRAINING_ONLY, share)


def make_optimiser(config: OptimiserConfig, *modules: nn.Module) -> Optimizer:
    """The configured optimiser over the parameters of some modules."""
    weights = [weight for module in modules for weight in module.parameters()]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.method == "sgd":
        return torch.optim.SGD(weights, momentum=config.momentum, nesterov=config.nesterov, **common)
    if config.method == "adagrad":
        return torch.optim.Adagrad(weights, **common)
    kind = torch.optim.AdamW if config.method == "adamw" else torch.optim.Adam
    return kind(weights, betas=config.betas, **common)


def _take_voice_network(run: Run, network: nn.Module, start: Start, *, needed: bool) -> None:
    """Copy the given voice network; a resumed run has it in its state."""
    if start.voice_network:
        source = load_voice_network_of(start.voice_network)
        load_into(network, source.state_dict(), source=str(start.voice_network))
    elif needed and not run.step:
        raise ValueError(
            "the voice network is not trained here (training.voice_network): give one as --voice-network "
            "(voice_embedding.pth, or a run of ours)"
        )
