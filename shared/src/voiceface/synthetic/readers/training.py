"""Train an attribute reader of synthetic faces: `python -m voiceface.synthetic.readers.training --out FILE`.

It is trained on synthetic identities of no preset: contrastively on two images of each identity, and
supervised by sex, factors, shape and skin colour. The bundled files were written by

    python -m voiceface.synthetic.readers.training \
        --out evaluation.safetensors --first-id 1000000 --seed 1 --precision bfloat16
    python -m voiceface.synthetic.readers.training \
        --out perceptual.safetensors --first-id 2000000 --num-identities 5000 --max-steps 1100 --seed 2
        --precision bfloat16

The same command writes the same file on the same machine with the same number of threads.
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

__all__ = [
    "NUM_CHECK_IDENTITIES",
    "ReaderTrainingConfig",
    "attribute_losses",
    "contrastive_loss",
    "describe_reader",
    "main",
    "measure_r2",
    "train_and_save",
    "train_reader",
]

logger = logging.getLogger(__name__)

NUM_CHECK_IDENTITIES = 300  # unseen identities behind R², numbered after the training identities


class ReaderTrainingConfig(Config):
    """Training configuration of an attribute reader."""

    first_id: int = Field(1_000_000, ge=100_000, description="number of the first training identity")
    num_identities: int = Field(8000, ge=4, description="training identities")
    max_steps: int = Field(1800, ge=1, description="training steps")
    batch_size: int = Field(128, ge=2, description="identities per step, two images each")
    learning_rate: float = Field(3e-3, gt=0, description="maximum learning rate of AdamW; cosine decay")
    weight_decay: float = Field(0.05, ge=0, description="weight decay")
    seed: int = Field(1, ge=0, description="random seed of weights and sampling")
    identity: float = Field(0.5, ge=0, description="weight of the contrastive loss")
    sex: float = Field(0.5, ge=0, description="weight of the sex loss")
    factors: float = Field(2.0, ge=0, description="weight of the factor loss")
    shape: float = Field(1.5, ge=0, description="weight of the shape loss")
    skin: float = Field(0.5, ge=0, description="weight of the skin colour loss")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the convolutions; bfloat16 halves the time on processors that support it"
    )


def train_reader(
    config: ReaderTrainingConfig,
    dataset: "FaceDataset",
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> "AttributeReader":
    """Train one attribute reader.

    Args:
        config: training configuration.
        dataset: training identities.
        on_progress: called with step and losses, about 50 times.

    Returns:
        The frozen attribute reader without batch normalisation.
    """
    import torch

    from voiceface.synthetic.readers.attribute_reader import AttributeReader, to_float32
    from voiceface.synthetic.readers.data import augment_images, mirror_shape, sample_image_pairs
    from voiceface.training.lr_schedules import cosine_warmup, set_learning_rate

    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    reader = AttributeReader(batch_norm=True).to(memory_format=torch.channels_last).train()
    _initialise_at_means(reader, dataset)
    log_scale = torch.nn.Parameter(torch.tensor(2.5))  # logarithm of the factor on cosines
    weights = [*reader.parameters(), log_scale]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1]},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    learning_rate = cosine_warmup(config.learning_rate, config.max_steps, min(50, config.max_steps - 1))
    skin_variance = dataset.skin.var(0)
    for step in range(config.max_steps):
        rows, first, second = sample_image_pairs(dataset, config.batch_size, generator)
        images, mirrored = augment_images(dataset.images[torch.cat([first, second])], generator)
        rows = rows.repeat(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            prediction = to_float32(reader(images.contiguous(memory_format=torch.channels_last)))
        shape, shape_mask = mirror_shape(dataset.shape[rows], mirrored)
        sex, factors, skin = dataset.sex[rows], dataset.factors[rows], dataset.skin[rows]
        losses = {
            "identity": contrastive_loss(prediction.embedding, log_scale.clamp(max=3.7).exp()),
            **attribute_losses(prediction, sex, factors, shape, shape_mask, skin, skin_variance),
        }
        total = sum(getattr(config, name) * loss for name, loss in losses.items())
        set_learning_rate(optimiser, learning_rate(step))
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
        if on_progress and (step % max(1, config.max_steps // 50) == 0 or step == config.max_steps - 1):
            on_progress(step, {name: float(loss.detach()) for name, loss in losses.items()})
    return reader.eval().fuse_batchnorm()


def contrastive_loss(embedding: "Tensor", scale: "Tensor | float") -> "Tensor":
    """Compute the symmetric cross-entropy of matching first and second images.

    Args:
        embedding: (2 P, D) unit rows: first images of P identities, then their second images.
        scale: factor on cosines.
    """
    import torch
    from torch.nn import functional as F

    first, second = embedding.chunk(2)
    logits = scale * first @ second.T
    labels = torch.arange(len(first), device=embedding.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def attribute_losses(
    prediction: "AttributePrediction",
    sex: "Tensor",
    factors: "Tensor",
    shape: "Tensor",
    shape_mask: "Tensor",
    skin: "Tensor",
    skin_variance: "Tensor",
) -> dict[str, "Tensor"]:
    """Compute the losses of sex, factors, shape and skin colour.

    Args:
        prediction: of B images.
        sex: (B,) 1 = male.
        factors: (B, 8).
        shape: (B, 40).
        shape_mask: (B, 40), 1 where the coefficient is defined.
        skin: (B, 3).
        skin_variance: (3,) variance over identities, which scales the skin loss.
    """
    from torch.nn import functional as F

    return {
        "sex": F.binary_cross_entropy_with_logits(prediction.sex_logit, sex),
        "factors": F.mse_loss(prediction.factors, factors),
        "shape": ((prediction.shape - shape).square() * shape_mask).sum() / shape_mask.sum(),
        "skin": ((prediction.skin - skin).square() / skin_variance).mean(),
    }


def measure_r2(reader: "AttributeReader", dataset: "FaceDataset") -> None:
    """Measure `factor_r2` and `shape_r2` of an attribute reader on unseen identities, in place."""
    import torch

    from voiceface.synthetic.readers.attribute_reader import predict_batched

    identity = torch.arange(len(dataset)).repeat_interleave(dataset.num_images)
    prediction = predict_batched(reader, dataset.images)
    for buffer, predicted, target in (
        (reader.factor_r2, prediction.factors, dataset.factors[identity]),
        (reader.shape_r2, prediction.shape, dataset.shape[identity]),
    ):
        residual, total = torch.zeros(()), torch.zeros(())
        for sex in (0, 1):
            rows = dataset.sex[identity] == sex
            residual = residual + (predicted[rows] - target[rows]).square().sum(0)
            total = total + (target[rows] - target[rows].mean(0)).square().sum(0)
        buffer.copy_((1 - residual / total).clamp(min=0))


def main(argv: Sequence[str] | None = None) -> int:
    """Render images, train, measure and save an attribute reader."""
    default = ReaderTrainingConfig()
    parser = argparse.ArgumentParser(
        prog="python -m voiceface.synthetic.readers.training",
        description="Train an attribute reader of synthetic faces.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="output file, .safetensors")
    parser.add_argument("--seed", type=int, default=default.seed, help="random seed of weights and sampling")
    parser.add_argument(
        "--first-id", type=int, default=default.first_id, help="number of the first training identity"
    )
    parser.add_argument(
        "--num-identities", type=int, default=default.num_identities, help="training identities"
    )
    parser.add_argument("--max-steps", type=int, default=default.max_steps, help="training steps")
    parser.add_argument(
        "--batch", dest="batch_size", type=int, default=default.batch_size, help="identities per step"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default=default.precision,
        help="precision of the convolutions",
    )
    parser.add_argument("--threads", type=int, default=1, help="processes that render, threads that train")
    args = vars(parser.parse_args(argv))
    out, threads = args.pop("out"), args.pop("threads")
    train_and_save(ReaderTrainingConfig(**args), out, threads=threads)
    return 0


def train_and_save(config: ReaderTrainingConfig, out: Path, *, threads: int = 1) -> None:
    """Train an attribute reader, measure it on unseen identities and save it.

    Raises:
        ValueError: `out` does not end in .safetensors, or the configuration is invalid.
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

    reader = train_reader(config, faces, report)
    del faces
    measure_r2(
        reader,
        generate_face_dataset(
            config.first_id + config.num_identities, NUM_CHECK_IDENTITIES, workers=threads, progress=False
        ),
    )
    extra = describe_reader(reader)
    save_reader(reader, out, training_config=to_dict(config), metadata=extra)
    logger.info("%s: %.2f MB, %s, %s", out, out.stat().st_size / 1e6, *extra.values())


def describe_reader(reader: "AttributeReader") -> dict[str, str]:
    """Describe a measured attribute reader for the metadata of its file."""
    r2 = float(reader.factor_r2.mean())
    return {
        "factors": f"R squared {r2:.3f} on {NUM_CHECK_IDENTITIES} unseen identities",
        "shape": f"{int(reader.readable_shape.sum())} of {len(reader.readable_shape)} coefficients readable",
    }


def _initialise_at_means(reader: "AttributeReader", dataset: "FaceDataset") -> None:
    """Initialise the predictions at the means over all identities."""
    import torch

    with torch.no_grad():
        reader.traits.bias.zero_()
        reader.traits.bias[-3:] = dataset.skin.mean(0)
        reader.traits.weight[-3:] *= 0.1


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.synthetic.readers.training", None))
