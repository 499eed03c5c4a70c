"""`perceptionist train`: train the image-to-3D expert, the voice network, the supervised head or the cascade.

The configuration's `kind` selects the model; the unsupervised cascade needs a trained expert and a voice
network (kind `speaker`) to start from.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voiceface.training.run import Run

    from perceptionist.config import PerceptionistConfig
    from perceptionist.dataset.records import VoiceFaceDataset
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.training_stages.stage import InitialWeights, TrainingStage
    from perceptionist.validation import ValidationSet

__all__ = [
    "build_lr_schedule",
    "main",
    "train",
    "validate",
]


def train(
    config: "PerceptionistConfig",
    dataset: "VoiceFaceDataset",
    out: str | Path,
    *,
    validation_dataset: "VoiceFaceDataset | None" = None,
    initial_weights: "InitialWeights | None" = None,
    face_model: "LinearFaceModel | None" = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        dataset: training identities with utterances, images and ground truth, as the kind needs them.
        out: run folder; new or empty unless `resume`.
        validation_dataset: held-out identities for the on-line validation, where the configuration validates.
        initial_weights: expert and voice network to start from.
        face_model: linear face model of the targets; None: the embedded synthetic head.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None: unchanged.
        resume: continue from the run folder's last saved state.

    Returns:
        The final checkpoint, `out/model.safetensors`.

    Raises:
        ValueError, OSError: the data, the given files or the run folder cannot be used; see the message.
    """
    from voiceface.training.lr_schedules import set_learning_rate
    from voiceface.training.provenance import record_provenance
    from voiceface.training.run import open_run

    from perceptionist.config import config_to_dict
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.models import SYSTEM
    from perceptionist.training_stages.build import build_stage, train_step
    from perceptionist.training_stages.stage import InitialWeights
    from perceptionist.training_stages.unsupervised import discriminator_lr_factor
    from perceptionist.validation import build_validation_set

    initial_weights = initial_weights or InitialWeights()
    face_model = face_model or resolve_face_model()
    settings = config.training
    with open_run(
        out,
        settings,
        config=config_to_dict(config),
        schema=config,
        system=SYSTEM,
        device=device,
        threads=threads,
        resume=resume,
    ) as run:
        run.extra = {
            "names": list(dataset.identities),
            "disclaimer": dataset.disclaimer or face_model.disclaimer,
            "source": record_provenance(run, dataset.identities, initial_weights),
        }
        stage = build_stage(run, config, dataset, face_model, initial_weights)
        run.extra |= {
            "face_model": face_model.name,
            "num_vertices": face_model.num_vertices,
            **stage.extra,
        }
        run.track(**{config.kind: stage.model}, **stage.optimisers)
        validation_set = None
        if validation_dataset is not None and stage.voice_to_mesh is not None:
            validation_set = build_validation_set(validation_dataset, dataset, stage.voice_to_mesh)
        learning_rate = build_lr_schedule(config)
        interval = settings.validation_interval
        stage.set_train_mode()
        for step in run.steps(settings.max_steps, checkpoint_interval=settings.checkpoint_interval):
            if interval is not None and step % interval == 0:
                validate(run, step, stage, validation_set)
            for name, optimiser in stage.optimisers.items():
                factor = discriminator_lr_factor(config, name, step)
                set_learning_rate(optimiser, learning_rate(step) * factor)
            terms = train_step(run, stage, step)
            run.log(step, {"total_loss": sum(terms.values()), **terms, "lr": learning_rate(step)})
        if interval is not None:
            validate(run, settings.max_steps, stage, validation_set)
        state = stage.model.state_dict()
        final_state = {key: v for key, v in state.items() if not key.startswith(stage.excluded_prefixes)}
        return run.save_final_model(final_state, kind=config.kind)


