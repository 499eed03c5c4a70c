"""A step of inversion and of voice guidance at 256 pixels with the published networks, on one thread.

    python benchmarks/voicestyle_steps.py [--repeats 3] [--json]

Networks of the published sizes with random weights: StyleGAN2 of 256 pixels, LPIPS of VGG-16, IR-SE50, CMPC's
two ResNet-34. Ours is timed alternately with a reference that performs the published step with the same
networks: the generator's operators as in voicestyle_stylegan2.py, gradients of all weights, target features
(inversion) and voice embedding (guidance) computed again in every step. Both must give the same loss.
Processor time is reported. The goal is the largest ratio: target divided by the time of the published
implementation on a CPU (inversion 4.7 s / 9.5 s; guidance 3.8 s / 7.6 s).
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from timing import min_times_alternating


class Task(NamedTuple):
    """A step of both implementations, which returns its loss, and the largest ratio of their times."""

    ours: Callable[[], float]
    reference: Callable[[], float]
    max_ratio: float


def build_inversion_task() -> Task:
    """One image: LPIPS, identity loss, noise map regulariser, Adam."""
    import torch
    from voiceface.models.conv_winograd import replace_with_winograd
    from voiceface.models.lpips import LPIPS
    from voicestyle.config import InversionConfig
    from voicestyle.identity_loss import IRIdentityEncoder, build_ir_se50, crop_face
    from voicestyle.inversion import invert
    from voicestyle.latent_optimisation import LatentStatistics
    from voicestyle.noise import PerSampleNoise

    generator = build_generator()
    lpips, face_network = LPIPS("vgg"), build_ir_se50().eval()
    fast = LPIPS("vgg")
    fast.load_state_dict(lpips.state_dict())
    replace_with_winograd(fast)
    identity = IRIdentityEncoder(face_network)
    statistics = LatentStatistics(torch.zeros(1, generator.config.style_dim), 1.0)
    target = torch.rand(1, 3, 256, 256) * 2 - 1
    config = InversionConfig(num_steps=1000)

    def ours() -> float:
        found = invert(target, generator, statistics, config, PerSampleNoise([1]), fast, identity, stop_at=1)
        return float(found.history["perceptual"][0, 0] + found.history["identity"][0, 0])

    reference_lpips, reference_identity = (
        with_weight_gradients(LPIPS("vgg"), lpips),
        with_weight_gradients(build_ir_se50().eval(), face_network),
    )

    def objective(image: torch.Tensor) -> torch.Tensor:
        features = [
            torch.nn.functional.normalize(reference_identity(crop_face(each)), dim=1)
            for each in (image, target)
        ]
        return reference_lpips(image, target).sum() + (1 - (features[0] * features[1].detach()).sum(1)).mean()

    return Task(ours, build_reference_step(generator, objective), 4.7 / 9.5)


def build_guidance_task() -> Task:
    """One voice: CMPC's similarity, noise map regulariser, Adam."""
    import torch
    from cmpc2.model import FV_Wrapper
    from cmpc2.model_config import FaceConfig, ModelConfig
    from voicestyle.config import GuidanceConfig
    from voicestyle.guidance import FaceEncoder, guide
    from voicestyle.latent_optimisation import LatentStatistics
    from voicestyle.noise import PerSampleNoise

    generator = build_generator()
    model = FV_Wrapper(config=ModelConfig(face=FaceConfig(image_size=256))).eval().requires_grad_(False)
    statistics = LatentStatistics(torch.zeros(1, generator.config.style_dim), 1.0)
    audio, start = torch.randn(1, 1, 64, 800), torch.zeros(1, generator.config.style_dim)
    with torch.no_grad():
        voice = model.encode_voices(audio)
    config, faces = GuidanceConfig(num_steps=1000), FaceEncoder(model.face_subnet)

    def ours() -> float:
        found = guide(start, voice, faces, generator, statistics, config, PerSampleNoise([1]), stop_at=1)
        return float(found.history["similarity"][0, 0])

    reference = with_weight_gradients(
        FV_Wrapper(config=ModelConfig(face=FaceConfig(image_size=256))).eval(), model
    )

    def objective(image: torch.Tensor) -> torch.Tensor:
        voices, faces_seen = reference(audio, image.clamp(-1, 1))
        return (1 - torch.nn.functional.cosine_similarity(voices, faces_seen)).mean()

    return Task(ours, build_reference_step(generator, objective), 3.8 / 7.6)


def build_generator():
    """StyleGAN2 of 256 pixels, config-f, frozen."""
    from voicestyle.stylegan2.generator import Generator

    return Generator().eval().requires_grad_(False)


def with_weight_gradients(network, source):
    """Copy of a network whose weights get gradients, as in the published program."""
    network.load_state_dict(source.state_dict())
    return network.requires_grad_(True)


def build_reference_step(generator, objective: Callable) -> Callable[[], float]:
    """A step of the published program: unoptimised operators, gradients of every weight."""
    import copy

    import torch
    from voicestyle.noise import PerSampleNoise, noise_regularisation_loss, normalise_noise_maps
    from voicestyle_stylegan2 import reference_synthesis

    network = copy.deepcopy(generator).requires_grad_(True)
    n_latent = network.config.n_latent

    def step() -> float:
        noise_source = PerSampleNoise([1])
        noise = [
            noise_source.normal("map", (1, side, side), [0]).requires_grad_()
            for side in network.config.noise_sides
        ]
        latent = torch.zeros(1, network.config.style_dim, requires_grad=True)
        adam = torch.optim.Adam([latent, *noise], lr=0.0)
        noisy = latent + 0.05 * noise_source.normal("latent", latent.shape[1:], [0])
        image = reference_synthesis(network, noisy[:, None].expand(-1, n_latent, -1), noise)
        loss = objective(image)
        (loss + 1e5 * noise_regularisation_loss(noise, coupled=True)).backward()
        adam.step()
        normalise_noise_maps(noise, coupled=True)
        network.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def measure(task: Task, repeats: int) -> dict[str, float]:
    """Return the smallest processor times of both implementations and their ratio."""
    losses = task.ours(), task.reference()
    if abs(losses[0] - losses[1]) > 1e-3 * abs(losses[1]):
        raise RuntimeError(f"the two implementations have different losses: {losses}")
    calls = {"ours": task.ours, "reference": task.reference}
    times = min_times_alternating(calls, repeats, warm_up=False)
    ours, reference = times["ours"].cpu, times["reference"].cpu
    return {
        "ours_s": ours,
        "reference_s": reference,
        "ratio": ours / reference,
        "max_ratio": task.max_ratio,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {
        name: measure(task(), args.repeats)
        for name, task in (
            ("inversion step, 256", build_inversion_task),
            ("guidance step, 256", build_guidance_task),
        )
    }
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for name, row in rows.items():
        verdict = "reached" if row["ratio"] <= row["max_ratio"] else "missed"
        print(
            f"{name:22} {row['ours_s']:6.2f} s, reference {row['reference_s']:6.2f} s, "
            f"ratio {row['ratio']:.2f} (goal {row['max_ratio']:.2f}: {verdict})"
        )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
