"""People of the synthetic population before networks that were trained on real people.

    python benchmarks/population_realism.py                    distances, error rate, times
    python benchmarks/population_realism.py --people 20
    python benchmarks/population_realism.py --sheet FILE.png   contact sheet of 15 people

Needs the networks of `voiceface models get real`. Pictures of the preset *quick* (64 pixels, nuisance 0.3)
are enlarged to 256. Reported are the share of pictures in which the face detector finds a face, the mean
Euclidean distance of dlib's face embeddings between pictures of one person and between people (real people:
about .4 and .9; below .6 counts as one person), the equal error rate over all pairs, and processor times of
one core.
"""

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the numerical libraries load: times of one core

import cv2
import numpy as np
from numpy.typing import NDArray
from voiceface.synthetic.head.render import prepare_face, render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

ENLARGED, NUISANCE, FIRST_TEST_IDENTITY = 256, 0.3, 116
Images = NDArray[np.uint8]


def draw_people(people: int, pictures: int, side: int, face_gain: float) -> Images:
    """Pictures of the first test identities, (people, pictures, S, S, 3)."""
    identities = sample_identities(np.arange(FIRST_TEST_IDENTITY, FIRST_TEST_IDENTITY + people))
    options: dict[str, Any] = {"face_gain": face_gain}
    result = np.empty((people, pictures, side, side, 3), np.uint8)
    for i in range(people):
        face = prepare_face(identities, i, **options)
        for j in range(pictures):
            image = render_image(
                identities, i, j, image_size=side, nuisance=NUISANCE, face=face, **options
            ).image
            result[i, j] = image
    return result


def report_distances(images: Images) -> None:
    """Print what detector and face encoder say about (people, pictures, S, S, 3)."""
    import torch
    from voiceface.faces.finding import load_face_finder
    from voiceface.metrics.verification import equal_error_rate
    from voiceface.real import load_face_encoder

    finder, encoder = load_face_finder(), load_face_encoder()
    flat = [
        cv2.resize(each, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
        for each in images.reshape(-1, *images.shape[2:])
    ]
    faces = finder.find(flat)
    found = np.array([len(each) > 0 for each in faces])
    chips = [each[0].encoder_chip(image) for image, each in zip(flat, faces) if each]
    embeddings = encoder.embed(np.stack(chips)).astype(float)
    person = np.repeat(np.arange(len(images)), images.shape[1])[found]
    distance = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=-1)
    first, second = np.triu_indices(len(person), 1)
    pairs, same = distance[first, second], person[first] == person[second]
    eer = equal_error_rate(torch.from_numpy(-pairs), torch.from_numpy(same.astype(np.int64))).rate
    print(
        f"found {found.sum()} of {len(found)}; same person {pairs[same].mean():.3f}, "
        f"different people {pairs[~same].mean():.3f} (5 % below {np.quantile(pairs[~same], 0.05):.3f}); "
        f"equal error rate {100 * float(eer):.1f} %"
    )


def report_times(repeats: int) -> None:
    """Print processor times per identity and picture in ms: the median over people of the best of three."""
    identities = sample_identities(np.arange(400, 400 + repeats))
    spent: dict[str, list[float]] = {"identity": [], "64": [], "128": []}
    prepare_face(identities, 0)
    for i in range(repeats):
        best = dict.fromkeys(spent, np.inf)
        for _ in range(3):
            start = time.process_time()
            face = prepare_face(identities, i)
            best["identity"] = min(best["identity"], time.process_time() - start)
            for side in (64, 128):
                start = time.process_time()
                render_image(identities, i, 0, image_size=side, face=face)
                best[str(side)] = min(best[str(side)], time.process_time() - start)
        for name, value in best.items():
            spent[name].append(value)
    times = ", ".join(f"{name} {1e3 * np.median(values):.1f} ms" for name, values in spent.items())
    print(f"processor time: {times}")


def write_sheet(path: str, face_gain: float) -> None:
    """Write 15 people at 192 pixels."""
    people = sample_identities(np.arange(FIRST_TEST_IDENTITY, FIRST_TEST_IDENTITY + 15))
    options: dict[str, Any] = {"image_size": 192, "nuisance": NUISANCE, "face_gain": face_gain}
    images = [render_image(people, i, 0, **options).image for i in range(15)]
    rows = [np.concatenate(images[start : start + 5], axis=1) for start in (0, 5, 10)]
    cv2.imwrite(path, np.concatenate(rows)[..., ::-1])
    print(f"wrote {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=60, help="default: 60")
    parser.add_argument("--pictures", type=int, default=3, help="of each person (default: 3)")
    parser.add_argument("--side", type=int, default=64, help="of the pictures in pixels (default: 64)")
    parser.add_argument(
        "--face-gain", type=float, default=DEFAULT_FACE_GAIN, help="factor on the shape (default: 1.5)"
    )
    parser.add_argument("--repeats", type=int, default=8, help="people of the times (default: 8)")
    parser.add_argument("--sheet", metavar="FILE", help="write a contact sheet instead")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    if args.sheet:
        write_sheet(args.sheet, args.face_gain)
        return 0
    report_times(args.repeats)
    report_distances(draw_people(args.people, args.pictures, args.side, args.face_gain))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
