"""Images of the synthetic population: time per identity and per image, and what a network recovers.

    python benchmarks/population_pictures.py                          times on one thread
    python benchmarks/population_pictures.py --contact-sheet FILE.png  contact sheet, and factors at -2, 0, +2
    python benchmarks/population_pictures.py --fit SECONDS            how well a small network recovers the
                                                                      factors

Times are processor time of this one-thread process. The fit trains a four-layer convolutional network on the
true face factors of 1,200 identities and prints R² on 200 unseen ones. An invisible factor cannot be learnt,
so each should reach about 0.4 after a few minutes.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the numerical libraries load: times of one core

import cv2
import numpy as np
from numpy.typing import NDArray
from voiceface.synthetic.head.render import prepare_face, render_image
from voiceface.synthetic.identities import FACTORS, sample_identities
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

TARGETS = {"identity": 60.0, "picture 64": 8.0, "picture 128": 20.0}  # ms
NUM_TRAIN, NUM_TEST, IMAGES_PER_IDENTITY, SIDE = 1200, 200, 4, 64


def median_ms(work: Callable[[int], Any], times: int) -> float:
    """Median processor time of `work(0)`, `work(1)`, ... in ms."""
    spent = []
    for index in range(times):
        start = time.process_time()
        work(index)
        spent.append(time.process_time() - start)
    return 1e3 * float(np.median(spent))


def time_rendering(times: int, face_gain: float) -> None:
    """Print the times and their targets."""
    start = time.process_time()
    people = sample_identities(np.arange(max(64, times)))
    prepare_face(people, 0, face_gain=face_gain)
    print(f"set-up, once per process       {1e3 * (time.process_time() - start):7.1f} ms")
    faces = [prepare_face(people, i, face_gain=face_gain) for i in range(8)]
    render_image(people, 0, 0, face=faces[0], face_gain=face_gain)
    times_ms = {"identity": median_ms(lambda i: prepare_face(people, i, face_gain=face_gain), times)}
    for side in (64, 128):

        def picture(j: int, side: int = side) -> Any:
            return render_image(people, j % 8, j, image_size=side, face=faces[j % 8], face_gain=face_gain)

        times_ms[f"picture {side}"] = median_ms(picture, times)
    for name, value in times_ms.items():
        print(f"{name:<30} {value:7.1f} ms   (target {TARGETS[name]:.0f})")


def write_contact_sheet(path: str, face_gain: float) -> None:
    """Write a contact sheet: eight identities in four images each, then each factor at -2, 0 and +2 SD."""
    people = sample_identities(np.arange(8))
    rows = []
    for picture in range(4):
        options = {"image_size": 160, "nuisance": float(picture > 0), "face_gain": face_gain}
        row = [render_image(people, i, picture, **options).image for i in range(8)]
        rows.append(np.concatenate(row, axis=1))
    for male in (1, 0):
        person = people.take([int(np.argmax(people.face_sex == male))])
        for value in (-2.0, 0.0, 2.0):
            changed = [
                replace(
                    person,
                    shape_nuisance=0.3 * person.shape_nuisance,
                    face_factors=value * np.eye(8)[[j]],
                )
                for j in range(8)
            ]
            row = [
                render_image(one, 0, 0, image_size=160, nuisance=0, face_gain=face_gain).image
                for one in changed
            ]
            rows.append(np.concatenate(row, axis=1))
    image = np.ascontiguousarray(np.concatenate(rows)[..., ::-1])
    for j, name in enumerate(FACTORS):
        for top in (4, 7):
            place = (160 * j + 5, 160 * top + 14)
            cv2.putText(image, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.imwrite(path, image)
    print(f"wrote {path}")


def fit_factors(seconds: float, nuisance: float, face_gain: float) -> None:
    """Train a small network on the true factors and print R² per factor on unseen identities."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    people = sample_identities(np.arange(NUM_TRAIN + NUM_TEST), rho=0.0)
    images = torch.from_numpy(_render_images(people, nuisance, face_gain)).permute(0, 1, 4, 2, 3)
    factors = torch.from_numpy(people.face_factors).float()

    def stage(before: int, after: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU())

    stages = [stage(a, b) for a, b in ((3, 24), (24, 48), (48, 96), (96, 128))]
    network = nn.Sequential(
        *stages, nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 16, 128), nn.ReLU(), nn.Linear(128, 8)
    )
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    start = time.process_time()
    while (share := (time.process_time() - start) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = 1e-3 * (1 + np.cos(np.pi * share))
        who, which = torch.randint(NUM_TRAIN, (64,)), torch.randint(IMAGES_PER_IDENTITY, (64,))
        batch = images[who, which].float() / 127.5 - 1
        shift = torch.randint(-2, 3, (2,)).tolist()
        batch = torch.roll(batch.flip(-1) if torch.rand(()) < 0.5 else batch, shift, (2, 3))
        loss = ((network(batch) - factors[who]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        guesses = torch.stack(
            [network(images[NUM_TRAIN:, j].float() / 127.5 - 1) for j in range(IMAGES_PER_IDENTITY)]
        )
    truth = factors[NUM_TRAIN:]
    for name, guess in (("one picture", guesses[0]), ("mean of four", guesses.mean(dim=0))):
        r2 = 1 - ((guess - truth) ** 2).mean(dim=0) / truth.var(dim=0)
        each = "  ".join(f"{factor} {value:.2f}" for factor, value in zip(FACTORS, r2.tolist()))
        print(f"R² from {name}: {each}  mean {r2.mean():.3f}")


def _render_images(people: Any, nuisance: float, face_gain: float) -> NDArray[np.uint8]:
    """Render images of all identities, (N, IMAGES_PER_IDENTITY, SIDE, SIDE, 3)."""
    result = np.empty((len(people), IMAGES_PER_IDENTITY, SIDE, SIDE, 3), np.uint8)
    for i in range(len(people)):
        face = prepare_face(people, i, face_gain=face_gain)
        for j in range(IMAGES_PER_IDENTITY):
            options = {"image_size": SIDE, "nuisance": nuisance, "face": face, "face_gain": face_gain}
            result[i, j] = render_image(people, i, j, **options).image
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Print times; optionally write a contact sheet or train the small network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=60, help="repetitions (default: 60)")
    parser.add_argument("--contact-sheet", metavar="FILE", help="write a contact sheet")
    parser.add_argument("--fit", type=float, metavar="SECONDS", help="train on the factors for so long")
    parser.add_argument("--nuisance", type=float, default=1.0, help="of the pictures of the fit (default: 1)")
    parser.add_argument(
        "--face-gain", type=float, default=DEFAULT_FACE_GAIN, help="factor on the shape (default: 1.5)"
    )
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    time_rendering(args.repeats, args.face_gain)
    if args.contact_sheet:
        write_contact_sheet(args.contact_sheet, args.face_gain)
    if args.fit:
        fit_factors(args.fit, args.nuisance, args.face_gain)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
