"""Training: `seeking_shape train --cfg reweight --data ROOT --out RUN`, then `--cfg main --id-weights FILE`.

One iteration, in the published order: validation if due, weight update if due, step, learning rate.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seeking_shape.validation import Validation, validate, validation_due

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from voiceface.datasets.corpus import Corpus
    from voiceface.population.stream import PopulationDataset
    from voiceface.training import Run

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.model import Voice2Face

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a run starts from; everything is optional.

    Attributes:
        id_weights: identity weights that `extract_id_weight` wrote, or the published id_weight.pth.
        face_backbone: published face backbone (IR-50 of face.evoLVe).
        voice_backbone: published voice backbone (thin ResNet-34 of voxceleb_trainer).
        checkpoint: a whole model, ours or published; heads and classifier included where they fit.
    """

    id_weights: Path | None = None
    face_backbone: Path | None = None
    voice_backbone: Path | None = None
    checkpoint: Path | None = None


def train(
    config: "SeekingShapeConfig",
    corpus: "Corpus | PopulationDataset",
    out: str | Path,
    *,
    validation: Validation | None = None,
    start: Start | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
    notice: str = "",
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        corpus: the training people, on the disk or invented in memory; class k is the k-th distinct name.
        out: run folder; new or empty unless `resume`.
        validation: what to judge the model by where the configuration validates.
        start: weights to begin with; from scratch without.
        device: "cpu", "cuda", or "auto".
        threads: of PyTorch on the CPU; None leaves them as they are.
        resume: go on from the run folder's last saved state.
        notice: what readers of the model must be told; stored with the weights.

    Returns:
        The weights file, `out/model.safetensors`.

    Raises:
        ValueError, OSError: the data, the start weights or the run folder do not fit; see the message.
    """
    from voiceface.checkpoint import save_model
    from voiceface.config import to_dict
    from voiceface.training import Run, set_learning_rate, unwrap

    from seeking_shape.data import class_names, training_pairs

    names = class_names(corpus)
    plain = to_dict(config)
    with Run(
        out,
        seed=config.training.seed,
        config=plain,
        system="seeking_shape",
        device=device,
        precision=config.training.precision,
        threads=threads,
        resume=resume,
        log_every=config.training.log_every,
    ) as run:
        source = run.values.setdefault("source", _describe(start))  # a resumed run keeps what it began with
        _require_same_people(run, names)
        run.extra = {"names": names, "notice": notice, "source": source}
        network = run.prepare(build_model(config, names, start or Start()))
        model = cast("Voice2Face", unwrap(network))
        optimiser = make_optimiser(config, model)
        rate = make_schedule(config)
        run.track(model=model, optimiser=optimiser)
        data = run.batches(
            training_pairs(corpus, config, progress=run.is_main),
            config.training.batch_size,
            steps=config.training.max_iter,
            workers=config.training.workers,
        )
        for step in run.steps(config.training.max_iter, save_every=config.training.save_every):
            if validation_due(config, step):
                validate(run, step, model, config, validation)
            if config.weights.enabled and model.center.update(step):
                run.log(step, {"active_share": model.center.ratio}, always=True)
            set_learning_rate(optimiser, rate(step))
            terms = train_step(config, run, network, next(data), optimiser, step)
            run.log(step, {**terms, "lr": rate(step)})
        if validation_due(config, config.training.max_iter):
            validate(run, config.training.max_iter, model, config, validation)
        weights = Path(out) / "model.safetensors"
        if run.is_main:
            extra = {**run.extra, "step": run.step}
            save_model(
                weights, model.state_dict(), system="seeking_shape", kind="model", config=plain, extra=extra
            )
    return weights


def train_step(
    config: "SeekingShapeConfig",
    run: "Run",
    network: "torch.nn.Module",
    batch: dict[str, "Tensor"],
    optimiser: "torch.optim.Optimizer",
    step: int,
) -> dict[str, "Tensor | float"]:
    """One optimiser step on one batch of distinct people.

    Args:
        config: the experiment.
        run: the run.
        network: the model as `run.prepare` gave it.
        batch: "face" (B, 3, S, S), "voice" (B, T), "label" (B,): this process's rows.
        optimiser: of the whole model.
        step: iteration, from 0; decides the crop.

    Returns:
        The weighted terms, their sum and the gradient-free hardness, by name.
    """
    from voiceface.distributed import gather_with_gradient
    from voiceface.training import unwrap

    from seeking_shape.data import crop_of
    from seeking_shape.losses import sample_losses, weighted_losses

    center = cast("Voice2Face", unwrap(network)).center
    first, end = crop_of(config.data, run.seed, step)
    with run.autocast():
        output = network(batch["face"], batch["voice"][:, first:end])
    labels = gather_with_gradient(batch["label"])
    face, voice, face_logits, voice_logits = map(gather_with_gradient, output)
    losses = sample_losses(
        face,
        voice,
        face_logits,
        voice_logits,
        labels,
        explicit=config.loss.explicit,
        constant=config.loss.explicit_constant,
        smoothing=config.loss.label_smoothing,
    )
    weights = None
    if config.weights.enabled:
        center.observe(labels, losses.hardness)
        weights = center.batch_weights(labels)
    terms = weighted_losses(
        losses,
        weights,
        weighting=config.loss.identity_loss_weighting,
        factors=config.loss.loss_weight,
    )
    total = cast("Tensor", sum(terms.values()))
    run.backward(total, optimiser, clip_norm=config.optimiser.clip_gradient)
    return {"total_loss": total, **terms, "hardness": losses.hardness.mean()}


def build_model(config: "SeekingShapeConfig", names: list[str], start: Start) -> "Voice2Face":
    """A model as a run begins with it: fresh, or with the weights that `start` names."""
    from seeking_shape import published
    from seeking_shape.extract_id_weight import read_weights
    from seeking_shape.model import Voice2Face, freeze
    from seeking_shape.reweighting import IdentityWeights

    weights = config.weights.model_dump(exclude={"enabled"})
    model = Voice2Face(config.model, len(names), IdentityWeights(len(names), names=names, **weights))
    if start.checkpoint:
        _load_start(model, start.checkpoint)
    if start.face_backbone:
        published.load_face_backbone(model, start.face_backbone)
    if start.voice_backbone:
        published.load_voice_backbone(model, start.voice_backbone)
    if start.id_weights:
        model.center.weight.copy_(read_weights(start.id_weights, names))
    for branch in config.training.freeze:
        freeze(model.F if branch == "face" else model.V)
    return model


def make_optimiser(config: "SeekingShapeConfig", model: "Voice2Face") -> "torch.optim.Optimizer":
    """The configured optimiser over both branches, weight decay on everything (as published)."""
    import torch

    from seeking_shape.model import parameter_groups

    chosen = config.optimiser
    groups = parameter_groups(model)
    common: dict[str, Any] = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
    if chosen.method == "sgd":
        return torch.optim.SGD(groups, momentum=chosen.momentum, nesterov=chosen.nesterov, **common)
    if chosen.method == "adagrad":
        return torch.optim.Adagrad(groups, **common)
    kind = torch.optim.AdamW if chosen.method == "adamw" else torch.optim.Adam
    return kind(groups, betas=chosen.betas, **common)


def make_schedule(config: "SeekingShapeConfig") -> Callable[[int], float]:
    """Iteration (from 0) -> learning rate of its step."""
    from voiceface.training import cosine_warmup, step_decay

    schedule, lr = config.schedule, config.optimiser.lr
    if schedule.kind == "cosine":
        return cosine_warmup(lr, config.training.max_iter, schedule.warm_up)
    decayed = step_decay(lr, schedule.milestones, schedule.factor)
    return lambda step: decayed(step) * min(1.0, (step + 1) / (schedule.warm_up + 1))


def _load_start(model: "Voice2Face", path: Path) -> None:
    """Copy a whole model, ours or published, as far as it fits; a classifier of other people stays fresh."""
    from voiceface.checkpoint import CheckpointError, load_into, load_model

    from seeking_shape.published import read_full_checkpoint

    known = None
    if path.suffix == ".safetensors":
        loaded = load_model(path, system="seeking_shape")
        state, known = loaded.state, loaded.extra.get("names")
    else:
        state = read_full_checkpoint(path)
    state = {key: value for key, value in state.items() if not key.startswith("center.")}
    here, names = len(model.center.weight), model.center.names
    there = len(state.get("F.cls.weight", ()))
    if there != here or (known and names and list(known) != list(names)):
        log.warning("%s knows %d other people, here are %d: the classifier starts afresh", path, there, here)
        state.pop("F.cls.weight", None)
    report = load_into(model, state, strict=False, source=str(path))
    if report.mismatched:
        raise CheckpointError(f"{path} is of another architecture: {'; '.join(report.mismatched[:3])}")


def _require_same_people(run: "Run", names: list[str]) -> None:
    """Refuse to go on with other people than the run began with: classes are numbered by their order."""
    import hashlib

    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if run.values.setdefault("people", digest) != digest:
        raise ValueError(
            f"{run.out} was begun with other training people or another order of them, and cannot go on with "
            f"these {len(names)}: give the same --data, or another --out folder"
        )


def _describe(start: Start | None) -> dict[str, str]:
    """What the run started from, by file name."""
    return {key: path.name for key, path in vars(start or Start()).items() if path}


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape train`."""
    parser = argparse.ArgumentParser(
        prog="seeking_shape train",
        description="Train a model. Step 1 learns identity weights (--cfg reweight); `extract_id_weight` "
        "takes them out; step 3 trains the model with them (--cfg main --id-weights FILE). "
        "A run goes on with --resume.",
    )
    parser.add_argument(
        "--cfg", required=True, help="bundled name (reweight, main, quick, ...) or a .yaml file"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="corpus folder: see docs/data.md")
    source.add_argument(
        "--population", metavar="PRESET", help="invent the people of this preset in memory instead"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder, new or empty")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--id-weights", type=Path, help="identity weights of step 1")
    parser.add_argument("--face-backbone", type=Path, help="published IR-50 weights to start from")
    parser.add_argument("--voice-backbone", type=Path, help="published thin ResNet-34 weights to start from")
    parser.add_argument("--checkpoint", type=Path, help="a whole model to start from, ours or published")
    parser.add_argument("--voice-root", type=Path, help="folder of the recordings, if not below --data")
    parser.add_argument("--face-root", type=Path, help="folder of the pictures, if not below --data")
    parser.add_argument("--lists", type=Path, help="folder of the evaluation lists (default DATA/list_wav)")
    parser.add_argument("--skip-missing", action="store_true", help="leave people without a folder out")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--threads", type=int, help="CPU threads (a resumed run needs the same number)")
    parser.add_argument("override", nargs="*", help="section.key=value")
    args = parser.parse_args(argv)

    from voiceface.config import load_config
    from voiceface.memory import keep_freed_memory

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.data import SYNTHETIC_NOTICE, invented, notice_of, open_split, validation_of

    keep_freed_memory()
    config = load_config(args.cfg, SeekingShapeConfig, "seeking_shape", args.override)
    start = Start(args.id_weights, args.face_backbone, args.voice_backbone, args.checkpoint)
    for flag, path in vars(start).items():
        if path and not path.is_file():
            raise FileNotFoundError(f"--{flag.replace('_', '-')}: no file at {path}")
    roots = {"voice_root": args.voice_root, "face_root": args.face_root, "skip_missing": args.skip_missing}
    validation, notice = None, SYNTHETIC_NOTICE
    if args.population:
        if config.training.validate_every > 0:
            raise ValueError(
                "--population has no validation files: add training.validate_every=-1, or use --data"
            )
        corpus: Corpus | PopulationDataset = invented(args.population, config)
    else:
        corpus, notice = open_split(args.data, "train", **roots), notice_of(args.data)
        if config.training.validate_every > 0:
            validation = validation_of(args.data, config, args.lists, **roots)
    weights = train(
        config,
        corpus,
        args.out,
        validation=validation,
        start=start,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        notice=notice,
    )
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    from voiceface.cli import run_main

    raise SystemExit(run_main("seeking_shape.train", None))
