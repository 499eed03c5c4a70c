"""How well an attribute reader reads identities it has never seen: `python -m
voiceface.synthetic.readers.check`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.synthetic.face.geometry_truth import FaceGroundTruth
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

Array = NDArray[np.float64]

GALLERY_SIZE = 100
# Sigma of a Gaussian blur in pixels of an image of 64.
BLUR_SIGMAS = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class ReaderMetrics:
    """What an attribute reader reaches on identities it has never seen, one image at a time.

    Attributes:
        auc: verification of two images: chance that a pair of one identity looks more alike than one of two.
        auc_same_gender: the same, both identities of one sex.
        identification_rates: share of images whose identity is first, and among the first ten, in a gallery
            of 100 identities with one other image each.
        mean_gallery_identification_rates: the same, with the mean embedding of all the other images of each
            identity.
        sex_accuracy: share of images with the right sex.
        factor_r2: (8,) R squared within a sex.
        shape_r2: (40,) the same of the shape coefficients.
        skin_r2: of the skin's colour, mean of the channels.
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
        images: (N, P, 3, S, S), P > 1, floating in [0, 1] or uint8.
        truth: of the N identities.
    """
    from voiceface.synthetic.agreement import agreement

    reading = agreement.predict_identities(reader, images)
    people, count = reading.sex_logit.shape
    sex = truth.sex[:, None].repeat(count, 1)
    auc, auc_same_sex = _verification_aucs(reading.embedding, truth.sex)
    right = (reading.sex_logit.numpy() > 0) == (sex == 1)
    return ReaderMetrics(
        auc=auc,
        auc_same_gender=auc_same_sex,
        identification_rates=_identification_rates(reading.embedding, single_image=True),
        mean_gallery_identification_rates=_identification_rates(reading.embedding, single_image=False),
        sex_accuracy=float(right.mean()),
        factor_r2=_within_group_r2(reading.factors, truth.factors, truth.sex),
        shape_r2=_within_group_r2(reading.shape, truth.shape, truth.sex),
        skin_r2=float(_within_group_r2(reading.skin, truth.skin, np.zeros(people)).mean()),
    )


def _within_group_r2(predicted: "Tensor", target: Array, group: NDArray[np.generic]) -> Array:
    """R squared (F,) of readings (N, P, F) about the groups' true means."""
    values = predicted.double().numpy()
    residual = np.square(values - target[:, None]).mean((0, 1))
    middle = np.stack([target[group == label].mean(0) for label in group.tolist()])
    return np.asarray(1 - residual / np.square(target - middle).mean(0))


def _verification_aucs(embedding: "Tensor", sex: NDArray[np.int64]) -> tuple[float, float]:
    """AUC over all pairs of images (N, P, D), anyone and within a sex."""
    import torch

    from voiceface.metrics.verification import verification_auc

    people, count = embedding.shape[:2]
    rows = embedding.flatten(0, 1)
    person, label = (torch.as_tensor(x).repeat_interleave(count) for x in (np.arange(people), sex))
    one, two = torch.triu_indices(len(rows), len(rows), 1)
    scores, same = (rows @ rows.T)[one, two], person[one] == person[two]
    alike = label[one] == label[two]
    return float(verification_auc(scores, same.int())), float(
        verification_auc(scores[alike], same[alike].int())
    )


def _identification_rates(embedding: "Tensor", *, single_image: bool) -> tuple[float, float]:
    """Expected recall at 1 and 10 over random galleries of 100 identities, every image asked once.

    Args:
        embedding: (N, P, D).
        single_image: look up by the next image of each identity, else by the mean of all others.
    """
    from scipy.stats import hypergeom
    from torch.nn.functional import normalize

    people, count = embedding.shape[:2]
    values = embedding.double()
    hits = np.zeros(2)
    for picture in range(count):
        if single_image:
            gallery = values[:, (picture + 1) % count]
        else:
            gallery = normalize(values.sum(1) - values[:, picture], dim=1)
        scores = values[:, picture] @ gallery.T
        above = (scores > scores.diagonal()[:, None]).sum(1).numpy()
        others = min(GALLERY_SIZE, people) - 1
        hits += [hypergeom.cdf(k - 1, people - 1, above, others).mean() for k in (1, 10)]
    return float(hits[0] / count), float(hits[1] / count)


def format_metrics_table(metrics: dict[str, ReaderMetrics]) -> str:
    """A line per measurement, the factors behind it."""
    from voiceface.synthetic.face.head_bases import SHAPE_NAMES
    from voiceface.synthetic.identities import FACTORS

    width = max(map(len, metrics)) + 1
    head = ("AUC", "same sex", "1st", "in 10", "by mean", "in 10", "sex", "factors", "shape", "skin")
    lines = [f"{'':{width}}" + "".join(f"{word:>9}" for word in head)]
    for name, found in metrics.items():
        numbers = (
            *(
                found.auc,
                found.auc_same_gender,
                *found.identification_rates,
                *found.mean_gallery_identification_rates,
                found.sex_accuracy,
            ),
            *(float(found.factor_r2.mean()), float(found.shape_r2.mean()), found.skin_r2),
        )
        lines.append(f"{name:{width}}" + "".join(f"{number:9.3f}" for number in numbers))
    lines += ["", f"{'R squared':{width}}" + "".join(f"{name:>11}" for name in FACTORS)]
    for name, found in metrics.items():
        lines.append(f"{name:{width}}" + "".join(f"{value:11.2f}" for value in found.factor_r2))
    first = next(iter(metrics.values()))
    order = np.argsort(-first.shape_r2)
    lines += ["", f"shape, {next(iter(metrics))}:"]
    lines.append("  " + ", ".join(f"{SHAPE_NAMES[i]} {first.shape_r2[i]:.2f}" for i in order))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure attribute readers on the test identities of a preset."""
    parser = argparse.ArgumentParser(prog="python -m voiceface.synthetic.readers.check", description=__doc__)
    parser.add_argument("readers", nargs="*", help="names or files; default: both bundled")
    parser.add_argument("--preset", default="quick", help="whose test identities read (default: quick)")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    words = parser.parse_args(argv)
    import torch

    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.face.geometry_truth import generate_face_ground_truth
    from voiceface.synthetic.readers.attribute_reader import BUNDLED_READERS, load_reader
    from voiceface.synthetic.readers.data import gaussian_blur

    data = PopulationDataset(words.preset, "test", clips=0, workers=words.workers)
    truth = generate_face_ground_truth(data.settings, data.identities.ids.tolist())
    pictures = torch.from_numpy(data.images).permute(0, 1, 4, 2, 3).float() / 255.0
    rows = {}
    for name in words.readers or BUNDLED_READERS:
        judge = load_reader(name)
        for blur in BLUR_SIGMAS:
            seen = pictures
            if blur:
                flat = pictures.flatten(0, 1)
                seen = gaussian_blur(flat, blur * pictures.shape[-1] / 64).unflatten(0, pictures.shape[:2])
            rows[f"{name} blur {blur:g}" if blur else str(name)] = evaluate_reader(judge, seen, truth)
    print(
        f"synthetic population {words.preset}: {len(data)} test identities, {pictures.shape[1]} images each"
    )
    print(format_metrics_table(rows))
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.synthetic.readers.check", None))
