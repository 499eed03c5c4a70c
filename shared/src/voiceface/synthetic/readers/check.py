"""Measure attribute readers on unseen identities: `python -m voiceface.synthetic.readers.check`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.synthetic.head.geometry_truth import FaceGroundTruth
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

__all__ = ["BLUR_SIGMAS", "GALLERY_SIZE", "ReaderMetrics", "evaluate_reader", "format_metrics_table", "main"]

Array = NDArray[np.float64]

GALLERY_SIZE = 100
BLUR_SIGMAS = (0.0, 1.0, 2.0)  # Gaussian blur, in pixels of an image of 64


@dataclass(frozen=True)
class ReaderMetrics:
    """Metrics of an attribute reader on unseen identities, from single images.

    Attributes:
        auc: verification AUC over all pairs of images.
        auc_same_gender: the same over pairs of one sex.
        identification_rates: rank-1 and rank-10 identification in a gallery of 100 identities with one other
            image each.
        mean_gallery_identification_rates: the same with the mean embedding of all other images of each
            identity.
        sex_accuracy: fraction of images with the right sex.
        factor_r2: (8,) R² within a sex.
        shape_r2: (40,) R² of the shape coefficients within a sex.
        skin_r2: R² of the skin colour, mean of the channels.
    """

    auc: float
    auc_same_gender: float
    identification_rates: tuple[float, float]
    mean_gallery_identification_rates: tuple[float, float]
    sex_accuracy: float
    factor_r2: Array
    shape_r2: Array
    skin_r2: float


def evaluate_reader(reader: "AttributeReader", images: "Tensor", truth: "FaceGroundTruth") -> ReaderMetrics:
    """Measure an attribute reader.

    Args:
        reader: a trained attribute reader.
        images: (N, P, 3, S, S), P > 1, floating point in [0, 1] or uint8.
        truth: ground truth of the N identities.
    """
    from voiceface.synthetic.agreement import agreement

    prediction = agreement.predict_identities(reader, images)
    auc, auc_same_gender = _verification_aucs(prediction.embedding, truth.sex)
    correct = (prediction.sex_logit.numpy() > 0) == (truth.sex[:, None] == 1)
    return ReaderMetrics(
        auc=auc,
        auc_same_gender=auc_same_gender,
        identification_rates=_identification_rates(prediction.embedding, single_image=True),
        mean_gallery_identification_rates=_identification_rates(prediction.embedding, single_image=False),
        sex_accuracy=float(correct.mean()),
        factor_r2=_within_group_r2(prediction.factors, truth.factors, truth.sex),
        shape_r2=_within_group_r2(prediction.shape, truth.shape, truth.sex),
        skin_r2=float(_within_group_r2(prediction.skin, truth.skin, np.zeros(len(truth))).mean()),
    )


def _within_group_r2(predicted: "Tensor", target: Array, group: NDArray[np.generic]) -> Array:
    """Compute R² (F,) of predictions (N, P, F) about the groups' true means."""
    values = predicted.double().numpy()
    residual = np.square(values - target[:, None]).mean((0, 1))
    means = np.stack([target[group == label].mean(0) for label in group.tolist()])
    return np.asarray(1 - residual / np.square(target - means).mean(0))


def _verification_aucs(embedding: "Tensor", sex: NDArray[np.int64]) -> tuple[float, float]:
    """Compute the AUC over all pairs of images (N, P, D), unrestricted and within a sex."""
    import torch

    from voiceface.metrics.verification import verification_auc

    num_identities, num_images = embedding.shape[:2]
    rows = embedding.flatten(0, 1)
    identity = torch.arange(num_identities).repeat_interleave(num_images)
    gender = torch.as_tensor(sex).repeat_interleave(num_images)
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    scores, labels = (rows @ rows.T)[first, second], (identity[first] == identity[second]).int()
    same_gender = gender[first] == gender[second]
    unrestricted = verification_auc(scores, labels)
    return float(unrestricted), float(verification_auc(scores[same_gender], labels[same_gender]))


