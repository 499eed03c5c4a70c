"""Training: `perceptionist train --cfg NAME --data ROOT --out RUN`.

The configuration's `kind` says what is trained: the image-to-3D expert, the voice network (`speaker`), the
supervised head, or the unsupervised cascade, which needs the first two.
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
    from perceptionist.training_stages import InitialWeights, TrainingStage
    from perceptionist.validation import ValidationSet


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
        dataset: who it learns from.
        out: run folder; new or empty unless `resume`.
        validation_dataset: held-out people for the on-line validation, where the configuration validates.
        initial_weights: expert and voice network to start from.
        face_model: what the numbers are numbers of; None for the population's head.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.

    Returns:
        The weights file, `out/model.safetensors`.

    Raises:
        ValueError, OSError: the data, the given files or the run folder do not fit; see the message.
    """
    from voiceface.training.lr_schedules import set_learning_rate
    from voiceface.training.provenance import record_provenance
    from voiceface.training.run import open_run

    from perceptionist.config import config_to_dict
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.models import SYSTEM
    from perceptionist.training_stages import InitialWeights, build_stage
    from perceptionist.validation import build_validation_set

    initial_weights, model, plan = (
        initial_weights or InitialWeights(),
        face_model or resolve_face_model(),
        config.training,
    )
    with open_run(
        out,
        plan,
        config=config_to_dict(config),
        system=SYSTEM,
        device=device,
        threads=threads,
        resume=resume,
        single_process=True,
    ) as run:
        source = record_provenance(run, dataset.identities, initial_weights)
        run.extra = {
            "names": list(dataset.identities),
            "notice": dataset.disclaimer or model.disclaimer,
            "source": source,
        }
        made = build_stage(run, config, dataset, model, initial_weights)
        run.extra |= {"face_model": model.name, **made.extra}
        run.track(**{config.kind: made.model}, **made.optimisers)
        asked = validation_dataset is not None and made.voice_to_mesh is not None
        jury = (
            build_validation_set(validation_dataset, dataset, made.voice_to_mesh)
            if asked and validation_dataset is not None
            else None
        )
        rate = build_lr_schedule(config)
        made.set_train_mode()
        for step in run.steps(plan.max_steps, checkpoint_interval=plan.checkpoint_interval):
            if plan.validation_interval is not None and step % plan.validation_interval == 0:
                validate(run, step, made, config, jury)
            for name, optimiser in made.optimisers.items():
                set_learning_rate(optimiser, rate(step) * made.lr_factor(name, step))
            terms = made.train_step(step)
            run.log(step, {"total_loss": sum(terms.values()), **terms, "lr": rate(step)})
        if plan.validation_interval is not None:
            validate(run, plan.max_steps, made, config, jury)
        state = made.model.state_dict()
        kept = {key: value for key, value in state.items() if not key.startswith(made.excluded_prefixes)}
        return run.save_final_model(kept, kind=config.kind)


def validate(
    run: "Run",
    step: int,
    stage: "TrainingStage",
    config: "PerceptionistConfig",
    validation_set: "ValidationSet | None",
) -> dict[str, float]:
    """Judge the model by held-out people and log it; modes and random states are as before afterwards."""
    from perceptionist.validation import evaluate

    if validation_set is None or stage.voice_to_mesh is None:
        return {}
    drifts = config.training.voice_network == "batch_statistics"
    stage.model.eval()
    stage.voice_to_mesh.voice.train(drifts)
    found = evaluate(
        stage.voice_to_mesh, validation_set, config.evaluation, **({"batch": 1} if drifts else {})
    )
    stage.set_train_mode()
    run.log(step, found, always=True, prefix="val/")
    return found


def build_lr_schedule(config: "PerceptionistConfig") -> Callable[[int], float]:
    """Iteration (from 0) -> learning rate of its step."""
    from voiceface.training.lr_schedules import cosine_warmup, step_decay

    plan, lr, steps = config.schedule, config.optimiser.lr, config.training.max_steps
    late = cosine_warmup(lr, steps) if plan.kind == "cosine" else step_decay(lr, (), 1.0)
    if plan.kind == "step":
        late = step_decay(lr, plan.milestones, plan.factor)
    return lambda step: late(step) * (plan.warm_up_factor if step < plan.warm_up else 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """`perceptionist train`."""
    parser = argparse.ArgumentParser(
        prog="perceptionist train",
        description="Train an image-to-3D expert, a voice network, the supervised head, or the unsupervised "
        "cascade, as the configuration's kind says. A run goes on with --resume.",
    )
    arguments.add_training_arguments(
        parser,
        configurations="unsupervised, supervised, expert, speaker, quick_...",
        data="a population, or the published layout: see docs/data.md",
    )
    add = parser.add_argument
    add("--expert", type=Path, help="unsupervised: a run of ours, or 2D-to-3D-pretrained.tar")
    add("--voice-network", type=Path, help="a run of ours, or voice_embedding.pth")
    add("--face-model", help="folder or file of a face model; default: the population's head")
    add("--truth", type=Path, help="supervised, published layout: folder of fitted coefficients")
    args = parser.parse_args(argv)

    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import keep_freed_memory

    from perceptionist.config import PerceptionistConfig
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.training_stages import InitialWeights

    keep_freed_memory()
    config = load_config(args.cfg, PerceptionistConfig, "perceptionist", args.override)
    arguments.require_existing_paths(
        {"expert": args.expert, "voice-network": args.voice_network, "truth": args.truth}
    )
    model = resolve_face_model(args.face_model)
    weights = train(
        config,
        _load_dataset(args, "train", config, model),
        args.out,
        validation_dataset=_load_dataset(args, "val", config, model) if _needs_validation(config) else None,
        initial_weights=InitialWeights(args.expert, args.voice_network),
        face_model=model,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"weights: {weights}")
    return 0


def _needs_validation(config: "PerceptionistConfig") -> bool:
    return config.training.validation_interval is not None and config.kind not in ("expert", "speaker")


def _load_dataset(
    args: argparse.Namespace, split: str, config: "PerceptionistConfig", model: "LinearFaceModel"
) -> "VoiceFaceDataset":
    """The people of a split that the flags name."""
    from perceptionist.dataset.open import load_dataset
    from perceptionist.dataset.synthetic import generate_synthetic_dataset

    data = config.data
    if args.population:
        return generate_synthetic_dataset(args.population, split, model, data.speech)
    heard = config.kind != "expert"
    return load_dataset(
        args.data,
        split,
        model,
        data.speech,
        truth=args.truth,
        with_utterances=heard,
        in_memory=data.in_memory,
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.train", None))
