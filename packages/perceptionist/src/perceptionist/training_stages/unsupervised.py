"""Training of the unsupervised cascade: voice to image to mesh (the paper's unsupervised framework).

A discriminator, a classifier and a frozen expert take the place of pairs of voices and meshes. The losses of
the discriminator's and the generator's side are in `perceptionist.cascade`.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from voiceface.checkpoints.native import load_into
from voiceface.datasets.augmentation import build_voice_augmentation
from voiceface.runtime.config import to_dict, validate_config
from voiceface.runtime.devices import to_device
from voiceface.runtime.distributed import draw_rows
from voiceface.training.run import Run
from voiceface.training.sampling import batches

from perceptionist.cascade import (
    Cascade,
    CascadeConfig,
    compute_classifier_losses,
    compute_discriminator_losses,
    compute_generator_losses,
    run_expert_and_student,
)
from perceptionist.config import PerceptionistConfig
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.losses import sum_terms
from perceptionist.models import load_expert
from perceptionist.network_config import ImageTo3DConfig
from perceptionist.sampling import FaceDataset, TripletDataset, sample_batch_crop
from perceptionist.training_stages.stage import (
    InitialWeights,
    Terms,
    TrainingStage,
    build_optimiser,
    initialise_voice_network,
)
from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = [
    "FACE_SEED_OFFSET",
    "TRAINING_ONLY_PREFIXES",
    "build_unsupervised_stage",
    "discriminator_lr_factor",
    "train_unsupervised_step",
]


FACE_SEED_OFFSET = 1_000_003  # added to the seed: images are sampled independently of utterances
TRAINING_ONLY_PREFIXES = ("f.", "d.", "c.")
DISCRIMINATOR_OPTIMISER, GENERATOR_OPTIMISER = "discriminator_optimiser", "generator_optimiser"


def build_unsupervised_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Build networks, both optimisers and batches of the cascade.

    Raises:
        ValueError: expert or voice network is missing, or the student's sizes do not allow a copy of the
            expert.
        FileNotFoundError, CheckpointError: a given file cannot be used.
    """
    settings, data = config.training, config.data
    cascade = _build_cascade(run, config, len(dataset.identities), initial_weights)
    optimisers = {
        DISCRIMINATOR_OPTIMISER: build_optimiser(config.optimiser, cascade.f, cascade.d, cascade.c),
        GENERATOR_OPTIMISER: build_optimiser(config.optimiser, cascade.g, cascade.student),
    }
    faces = FaceDataset(dataset.images, cascade.f.config.image_size, data.flip_probability)
    same_identity = data.face_sampling == "same_identity"
    triplets = TripletDataset(
        dataset.utterances,
        data.frames.clip,
        data.triplet_sampling,
        anchors_only=config.losses.triplet is None,
        faces=faces if same_identity else None,
        augmentation=build_voice_augmentation(data.augmentation),
    )
    loading: dict[str, Any] = {"max_steps": settings.max_steps, "num_workers": settings.num_workers}
    face_seed = run.seed + FACE_SEED_OFFSET
    return TrainingStage(
        config,
        cascade,
        optimisers,
        run.batches(triplets, settings.batch_size, **loading),
        face_model.to(run.device),
        face_batches=None
        if same_identity
        else batches(
            faces,
            settings.batch_size,
            seed=face_seed,
            start_step=run.step,
            rank=run.rank,
            world_size=run.world_size,
            **loading,
        ),
        voice_to_mesh=VoiceToMesh(
            "unsupervised",
            cascade.e,
            face_model,
            generator=cascade.g,
            student=cascade.student,
            expert=cascade.expert,
        ),
        train_voice_network=settings.voice_network == "batch_statistics"
        and settings.validation_interval is not None,
        extra={"expert": run.values["expert"]},
        excluded_prefixes=TRAINING_ONLY_PREFIXES,
    )


