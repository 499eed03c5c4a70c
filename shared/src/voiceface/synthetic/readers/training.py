"""Train an attribute reader of synthetic faces: `python -m voiceface.synthetic.readers.training --out FILE`.

It learns from synthetic identities of no preset: two images of one identity must lie close together and away
from all identities else's, and sex, factors, shape and skin are learnt from the truth. The bundled files were
made by

    python -m voiceface.synthetic.readers.training \
        --out evaluation.safetensors --first-id 1000000 --seed 1 --precision bfloat16
    python -m voiceface.synthetic.readers.training \
        --out perceptual.safetensors --first-id 2000000 --num-identities 5000 --max-steps 1100 --seed 2
        --precision bfloat16

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

    from voiceface.synthetic.readers.attribute_reader import AttributePrediction, AttributeReader
    from voiceface.synthetic.readers.data import FaceDataset

logger = logging.getLogger(__name__)

NUM_CHECK_IDENTITIES = (
    300  # unseen identities, right behind the training identities, on whom R squared is measured
)


class ReaderTrainingConfig(Config):
    """How an attribute reader is trained."""

    first_id: int = Field(1_000_000, ge=100_000, description="number of the first training identity")
    num_identities: int = Field(8000, ge=4, description="training identities")
    max_steps: int = Field(1800, ge=1, description="steps of training")
    batch_size: int = Field(128, ge=2, description="identities of a step, two images each")
    learning_rate: float = Field(
        3e-3, gt=0, description="highest learning rate of AdamW; falls along half a cosine"
    )
    weight_decay: float = Field(0.05, ge=0, description="weight decay")
    seed: int = Field(1, ge=0, description="seed of weights and draws")
    identity: float = Field(0.5, ge=0, description="weight of telling identities apart")
    sex: float = Field(0.5, ge=0, description="weight of the sex")
    factors: float = Field(2.0, ge=0, description="weight of the factors")
    shape: float = Field(1.5, ge=0, description="weight of the shape")
    skin: float = Field(0.5, ge=0, description="weight of the skin's colour")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the convolutions; bfloat16 halves the time where the processor has it"
    )


def train_reader(
    config: ReaderTrainingConfig,
    dataset: "FaceDataset",
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> "AttributeReader":
    """Train one attribute reader.

    Args:
        config: how.
        dataset: training identities.
        on_progress: told the step and the losses, 50 times.

    Returns:
        The attribute reader without batch normalisation, frozen.
    """
    import torch

    from voiceface.synthetic.readers.attribute_reader import AttributeReader, to_float32
    from voiceface.synthetic.readers.data import augment_images, mirror_shape, sample_image_pairs
    from voiceface.training.lr_schedules import cosine_warmup, set_learning_rate

    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    judge = AttributeReader(batch_norm=True).to(memory_format=torch.channels_last).train()
    _initialise_at_means(judge, dataset)
    scale = torch.nn.Parameter(torch.tensor(2.5))  # logarithm of what cosines are multiplied by
    weights = [*judge.parameters(), scale]
    flat = [weight for weight in weights if weight.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1]},
        {"params": flat, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    rate = cosine_warmup(config.learning_rate, config.max_steps, min(50, config.max_steps - 1))
    spread = dataset.skin.var(0)
    for step in range(config.max_steps):
        rows, one, two = sample_image_pairs(dataset, config.batch_size, generator)
        pictures, mirrored = augment_images(dataset.images[torch.cat([one, two])], generator)
        rows = rows.repeat(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            reading = to_float32(judge(pictures.contiguous(memory_format=torch.channels_last)))
        shape, known = mirror_shape(dataset.shape[rows], mirrored)
        losses = {
            "identity": contrastive_loss(reading.embedding, scale.clamp(max=3.7).exp()),
            **attribute_losses(
                reading, dataset.sex[rows], dataset.factors[rows], shape, known, dataset.skin[rows], spread
            ),
        }
        total = sum(getattr(config, name) * loss for name, loss in losses.items())
        set_learning_rate(optimiser, rate(step))
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
        if on_progress and (step % max(1, config.max_steps // 50) == 0 or step == config.max_steps - 1):
            on_progress(step, {name: float(loss.detach()) for name, loss in losses.items()})
    return judge.eval().fuse_batchnorm()


def contrastive_loss(embedding: "Tensor", scale: "Tensor | float") -> "Tensor":
    """Cross-entropy of finding an identity's other image among the second images of all, both ways.

    Args:
        embedding: (2 P, D) unit rows: first images of P identities, then their second images.
        scale: what cosines are multiplied by.
    """
    import torch
    from torch.nn import functional as F

    one, two = embedding.chunk(2)
    cosines = scale * one @ two.T
    right = torch.arange(len(one), device=embedding.device)
    return (F.cross_entropy(cosines, right) + F.cross_entropy(cosines.T, right)) / 2


def attribute_losses(
    prediction: "AttributePrediction",
    sex: "Tensor",
    factors: "Tensor",
    shape: "Tensor",
    shape_mask: "Tensor",
    skin: "Tensor",
    skin_variance: "Tensor",
) -> dict[str, "Tensor"]:
    """How far sex, factors, shape and skin are from the truth.

    Args:
        prediction: of B images.
        sex: (B,) 1 = man.
        factors: (B, 8).
        shape: (B, 40). known: (B, 40), 1 where the coefficient is known.
        skin: (B, 3). spread: (3,) variance of the skin's colour over identities, which sets its scale.
    """
    from torch.nn import functional as F

    return {
        "sex": F.binary_cross_entropy_with_logits(prediction.sex_logit, sex),
        "factors": F.mse_loss(prediction.factors, factors),
        "shape": ((prediction.shape - shape).square() * shape_mask).sum() / shape_mask.sum(),
        "skin": ((prediction.skin - skin).square() / skin_variance).mean(),
    }


def measure_r2(reader: "AttributeReader", dataset: "FaceDataset") -> None:
    """Set `factor_r2` and `shape_r2` of an attribute reader (in place) from identities it has never seen."""
    import torch

    from voiceface.synthetic.readers.attribute_reader import predict_batched

    person = torch.arange(len(dataset)).repeat_interleave(dataset.num_images)
    reading = predict_batched(reader, dataset.images)
    for buffer, found, truth in (
        (reader.factor_r2, reading.factors, dataset.factors[person]),
        (reader.shape_r2, reading.shape, dataset.shape[person]),
    ):
        residual, whole = torch.zeros(()), torch.zeros(())
        for sex in (0, 1):
            mine = dataset.sex[person] == sex
            residual = residual + (found[mine] - truth[mine]).square().sum(0)
            whole = whole + (truth[mine] - truth[mine].mean(0)).square().sum(0)
        buffer.copy_((1 - residual / whole).clamp(min=0))


def main(argv: Sequence[str] | None = None) -> int:
    """Make the images, train, measure, write."""
    default = ReaderTrainingConfig()
    parser = argparse.ArgumentParser(
        prog="python -m voiceface.synthetic.readers.training",
        description="Train an attribute reader of synthetic faces.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of weights and draws")
    parser.add_argument(
        "--first-id", type=int, default=default.first_id, help="number of the first training identity"
    )
    parser.add_argument(
        "--num-identities", type=int, default=default.num_identities, help="training identities"
    )
    parser.add_argument("--max-steps", type=int, default=default.max_steps, help="steps of training")
    parser.add_argument(
        "--batch", dest="batch_size", type=int, default=default.batch_size, help="people of a step"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default=default.precision, help="of the convolutions"
    )
    parser.add_argument("--threads", type=int, default=1, help="processes that draw, threads that train")
    words = parser.parse_args(argv)
    config = ReaderTrainingConfig(
        **{
            name: getattr(words, name)
            for name in ("seed", "first_id", "num_identities", "max_steps", "batch_size", "precision")
        }
    )
    train_and_save(config, words.out, threads=words.threads)
    return 0


def train_and_save(config: ReaderTrainingConfig, out: Path, *, threads: int = 1) -> None:
    """Train an attribute reader and write it.

    Raises:
        ValueError: `out` has another suffix than .safetensors, or `config` cannot be used.
    """
    import torch

    from voiceface.synthetic.readers.attribute_reader import save_reader
    from voiceface.synthetic.readers.data import generate_face_dataset

    if out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {out}")
    torch.set_num_threads(threads)
    start = time.perf_counter()
    faces = generate_face_dataset(config.first_id, config.num_identities, workers=threads)
    logger.info(
        "%d images of %d identities, %.0f s", len(faces.images), len(faces), time.perf_counter() - start
    )

    def report(step: int, losses: dict[str, float]) -> None:
        text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        logger.info(
            "step %d of %d, %.0f s: %s", step + 1, config.max_steps, time.perf_counter() - start, text
        )

    judge = train_reader(config, faces, report)
    del faces
    measure_r2(
        judge,
        generate_face_dataset(
            config.first_id + config.num_identities, NUM_CHECK_IDENTITIES, workers=threads, progress=False
        ),
    )
    extra = describe_reader(judge)
    save_reader(judge, out, training_config=to_dict(config), metadata=extra)
    logger.info("%s: %.2f MB, %s, %s", out, out.stat().st_size / 1e6, *extra.values())


def describe_reader(reader: "AttributeReader") -> dict[str, str]:
    """What a file says of a measured attribute reader."""
    return {
        "factors": f"R squared {float(reader.factor_r2.mean()):.3f} on {NUM_CHECK_IDENTITIES} unseen "
        "identities",
        "shape": f"{int(reader.readable_shape.sum())} of {len(reader.readable_shape)} coefficients readable",
    }


def _initialise_at_means(reader: "AttributeReader", dataset: "FaceDataset") -> None:
    """Let the readings start at the mean of all identities."""
    import torch

    with torch.no_grad():
        reader.traits.bias.zero_()
        reader.traits.bias[-3:] = dataset.skin.mean(0)
        reader.traits.weight[-3:] *= 0.1


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.synthetic.readers.training", None))
