"""Agreement of an ideal generator, which knows the true voice factors, with the true faces.

    python benchmarks/ideal_generator.py --presets quick standard

One frontal image of each test identity with sex and factors as the voice determines them, the rest of the
shape at its mean, and skin, hair and eyes of somebody else, read by the bundled attribute reader like the
images of any generator. Beside each value: the chance level (images of others of the same sex) and another
real image.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.agreement.agreement import measure_agreement
from voiceface.synthetic.agreement.ideal_generator import render_ideal_faces
from voiceface.synthetic.agreement.result import Agreement
from voiceface.synthetic.dataset import generate_identity
from voiceface.synthetic.head.geometry_truth import generate_face_ground_truth
from voiceface.synthetic.layout import build_settings
from voiceface.synthetic.readers.attribute_reader import load_reader


def measure_preset(preset: str, split: str) -> Agreement:
    """Render ideal and real images of the identities of a split, and compare them with the truth."""
    settings = build_settings(preset)
    ids = settings.ids(split)
    jobs = [(replace(settings, clips=0), number) for number in ids]
    results = map_unordered(generate_identity, jobs, None, "population", "identity", progress=False)
    images = {number: item[1] for (_, number), item in results}
    real = torch.from_numpy(np.stack([images[number] for number in ids])).permute(0, 1, 4, 2, 3)
    truth = generate_face_ground_truth(settings, ids)
    return measure_agreement(load_reader("evaluation"), render_ideal_faces(settings, ids), real, truth)


def format_table(found: dict[str, Agreement]) -> str:
    """Format value (chance level, other real image) of each metric, a column for each preset."""
    lines = [
        "| metric |" + "".join(f" {name}, {each.num_identities} identities |" for name, each in found.items())
    ]
    lines.append("|---|" + "---|" * len(found))
    for name in next(iter(found.values())).metrics:
        cells = [
            f" {each.value:.2f} ({each.chance:.2f}, {each.real_image_value:.2f}) |"
            for each in (agreement.metrics[name] for agreement in found.values())
        ]
        lines.append(f"| `{name}` |" + "".join(cells))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="ideal_generator", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--presets", nargs="+", default=["quick"], choices=["quick", "standard"])
    parser.add_argument("--split", default="test", choices=["train", "val", "test"], help="default test")
    options = parser.parse_args(argv)
    print(format_table({preset: measure_preset(preset, options.split) for preset in options.presets}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
