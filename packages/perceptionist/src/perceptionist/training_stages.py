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
from voiceface.runtime.config import to_dict, validate_config
from voiceface.runtime.devices import to_device
from voiceface.training.run import Run
from voiceface.training.sampling import batches
from voiceface.training.settings import OptimiserConfig

from perceptionist.cascade import (
    Cascade,
    CascadeConfig,
    compute_classifier_losses,
    compute_discriminator_losses,
    compute_generator_losses,
    run_expert_and_student,
)
from perceptionist.config import PerceptionistConfig, SpeakerLossConfig, SupervisedLossConfig
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.expert_losses import ExpertLossConfig, expert_terms, parameter_error, wing_loss
from perceptionist.face_models.linear import Y_FLIP, LinearFaceModel, split_pose
from perceptionist.generator import resize_bilinear
from perceptionist.image_to_3d import ImageTo3DConfig
from perceptionist.losses import sum_terms
from perceptionist.models import (
    ExpertWithRefiners,
    SpeakerClassifier,
    SupervisedModel,
    VoiceToMesh,
    load_expert,
    load_voice_network,
)
from perceptionist.sampling import (
    FaceDataset,
    ImageRegressionDataset,
    TripletDataset,
    VoiceRegressionDataset,
    sample_batch_crop,
)

FACE_SEED_OFFSET = 1_000_003  # added to the seed: pictures are drawn independently of recordings
TRAINING_ONLY_PREFIXES = ("f.", "d.", "c.")
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from, each a run or weights file of ours or a published one."""

    expert: Path | None = None
    voice_network: Path | None = None


@dataclass(frozen=True)
class TrainingStage:
    """One kind of training, ready to run.

    Attributes:
        model: everything that is saved, under the published names.
        optimisers: by name.
        set_train_mode: puts every part into the mode that it trains in.
        train_step: one iteration; gives the named terms.
        voice_to_mesh: what is judged on-line; None where nothing hears.
        extra: JSON values for the weights file.
        excluded_prefixes: beginnings of the keys that the final weights do without.
        lr_factor: of the learning rate, for an optimiser's name and an iteration.
    """

    model: nn.Module
    optimisers: dict[str, Optimizer]
    set_train_mode: Callable[[], object]
    train_step: Callable[[int], Terms]
    voice_to_mesh: VoiceToMesh | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    excluded_prefixes: tuple[str, ...] = ()
    lr_factor: Callable[[str, int], float] = lambda name, number: 1.0


def build_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """The plan of the configured kind.

    Raises:
        ValueError, OSError: files or truth that this kind needs are not start, or do not fit.
    """
    makers = {
        "expert": build_expert_stage,
        "speaker": build_speaker_stage,
        "supervised": build_supervised_stage,
        "unsupervised": build_unsupervised_stage,
    }
    return makers[config.kind](run, config, dataset, face_model, initial_weights)


def build_expert_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Picture to whitened parameters, with or without the refining networks (specification, section 11)."""
    sizes, plan, loss = config.networks.expert, config.training, config.losses.expert
    assert sizes is not None and loss is not None
    truth = dataset.ground_truth.image_parameters if dataset.ground_truth else None
    if truth is None:
        raise ValueError("an expert learns from pictures with true parameters: give a population as --data")
    model = run.prepare(ExpertWithRefiners(sizes, config.networks.refiners))
    assert isinstance(model, ExpertWithRefiners)
    optimiser = build_optimiser(config.optimiser, model)
    as_published = config.data.expert_input == "published"
    data = config.data
    pictures = ImageRegressionDataset(
        dataset.images,
        truth,
        data.expert_image_size,
        data.colour_jitter,
        max_blur_sigma=data.max_blur_sigma,
        published_preprocessing=as_published,
    )
    drawn = run.batches(pictures, plan.batch_size, max_steps=plan.max_steps, num_workers=plan.num_workers)

    def step(number: int) -> Terms:
        batch = next(drawn)
        with run.autocast():
            terms = compute_expert_losses(
                model, resize_bilinear(batch["face"], sizes.image_size), batch["truth"], face_model, loss
            )
        run.backward_and_step(sum_terms(terms), optimiser, clip_norm=config.optimiser.clip_gradient)
        return terms

    return TrainingStage(model, {"optimiser": optimiser}, model.train, step)


