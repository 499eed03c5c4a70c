"""Train a judge of invented faces: `python -m voiceface.synthetic.readers.training --out FILE`.

It learns from invented people of no preset: two pictures of one person must lie close together and away from
everybody else's, and sex, factors, shape and skin are learnt from the truth. The bundled files were made by

    python -m voiceface.synthetic.readers.training \
        --out judge.safetensors --first 1000000 --seed 1 --precision bfloat16
    python -m voiceface.synthetic.readers.training \
        --out perceptual.safetensors --first 2000000 --people 5000 --steps 1100 --seed 2 --precision bfloat16

The same command gives the same file on the same machine with the same number of threads.
"""

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from voiceface.runtime.config import Config, to_dict

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.synthetic.readers.attribute_reader import Judge, Reading
    from voiceface.synthetic.readers.data import FaceSet

logger = logging.getLogger(__name__)

CHECKED = 300  # unseen people, right behind the training people, on whom R squared is measured


class JudgeTraining(Config):
    """How a judge is trained."""

    first: int = Field(1_000_000, ge=100_000, description="number of the first training identity")
    people: int = Field(8000, ge=4, description="training identities")
    steps: int = Field(1800, ge=1, description="steps of training")
    batch: int = Field(128, ge=2, description="people of a step, two pictures each")
    rate: float = Field(3e-3, gt=0, description="highest learning rate of AdamW; falls along half a cosine")
    decay: float = Field(0.05, ge=0, description="weight decay")
    seed: int = Field(1, ge=0, description="seed of weights and draws")
    identity: float = Field(0.5, ge=0, description="weight of telling people apart")
    sex: float = Field(0.5, ge=0, description="weight of the sex")
    factors: float = Field(2.0, ge=0, description="weight of the factors")
    shape: float = Field(1.5, ge=0, description="weight of the shape")
    skin: float = Field(0.5, ge=0, description="weight of the skin's colour")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the convolutions; bfloat16 halves the time where the processor has it"
    )


