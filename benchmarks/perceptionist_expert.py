"""Accuracy of an expert: the landmarks and proportions of the meshes that it sees in images.

    python benchmarks/perceptionist_expert.py POPULATION --split test
    python benchmarks/perceptionist_expert.py POPULATION --weights RUN

Distances of the 68 landmarks from the true ones, seen from the front, in pixels of an image of 120, for the
images as they are and at random places and sizes (shifted by up to a tenth of the side, zoomed by up to a
fifth); beside them those of the mean face in the mean pose. Error of proportions: as in `perceptionist
evaluate`, mean over the images.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the numerical libraries load: times of one core

import numpy as np
import torch
from numpy.typing import NDArray
from perceptionist.dataset.open import load_dataset
from perceptionist.dataset.records import ratios_from_coefficients
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.image_expert import load_image_expert
from perceptionist.sampling import image_to_planes, reframe
from perceptionist.training_stages.expert import pose_whitening, project_landmarks

MAX_SHIFT, MAX_ZOOM, BATCH_SIZE = 0.1, 0.2, 64


def measure(root: Path, split: str, weights: Path | None, seed: int) -> None:
    """Print the errors."""
    expert = load_image_expert(weights)
    model = expert.face_model
    dataset = load_dataset(root, split, model, with_utterances=False)
    truth = dataset.ground_truth
    if truth is None or truth.image_parameters is None:
        raise SystemExit(f"{root} has no true parameters of its images; expected a synthetic population")
    planes = [
        image_to_planes(dataset.images.read(index), expert.input_size) for index in range(len(dataset.images))
    ]
    rng, whitening = np.random.default_rng(seed), pose_whitening(model)
    moved = [
        reframe(
            image,
            target,
            rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2),
            float(rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM)),
            whitening,
        )
        for image, target in zip(planes, truth.image_parameters, strict=True)
    ]
    print(f"{len(planes)} images of {len(dataset.identities)} identities; expert: {expert.source}")
    for name, images, targets in (
        ("as they are", planes, truth.image_parameters),
        ("shifted and zoomed", [image for image, _ in moved], np.stack([target for _, target in moved])),
    ):
        start = time.process_time()
        with torch.inference_mode():
            predicted = torch.cat(
                [
                    expert.regress(torch.from_numpy(np.stack(images[first : first + BATCH_SIZE])))
                    for first in range(0, len(images), BATCH_SIZE)
                ]
            )[:, : targets.shape[1]]
        spent = (time.process_time() - start) / len(images)
        errors = landmark_distances(model, predicted, torch.from_numpy(targets))
        mean = landmark_distances(model, torch.zeros_like(predicted), torch.from_numpy(targets))
        print(
            f"{name}: landmarks {errors.mean():.2f} pixels off (95 % of the images below "
            f"{np.percentile(errors, 95):.2f}; mean face in the mean pose {mean.mean():.2f}); "
            f"{1e3 * spent:.1f} ms an image"
        )
        if name == "as they are" and dataset.ratios is not None:
            found = model.unwhiten(predicted)
            ratios = ratios_from_coefficients(model, found.shape.numpy(), 0 * found.expression.numpy())
            error = np.abs(ratios - dataset.ratios[dataset.images.labels]).mean()
            print(f"error of proportions {error:.4f}")


def landmark_distances(
    model: LinearFaceModel, predicted: torch.Tensor, targets: torch.Tensor
) -> NDArray[np.float64]:
    """Mean distance of the landmarks in the image plane, (B,), in pixels."""
    with torch.inference_mode():
        found, true = (project_landmarks(model, each)[:, :2] for each in (predicted, targets))
    return np.asarray((found - true).norm(dim=1).mean(1), float)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="perceptionist_expert", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("population", type=Path, help="written population")
    parser.add_argument("--split", default="test", choices=["train", "val", "test"], help="default test")
    parser.add_argument("--weights", type=Path, help="run or checkpoint (default: the bundled expert)")
    parser.add_argument("--seed", type=int, default=0, help="of the shifts and zooms (default 0)")
    options = parser.parse_args(argv)
    measure(options.population, options.split, options.weights, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