def compute_expert_losses(
    model: ExpertWithRefiners,
    images: Tensor,
    targets: Tensor,
    face_model: LinearFaceModel,
    config: ExpertLossConfig,
) -> Terms:
    """Weighted terms for pictures (B, 3, S, S) and their whitened parameters (B, K)."""
    found = model.expert(images)
    numbers = found.parameters[:, : targets.shape[1]].float()
    marks, true_marks = project_landmarks(face_model, numbers), project_landmarks(face_model, targets)
    if model.forward_direction is None or model.reverse_direction is None:
        return {
            "landmarks": config.landmarks * wing_loss(marks, true_marks),
            "parameters": config.parameters * parameter_error(numbers, targets),
        }
    shape, expression = numbers[:, 12:].split([face_model.num_shape, face_model.num_expression], 1)
    residual = model.forward_direction(marks, found.pooled, shape, expression)
    reverse = model.reverse_direction(marks + config.residual_scale * residual)
    return expert_terms(marks, true_marks, numbers, targets, residual, reverse, config)


def project_landmarks(face_model: LinearFaceModel, parameters: Tensor) -> Tensor:
    """Landmarks (B, 3, 68) of whitened parameters in pixels of a picture of 120, y down."""
    known = face_model.unwhiten(parameters)
    pose = split_pose(known.pose)
    placed = pose.scaled_rotation @ face_model.vertices_at(known.shape, known.expression) + pose.translation
    x, y, z = placed.unbind(1)
    return torch.stack([x, Y_FLIP - y, z], 1)


def build_speaker_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Voice to its speaker, among those of the training: the voice network of the cascade."""
    sizes, plan, loss = config.networks.voice, config.training, config.losses.speaker
    assert sizes is not None and loss is not None
    model = run.prepare(SpeakerClassifier(sizes, len(dataset.identities)))
    assert isinstance(model, SpeakerClassifier)
    _initialise_voice_network(run, model.e, initial_weights, required=False)
    optimiser = build_optimiser(config.optimiser, model)
    voices = TripletDataset(dataset.utterances, config.data.frames.clip, anchors_only=True)
    data = run.batches(voices, plan.batch_size, max_steps=plan.max_steps, num_workers=plan.num_workers)

    def step(number: int) -> Terms:
        batch = next(data)
        frames = sample_batch_crop(config.data.frames, run.seed, number)
        with run.autocast():
            terms = speaker_terms(model, batch["anchor"][:, :, frames], batch["label"], loss)
        run.backward_and_step(sum_terms(terms), optimiser, clip_norm=config.optimiser.clip_gradient)
        return terms

    return TrainingStage(model, {"optimiser": optimiser}, model.train, step, excluded_prefixes=("c.",))


def speaker_terms(
    model: SpeakerClassifier, features: Tensor, labels: Tensor, config: SpeakerLossConfig
) -> Terms:
    """Cross entropy of features (B, M, T) and the numbers of their speakers (B,)."""
    if config.logit_scale is None:
        logits = model.c(model.e(features))
    else:
        directions = nn.functional.normalize(model.c.model.weight, dim=1)
        logits = config.logit_scale * nn.functional.linear(model.e.encode(features), directions)
    smoothing = config.label_smoothing
    return {"speaker": nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)}


def build_supervised_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Voice to scale, shape and expression: what the paper says, our reading (specification, section 6)."""
    networks, plan, loss = config.networks, config.training, config.losses.supervised
    assert networks.voice is not None and networks.head is not None and loss is not None
    if dataset.ground_truth is None:
        raise ValueError(
            "the supervised kind learns from true faces: give a population as --data, or a folder of fitted "
            "coefficients as --truth"
        )
    trained = plan.voice_network == "trained"
    inner = SupervisedModel(networks.voice, networks.head)
    _initialise_voice_network(run, inner.e, initial_weights, required=not trained)
    inner.e.requires_grad_(trained)
    model = run.prepare(inner)
    assert isinstance(model, SupervisedModel)
    optimiser = build_optimiser(config.optimiser, model if trained else model.head)
    known = dataset.ground_truth
    numbers = face_model.cpu().supervised_targets(
        *(torch.from_numpy(each) for each in (known.scale, known.shape, known.expression))
    )
    face_model.to(run.device)
    voices = VoiceRegressionDataset(dataset.utterances, numbers.numpy(), config.data.frames.clip)
    data = run.batches(voices, plan.batch_size, max_steps=plan.max_steps, num_workers=plan.num_workers)

    def ready() -> None:
        model.train()
        model.e.train(trained)

    def step(number: int) -> Terms:
        batch = next(data)
        frames = sample_batch_crop(config.data.frames, run.seed, number)
        with run.autocast():
            found = model(batch["voice"][:, :, frames])
        terms = supervised_terms(found.float(), batch["truth"], face_model, loss)
        run.backward_and_step(sum_terms(terms), optimiser, clip_norm=config.optimiser.clip_gradient)
        return terms

    hears = VoiceToMesh("supervised", model.e, face_model, head=model.head)
    return TrainingStage(model, {"optimiser": optimiser}, ready, step, hears)