def train_judge(
    config: JudgeTraining,
    faces: "FaceSet",
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> "Judge":
    """Train one judge.

    Args:
        config: how.
        faces: training people.
        report: told the step and the losses, 50 times.

    Returns:
        The judge without batch normalisation, frozen.
    """
    import torch

    from voiceface.synthetic.readers.attribute_reader import Judge, whole
    from voiceface.synthetic.readers.data import draw_pairs, jitter, mirrored_shape
    from voiceface.training.lr_schedules import cosine_warmup, set_learning_rate

    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    judge = Judge(normalised=True).to(memory_format=torch.channels_last).train()
    _start_at_means(judge, faces)
    scale = torch.nn.Parameter(torch.tensor(2.5))  # logarithm of what cosines are multiplied by
    weights = [*judge.parameters(), scale]
    flat = [weight for weight in weights if weight.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1]},
        {"params": flat, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.decay)
    rate = cosine_warmup(config.rate, config.steps, min(50, config.steps - 1))
    spread = faces.skin.var(0)
    for step in range(config.steps):
        rows, one, two = draw_pairs(faces, config.batch, generator)
        pictures, mirrored = jitter(faces.pictures[torch.cat([one, two])], generator)
        rows = rows.repeat(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            reading = whole(judge(pictures.contiguous(memory_format=torch.channels_last)))
        shape, known = mirrored_shape(faces.shape[rows], mirrored)
        losses = {
            "identity": pair_loss(reading.embedding, scale.clamp(max=3.7).exp()),
            **trait_losses(
                reading, faces.sex[rows], faces.factors[rows], shape, known, faces.skin[rows], spread
            ),
        }
        total = sum(getattr(config, name) * loss for name, loss in losses.items())
        set_learning_rate(optimiser, rate(step))
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
        if report and (step % max(1, config.steps // 50) == 0 or step == config.steps - 1):
            report(step, {name: float(loss.detach()) for name, loss in losses.items()})
    return judge.eval().fused()


def pair_loss(embedding: "Tensor", scale: "Tensor | float") -> "Tensor":
    """Cross-entropy of finding a person's other picture among the second pictures of all, both ways.

    Args:
        embedding: (2 P, D) unit rows: first pictures of P people, then their second pictures.
        scale: what cosines are multiplied by.
    """
    import torch
    from torch.nn import functional as F

    one, two = embedding.chunk(2)
    cosines = scale * one @ two.T
    right = torch.arange(len(one), device=embedding.device)
    return (F.cross_entropy(cosines, right) + F.cross_entropy(cosines.T, right)) / 2


def trait_losses(
    reading: "Reading",
    sex: "Tensor",
    factors: "Tensor",
    shape: "Tensor",
    known: "Tensor",
    skin: "Tensor",
    spread: "Tensor",
) -> dict[str, "Tensor"]:
    """How far sex, factors, shape and skin are from the truth.

    Args:
        reading: of B pictures.
        sex: (B,) 1 = man.
        factors: (B, 8).
        shape: (B, 40). known: (B, 40), 1 where the coefficient is known.
        skin: (B, 3). spread: (3,) variance of the skin's colour over people, which sets its scale.
    """
    from torch.nn import functional as F

    return {
        "sex": F.binary_cross_entropy_with_logits(reading.sex_logit, sex),
        "factors": F.mse_loss(reading.factors, factors),
        "shape": ((reading.shape - shape).square() * known).sum() / known.sum(),
        "skin": ((reading.skin - skin).square() / spread).mean(),
    }


def measure(judge: "Judge", faces: "FaceSet") -> None:
    """Set `factor_r2` and `shape_r2` of a judge (in place) from people it has never seen."""
    import torch

    from voiceface.synthetic.readers.attribute_reader import read

    person = torch.arange(len(faces)).repeat_interleave(faces.count)
    reading = read(judge, faces.pictures)
    for buffer, found, truth in (
        (judge.factor_r2, reading.factors, faces.factors[person]),
        (judge.shape_r2, reading.shape, faces.shape[person]),
    ):
        residual, whole = torch.zeros(()), torch.zeros(())
        for sex in (0, 1):
            mine = faces.sex[person] == sex
            residual = residual + (found[mine] - truth[mine]).square().sum(0)
            whole = whole + (truth[mine] - truth[mine].mean(0)).square().sum(0)
        buffer.copy_((1 - residual / whole).clamp(min=0))


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pictures, train, measure, write."""
    default = JudgeTraining()
    parser = argparse.ArgumentParser(
        prog="python -m voiceface.synthetic.readers.training",
        description="Train a judge of invented faces.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of weights and draws")
    parser.add_argument(
        "--first", type=int, default=default.first, help="number of the first training identity"
    )
    parser.add_argument("--people", type=int, default=default.people, help="training identities")
    parser.add_argument("--steps", type=int, default=default.steps, help="steps of training")
    parser.add_argument("--batch", type=int, default=default.batch, help="people of a step")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default=default.precision, help="of the convolutions"
    )
    parser.add_argument("--threads", type=int, default=1, help="processes that draw, threads that train")
    words = parser.parse_args(argv)
    config = JudgeTraining(
        **{name: getattr(words, name) for name in ("seed", "first", "people", "steps", "batch", "precision")}
    )
    train_file(config, words.out, threads=words.threads)
    return 0


def train_file(config: JudgeTraining, out: Path, *, threads: int = 1) -> None:
    """Train a judge and write it.

    Raises:
        ValueError: `out` has another suffix than .safetensors, or `config` cannot be used.
    """
    import torch

    from voiceface.synthetic.readers.attribute_reader import save
    from voiceface.synthetic.readers.data import make_faces

    if out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {out}")
    torch.set_num_threads(threads)
    start = time.perf_counter()
    faces = make_faces(config.first, config.people, workers=threads)
    logger.info(
        "%d pictures of %d people, %.0f s", len(faces.pictures), len(faces), time.perf_counter() - start
    )

    def report(step: int, losses: dict[str, float]) -> None:
        text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        logger.info("step %d of %d, %.0f s: %s", step + 1, config.steps, time.perf_counter() - start, text)

    judge = train_judge(config, faces, report)
    del faces
    measure(judge, make_faces(config.first + config.people, CHECKED, workers=threads, progress=False))
    extra = described(judge)
    save(judge, out, training=to_dict(config), extra=extra)
    logger.info("%s: %.2f MB, %s, %s", out, out.stat().st_size / 1e6, *extra.values())


def described(judge: "Judge") -> dict[str, str]:
    """What a file says of a measured judge."""
    return {
        "factors": f"R squared {float(judge.factor_r2.mean()):.3f} on {CHECKED} unseen people",
        "shape": f"{int(judge.readable.sum())} of {len(judge.readable)} coefficients readable",
    }


def _start_at_means(judge: "Judge", faces: "FaceSet") -> None:
    """Let the readings start at the mean of everybody."""
    import torch

    with torch.no_grad():
        judge.traits.bias.zero_()
        judge.traits.bias[-3:] = faces.skin.mean(0)
        judge.traits.weight[-3:] *= 0.1


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.synthetic.readers.training", None))
