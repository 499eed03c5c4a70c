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
    from perceptionist.dataset.records import People
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.training_stages import Plan, Start
    from perceptionist.validation import HeldOut


def train(
    config: "PerceptionistConfig",
    people: "People",
    out: str | Path,
    *,
    judges: "People | None" = None,
    start: "Start | None" = None,
    face_model: "LinearFaceModel | None" = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
) -> Path:
    """Train one model.

    Args:
        config: what to train.
        people: who it learns from.
        out: run folder; new or empty unless `resume`.
        judges: held-out people for the on-line validation, where the configuration validates.
        start: expert and voice network to start from.
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
    from voiceface.training.provenance import begin_with
    from voiceface.training.run import open_run

    from perceptionist.config import stored
    from perceptionist.face_models.io import open_face_model
    from perceptionist.models import SYSTEM
    from perceptionist.training_stages import Start, make_plan
    from perceptionist.validation import held_out

    start, model, plan = start or Start(), face_model or open_face_model(), config.training
    with open_run(
        out,
        plan,
        config=stored(config),
        system=SYSTEM,
        device=device,
        threads=threads,
        resume=resume,
        one_process=True,
    ) as run:
        source = begin_with(run, people.names, start)
        run.extra = {"names": list(people.names), "notice": people.notice or model.notice, "source": source}
        made = make_plan(run, config, people, model, start)
        run.extra |= {"face_model": model.name, **made.extra}
        run.track(**{config.kind: made.model}, **made.optimisers)
        asked = judges is not None and made.hears is not None
        jury = held_out(judges, people, made.hears) if asked and judges is not None else None
        rate = make_schedule(config)
        made.ready()
        for step in run.steps(plan.max_iter, save_every=plan.save_every):
            if plan.validate_every > 0 and step % plan.validate_every == 0:
                validate(run, step, made, config, jury)
            for name, optimiser in made.optimisers.items():
                set_learning_rate(optimiser, rate(step) * made.share(name, step))
            terms = made.step(step)
            run.log(step, {"total_loss": sum(terms.values()), **terms, "lr": rate(step)})
        if plan.validate_every > 0:
            validate(run, plan.max_iter, made, config, jury)
        state = made.model.state_dict()
        kept = {key: value for key, value in state.items() if not key.startswith(made.left_out)}
        return run.finish(kept, kind=config.kind)


def validate(
    run: "Run", step: int, made: "Plan", config: "PerceptionistConfig", jury: "HeldOut | None"
) -> dict[str, float]:
    """Judge the model by held-out people and log it; modes and random states are as before afterwards."""
    from perceptionist.validation import judge

    if jury is None or made.hears is None:
        return {}
    drifts = config.training.voice_network == "batch_statistics"
    made.model.eval()
    made.hears.voice.train(drifts)
    found = judge(made.hears, jury, config.evaluation, **({"batch": 1} if drifts else {}))
    made.ready()
    run.log(step, found, always=True, prefix="val/")
    return found


def make_schedule(config: "PerceptionistConfig") -> Callable[[int], float]:
    """Iteration (from 0) -> learning rate of its step."""
    from voiceface.training.lr_schedules import cosine_warmup, step_decay

    plan, lr, steps = config.schedule, config.optimiser.lr, config.training.max_iter
    late = cosine_warmup(lr, steps) if plan.kind == "cosine" else step_decay(lr, (), 1.0)
    if plan.kind == "step":
        late = step_decay(lr, plan.milestones, plan.factor)
    return lambda step: late(step) * (plan.warm_up_share if step < plan.warm_up else 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """`perceptionist train`."""
    parser = argparse.ArgumentParser(
        prog="perceptionist train",
        description="Train an image-to-3D expert, a voice network, the supervised head, or the unsupervised "
        "cascade, as the configuration's kind says. A run goes on with --resume.",
    )
    arguments.add_training_flags(
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
    from perceptionist.face_models.io import open_face_model
    from perceptionist.training_stages import Start

    keep_freed_memory()
    config = load_config(args.cfg, PerceptionistConfig, "perceptionist", args.override)
    arguments.require_given({"expert": args.expert, "voice-network": args.voice_network, "truth": args.truth})
    model = open_face_model(args.face_model)
    weights = train(
        config,
        _people(args, "train", config, model),
        args.out,
        judges=_people(args, "val", config, model) if _judged(config) else None,
        start=Start(args.expert, args.voice_network),
        face_model=model,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
    )
    print(f"weights: {weights}")
    return 0


def _judged(config: "PerceptionistConfig") -> bool:
    return config.training.validate_every > 0 and config.kind not in ("expert", "speaker")


def _people(
    args: argparse.Namespace, split: str, config: "PerceptionistConfig", model: "LinearFaceModel"
) -> "People":
    """The people of a split that the flags name."""
    from perceptionist.dataset.open import open_people
    from perceptionist.dataset.synthetic import invented_people

    data = config.data
    if args.population:
        return invented_people(args.population, split, model, data.speech)
    heard = config.kind != "expert"
    return open_people(
        args.data, split, model, data.speech, truth=args.truth, voices=heard, in_memory=data.in_memory
    )


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("perceptionist.train", None))