def supervised_terms(
    predicted: Tensor, targets: Tensor, face_model: LinearFaceModel, config: SupervisedLossConfig
) -> Terms:
    """Weighted squared errors of whitened scale, shape and expression (B, 1 + S + E), or of vertices."""
    if config.target_space == "vertices":
        moved = nn.functional.mse_loss(
            face_model.vertices_from_supervised(predicted), face_model.vertices_from_supervised(targets)
        )
        return {"vertices": config.shape * moved}
    square = (predicted - targets).square()
    parts = square.split([1, face_model.num_shape, face_model.num_expression], 1)
    weights = {"scale": config.scale, "shape": config.shape, "expression": config.expression}
    return {name: weight * part.mean() for (name, weight), part in zip(weights.items(), parts, strict=True)}


def build_unsupervised_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Voice to picture to mesh, by a discriminator, a classifier and a frozen expert (sections 6 and 7)."""
    networks, plan, data = config.networks, config.training, config.data
    expert = load_expert(initial_weights.expert) if initial_weights.expert else None
    sizes = run.values.get("expert")
    if expert:
        seen = expert.config
    elif sizes:
        seen = validate_config(sizes, ImageTo3DConfig, "the run's expert")
    else:
        raise ValueError("the unsupervised kind learns from an image-to-3D expert: give one as --expert")
    run.values["expert"] = to_dict(seen)
    chosen = {name: getattr(networks, name) for name in ("voice", "generator", "face", "student")}
    cascade = Cascade(CascadeConfig(**chosen, expert=seen), len(dataset.identities))
    if expert:
        load_into(cascade.expert, expert.state_dict(), source=str(initial_weights.expert))
    if plan.student_init == "expert" and not run.step:
        if cascade.student.config != cascade.expert.config:
            raise ValueError(
                "training.student_init=expert copies the expert, whose sizes the student needs: "
                f"networks.student is {cascade.student.config}, the expert {cascade.expert.config}"
            )
        cascade.student.load_state_dict(cascade.expert.state_dict())
    _initialise_voice_network(run, cascade.e, initial_weights, required=True)
    if plan.voice_network == "batch_statistics":
        for module in cascade.e.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 0.0  # the published file stays as it is: what drifts is never stored
    cascade = run.prepare(cascade)  # type: ignore[assignment]
    optimisers = {
        "discriminator_optimiser": build_optimiser(config.optimiser, cascade.f, cascade.d, cascade.c),
        "generator_optimiser": build_optimiser(config.optimiser, cascade.g, cascade.student),
    }
    theirs, ours = optimisers.values()
    alone, distillation = config.losses.triplet is None, config.losses.distillation
    assert distillation is not None
    faces = FaceDataset(dataset.images, cascade.f.config.image_size, data.flip_probability)
    shown = faces if data.face_sampling == "same" else None
    triplets = TripletDataset(
        dataset.utterances, data.frames.clip, data.triplet_sampling, anchors_only=alone, faces=shown
    )
    many: dict[str, Any] = {"steps": plan.max_steps, "workers": plan.num_workers}
    voice_batches = run.batches(triplets, plan.batch_size, **many)
    drawn = batches(faces, plan.batch_size, seed=run.seed + FACE_SEED_OFFSET, start_step=run.step, **many)
    mesh, losses = face_model.to(run.device).frontal_vertices, config.losses
    drifts = plan.voice_network == "batch_statistics" and plan.validation_interval is not None

    def ready() -> None:
        cascade.train()
        cascade.e.train(drifts)

    def step(number: int) -> Terms:
        voices = next(voice_batches)
        real = voices if shown else to_device(next(drawn), run.device)
        clip = config.optimiser.clip_gradient
        if number < plan.face_pretraining_steps:
            with run.autocast():
                terms = compute_classifier_losses(cascade, real["face"], real["label"])
            run.backward_and_step(sum_terms(terms), theirs, clip_norm=clip)
            return terms
        joined = number >= plan.student_start_step
        words = ("anchor", "positive", "negative") if joined and not alone else ("anchor",)
        frames = sample_batch_crop(data.frames, run.seed, number)
        shape = len(voices["label"]), cascade.e.config.embedding_dim
        noise = (plan.embedding_noise_std * torch.randn(shape, generator=run.generator)).to(run.device)
        with run.autocast():
            made = cascade.generate_images([voices[word][:, :, frames] for word in words], noise)
            first = compute_discriminator_losses(cascade, real["face"], made[0], real["label"])
        run.backward_and_step(sum_terms(first), theirs, clip_norm=clip)
        with run.autocast():
            looked_at = made if distillation.update_generator else [each.detach() for each in made]
            found = run_expert_and_student(cascade, looked_at, mesh) if joined else None
            second = compute_generator_losses(
                cascade,
                made[0],
                found,
                voices["label"],
                distillation,
                losses.triplet,
                losses.generator,
                voices.get("face"),
            )
        run.backward_and_step(sum_terms(second), ours, clip_norm=clip)
        return first | second

    parts = {"generator": cascade.g, "student": cascade.student, "expert": cascade.expert}
    hears = VoiceToMesh("unsupervised", cascade.e, face_model, **parts)  # type: ignore[arg-type]

    def share(name: str, number: int) -> float:
        late = name == "discriminator_optimiser" and number >= plan.face_pretraining_steps
        return plan.discriminator_lr_factor if late else 1.0

    extra = {"expert": to_dict(seen)}
    return TrainingStage(cascade, optimisers, ready, step, hears, extra, TRAINING_ONLY_PREFIXES, share)


def build_optimiser(config: OptimiserConfig, *modules: nn.Module) -> Optimizer:
    """The configured optimiser over the parameters of some modules."""
    weights = [weight for module in modules for weight in module.parameters()]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.method == "sgd":
        return torch.optim.SGD(weights, momentum=config.momentum, nesterov=config.nesterov, **common)
    if config.method == "adagrad":
        return torch.optim.Adagrad(weights, **common)
    kind = torch.optim.AdamW if config.method == "adamw" else torch.optim.Adam
    return kind(weights, betas=config.betas, **common)


def _initialise_voice_network(
    run: Run, network: nn.Module, initial_weights: InitialWeights, *, required: bool
) -> None:
    """Copy the given voice network; a resumed run has it in its state."""
    if initial_weights.voice_network:
        source = load_voice_network(initial_weights.voice_network)
        load_into(network, source.state_dict(), source=str(initial_weights.voice_network))
    elif required and not run.step:
        raise ValueError(
            "the voice network is not trained here (training.voice_network): give one as --voice-network "
            "(voice_embedding.pth, or a run of ours)"
        )