def _identification_rates(embedding: "Tensor", *, single_image: bool) -> tuple[float, float]:
    """Compute expected rank-1 and rank-10 identification over random galleries of 100 identities.

    Args:
        embedding: (N, P, D); each image is a probe once.
        single_image: the gallery has the next image of each identity, else the mean of all others.
    """
    from scipy.stats import hypergeom
    from torch.nn.functional import normalize

    num_identities, num_images = embedding.shape[:2]
    num_impostors = min(GALLERY_SIZE, num_identities) - 1
    values = embedding.double()
    rates = np.zeros(2)
    for index in range(num_images):
        if single_image:
            gallery = values[:, (index + 1) % num_images]
        else:
            gallery = normalize(values.sum(1) - values[:, index], dim=1)
        scores = values[:, index] @ gallery.T
        better = (scores > scores.diagonal()[:, None]).sum(1).numpy()
        rates += [hypergeom.cdf(k - 1, num_identities - 1, better, num_impostors).mean() for k in (1, 10)]
    return float(rates[0] / num_images), float(rates[1] / num_images)


def format_metrics_table(metrics: dict[str, ReaderMetrics]) -> str:
    """Format a line per measurement, then R² per factor and shape coefficient."""
    from voiceface.synthetic.head.shape_space import SHAPE_NAMES
    from voiceface.synthetic.identities import FACTORS

    width = max(map(len, metrics)) + 1
    header = (
        *("AUC", "same sex", "rank 1", "rank 10", "mean, 1", "mean, 10"),
        *("sex", "factors", "shape", "skin"),
    )
    lines = [f"{'':{width}}" + "".join(f"{word:>9}" for word in header)]
    for name, each in metrics.items():
        numbers = (
            *(each.auc, each.auc_same_gender, *each.identification_rates),
            *(*each.mean_gallery_identification_rates, each.sex_accuracy),
            *(float(each.factor_r2.mean()), float(each.shape_r2.mean()), each.skin_r2),
        )
        lines.append(f"{name:{width}}" + "".join(f"{number:9.3f}" for number in numbers))
    lines += ["", f"{'R²':{width}}" + "".join(f"{name:>11}" for name in FACTORS)]
    for name, each in metrics.items():
        lines.append(f"{name:{width}}" + "".join(f"{value:11.2f}" for value in each.factor_r2))
    name, first = next(iter(metrics.items()))
    order = np.argsort(-first.shape_r2)
    lines += ["", f"shape, {name}:"]
    lines.append("  " + ", ".join(f"{SHAPE_NAMES[i]} {first.shape_r2[i]:.2f}" for i in order))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure attribute readers on the test identities of a preset."""
    parser = argparse.ArgumentParser(prog="python -m voiceface.synthetic.readers.check", description=__doc__)
    parser.add_argument("readers", nargs="*", help="bundled names or files (default: both bundled ones)")
    parser.add_argument("--preset", default="quick", help="preset of the test identities (default: quick)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render images (default: 1)")
    args = parser.parse_args(argv)
    import torch

    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.head.geometry_truth import generate_face_ground_truth
    from voiceface.synthetic.readers.attribute_reader import BUNDLED_READERS, load_reader
    from voiceface.synthetic.readers.data import gaussian_blur

    data = PopulationDataset(args.preset, "test", clips=0, workers=args.workers)
    truth = generate_face_ground_truth(data.settings, data.identities.ids.tolist())
    images = torch.from_numpy(data.images).permute(0, 1, 4, 2, 3).float() / 255.0
    metrics = {}
    for name in args.readers or BUNDLED_READERS:
        reader = load_reader(name)
        metrics[str(name)] = evaluate_reader(reader, images, truth)
        for sigma in BLUR_SIGMAS[1:]:
            blurred = gaussian_blur(images.flatten(0, 1), sigma * images.shape[-1] / 64)
            blurred = blurred.unflatten(0, images.shape[:2])
            metrics[f"{name} blur {sigma:g}"] = evaluate_reader(reader, blurred, truth)
    print(f"synthetic population {args.preset}: {len(data)} test identities, {images.shape[1]} images each")
    print(format_metrics_table(metrics))
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.synthetic.readers.check", None))