def validate(
    run: "Run", step: int, stage: "TrainingStage", validation_set: "ValidationSet | None"
) -> dict[str, float]:
    """Evaluate on held-out identities and log the metrics; modes and random states are restored afterwards.

    With `training.voice_network: batch_statistics` each utterance is a batch, as published.
    """
    from perceptionist.validation import BATCH_SIZE, evaluate

    if validation_set is None or stage.voice_to_mesh is None:
        return {}
    batch_statistics = stage.config.training.voice_network == "batch_statistics"
    stage.model.eval()
    stage.voice_to_mesh.voice.train(batch_statistics)
    metrics = evaluate(
        stage.voice_to_mesh,
        validation_set,
        stage.config.evaluation,
        batch_size=1 if batch_statistics else BATCH_SIZE,
    )
    stage.set_train_mode()
    run.log(step, metrics, always=True, prefix="val/")
    return metrics


def build_lr_schedule(config: "PerceptionistConfig") -> Callable[[int], float]:
    """Build the learning-rate schedule: step (from 0) -> learning rate."""
    from voiceface.training.lr_schedules import cosine_warmup, step_decay

    schedule, lr, max_steps = config.schedule, config.optimiser.lr, config.training.max_steps
    if schedule.kind == "cosine":
        decay = cosine_warmup(lr, max_steps)
    elif schedule.kind == "step":
        decay = step_decay(lr, schedule.milestones, schedule.factor)
    else:
        decay = step_decay(lr, (), 1.0)
    return lambda step: decay(step) * (schedule.warm_up_factor if step < schedule.warm_up else 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """`perceptionist train`."""
    parser = argparse.ArgumentParser(
        prog="perceptionist train",
        description="Train an image-to-3D expert, a voice network, the supervised head, or the unsupervised "
        "cascade, depending on the configuration's kind.",
    )
    arguments.add_training_arguments(
        parser,
        configurations="unsupervised, supervised, expert, speaker, quick_...",
        data="synthetic population, or the layout of Voxceleb-3D: see docs/data.md",
    )
    add = parser.add_argument
    add("--expert", type=Path, help="unsupervised: run folder of an expert, or 2D-to-3D-pretrained.tar")
    add("--voice-network", type=Path, help="run folder with a voice network, or voice_embedding.pth")
    add("--face-model", help="folder or file of a face model (default: the embedded head)")
    add("--truth", type=Path, help="supervised, Voxceleb-3D: folder of fitted BFM coefficients")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from perceptionist.config import PerceptionistConfig

    config = load_config(args.cfg, PerceptionistConfig, "perceptionist", args.override)
    arguments.require_existing_paths(
        {"data": args.data, "expert": args.expert, "voice-network": args.voice_network, "truth": args.truth}
    )

    from perceptionist.dataset.synthetic import population_head
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.training_stages.stage import InitialWeights

    model = resolve_face_model(args.face_model or population_head(args.data, args.population))
    dataset = _load_dataset(args, "train", config, model)
    validation_dataset = _load_dataset(args, "val", config, model) if _needs_validation(config) else None
    keep_freed_memory()
    checkpoint = train(
        config,
        dataset,
        args.out,
        validation_dataset=validation_dataset,
        initial_weights=InitialWeights(args.expert, args.voice_network),
        face_model=model,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"checkpoint: {checkpoint}")
    return 0


def _needs_validation(config: "PerceptionistConfig") -> bool:
    return config.training.validation_interval is not None and config.kind not in ("expert", "speaker")


def _load_dataset(
    args: argparse.Namespace, split: str, config: "PerceptionistConfig", model: "LinearFaceModel"
) -> "VoiceFaceDataset":
    """Load the split from --data, or generate it for --population."""
    from perceptionist.dataset.open import load_dataset
    from perceptionist.dataset.synthetic import generate_synthetic_dataset

    data = config.data
    if args.population:
        return generate_synthetic_dataset(args.population, split, model, data.speech)
    return load_dataset(
        args.data,
        split,
        model,
        data.speech,
        truth=args.truth,
        with_utterances=config.kind != "expert",
        in_memory=data.in_memory,
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.train", None))