def train_unsupervised_step(run: Run, stage: TrainingStage, step: int) -> Terms:
    """Run one step of both sides of the cascade and return all weighted loss terms."""
    config, settings, cascade = stage.config, stage.config.training, stage.model
    losses, clip_norm = config.losses, config.optimiser.clip_gradient
    assert isinstance(cascade, Cascade) and losses.distillation is not None
    discriminator_optimiser = stage.optimisers[DISCRIMINATOR_OPTIMISER]
    batch = next(stage.batches)
    real = batch if stage.face_batches is None else to_device(next(stage.face_batches), run.device)
    if step < settings.face_pretraining_steps:
        with run.autocast():
            terms = compute_classifier_losses(cascade, real["face"], real["label"])
        run.backward_and_step(sum_terms(terms), discriminator_optimiser, clip_norm=clip_norm)
        return terms
    student_trains = step >= settings.student_start_step
    with_triplets = student_trains and losses.triplet is not None
    roles = ("anchor", "positive", "negative") if with_triplets else ("anchor",)
    frames = sample_batch_crop(config.data.frames, run.seed, step)
    noise_shape = len(batch["label"]), cascade.e.config.embedding_dim
    draw = partial(torch.randn, generator=run.generator)
    noise = settings.embedding_noise_std * draw_rows(draw, noise_shape)
    with run.autocast():
        generated = cascade.generate_images(
            [batch[role][:, :, frames] for role in roles], noise.to(run.device)
        )
        discriminator_terms = compute_discriminator_losses(cascade, real["face"], generated[0], real["label"])
    run.backward_and_step(sum_terms(discriminator_terms), discriminator_optimiser, clip_norm=clip_norm)
    with run.autocast():
        views = None
        if student_trains:
            update_generator = losses.distillation.update_generator
            images = generated if update_generator else [each.detach() for each in generated]
            views = run_expert_and_student(cascade, images, stage.face_model.frontal_vertices)
        generator_terms = compute_generator_losses(
            cascade,
            generated[0],
            views,
            batch["label"],
            losses.distillation,
            losses.triplet,
            losses.generator,
            batch.get("face"),
        )
    run.backward_and_step(
        sum_terms(generator_terms), stage.optimisers[GENERATOR_OPTIMISER], clip_norm=clip_norm
    )
    return discriminator_terms | generator_terms


def discriminator_lr_factor(config: PerceptionistConfig, optimiser_name: str, step: int) -> float:
    """Factor on the learning rate: of the discriminator's side after the pretraining on faces, else 1."""
    settings = config.training
    reduced = optimiser_name == DISCRIMINATOR_OPTIMISER and step >= settings.face_pretraining_steps
    return settings.discriminator_lr_factor if reduced else 1.0


def _build_cascade(
    run: Run, config: PerceptionistConfig, num_identities: int, initial_weights: InitialWeights
) -> Cascade:
    """The cascade on the run's device; notes the expert's sizes in `run.values`."""
    networks, settings = config.networks, config.training
    expert = load_expert(initial_weights.expert) if initial_weights.expert else None
    cascade = Cascade(
        CascadeConfig(
            **{name: getattr(networks, name) for name in ("voice", "generator", "face", "student")},
            expert=_expert_config(run, expert),
        ),
        num_identities,
    )
    if expert:
        load_into(cascade.expert, expert.state_dict(), source=str(initial_weights.expert))
    if settings.student_init == "expert" and not run.step:
        if cascade.student.config != cascade.expert.config:
            raise ValueError(
                "training.student_init=expert copies the expert into the student, but their sizes differ: "
                f"networks.student is {cascade.student.config}, the expert {cascade.expert.config}. "
                "Set networks.student to the expert's sizes, or training.student_init=random."
            )
        cascade.student.load_state_dict(cascade.expert.state_dict())
    initialise_voice_network(run, cascade.e, initial_weights, required=True)
    if settings.voice_network == "batch_statistics":
        for module in cascade.e.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 0.0  # running statistics of the given file are stored unchanged
    prepared = run.prepare(cascade, wrap=False)
    assert isinstance(prepared, Cascade)
    return prepared


def _expert_config(run: Run, expert: ImageTo3D | None) -> ImageTo3DConfig:
    """Sizes of the given expert, else of the one that a resumed run holds."""
    if expert is not None:
        config = expert.config
    elif "expert" in run.values:
        config = validate_config(run.values["expert"], ImageTo3DConfig, "the run's expert")
    else:
        raise ValueError("The unsupervised kind needs an image-to-3D expert. Pass one as --expert.")
    run.values["expert"] = to_dict(config)
    return config
