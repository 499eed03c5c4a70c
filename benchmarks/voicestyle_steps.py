"""A step of inversion and of voice guidance at 256 pixels with the published networks, on one thread.

    python benchmarks/voicestyle_steps.py [--repeats 3] [--json]

Networks of the published sizes with random weights: StyleGAN2 of 256 pixels, LPIPS of VGG-16, IR-SE50, CMPC's
two ResNet-34. Ours is measured against a plain build of the published step with the same networks, turn by
turn: the generator's operators as in voicestyle_stylegan2.py, networks that collect gradients of their
weights, target features (inversion) and voice embedding (guidance) computed again in every step. Both must
give the same loss. Processor time counts. The goal is a ratio: that of the aim to what the published
implementation took on a processor (inversion 9.5 s, aim 4.7 s; guidance 7.6 s, aim 3.8 s).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Task(NamedTuple):
    """What is measured: a step of both builds, which gives its loss, and the share that ours may take."""

    ours: Callable[[], float]
    reference: Callable[[], float]
    max_ratio: float


def build_inversion_task() -> Task:
    """One picture: LPIPS, identity, regulariser of the noise maps, Adam."""
    import torch
    from voiceface.models.conv_winograd import replace_with_winograd
    from voiceface.models.lpips import LPIPS
    from voicestyle.config import InversionConfig
    from voicestyle.identity_loss import IRIdentityEncoder, build_ir_se50, crop_face
    from voicestyle.inversion import invert
    from voicestyle.latent_optimisation import LatentStatistics, PerSampleNoise

    generator = build_generator()
    lpips, recogniser = LPIPS("vgg"), build_ir_se50().eval()
    fast = LPIPS("vgg")
    fast.load_state_dict(lpips.state_dict())
    replace_with_winograd(fast)
    identity = IRIdentityEncoder(recogniser)
    statistics = LatentStatistics(torch.zeros(1, generator.config.style_dim), 1.0)
    target = torch.rand(1, 3, 256, 256) * 2 - 1
    config = InversionConfig(num_steps=1000)

    def ours() -> float:
        found = invert(target, generator, statistics, config, PerSampleNoise([1]), fast, identity, stop_at=1)
        return float(found.history["perceptual"][0, 0] + found.history["identity"][0, 0])

    slow, unfolded = (
        with_weight_gradients(LPIPS("vgg"), lpips),
        with_weight_gradients(build_ir_se50().eval(), recogniser),
    )

    def objective(picture: torch.Tensor) -> torch.Tensor:
        features = [
            torch.nn.functional.normalize(unfolded(crop_face(each)), dim=1) for each in (picture, target)
        ]
        return slow(picture, target).sum() + (1 - (features[0] * features[1].detach()).sum(1)).mean()

    return Task(ours, build_reference_step(generator, objective), 4.7 / 9.5)


def build_guidance_task() -> Task:
    """One voice: CMPC's similarity, regulariser of the noise maps, Adam."""
    import torch
    from cmpc2.architecture import FaceConfig, ModelConfig
    from cmpc2.model import FV_Wrapper
    from voicestyle.config import GuidanceConfig
    from voicestyle.guidance import FaceEncoder, guide
    from voicestyle.latent_optimisation import LatentStatistics, PerSampleNoise

    generator = build_generator()
    model = FV_Wrapper(config=ModelConfig(face=FaceConfig(side=256))).eval().requires_grad_(False)
    statistics = LatentStatistics(torch.zeros(1, generator.config.style_dim), 1.0)
    audio, start = torch.randn(1, 1, 64, 800), torch.zeros(1, generator.config.style_dim)
    with torch.no_grad():
        voice = model.encode_voices(audio)
    config, faces = GuidanceConfig(num_steps=1000), FaceEncoder(model.face_subnet)

    def ours() -> float:
        found = guide(start, voice, faces, generator, statistics, config, PerSampleNoise([1]), stop_at=1)
        return float(found.history["similarity"][0, 0])

    whole = with_weight_gradients(FV_Wrapper(config=ModelConfig(face=FaceConfig(side=256))).eval(), model)

    def objective(picture: torch.Tensor) -> torch.Tensor:
        heard, seen = whole(audio, picture.clamp(-1, 1))
        return (1 - torch.nn.functional.cosine_similarity(heard, seen)).mean()

    return Task(ours, build_reference_step(generator, objective), 3.8 / 7.6)


def build_generator():
    """StyleGAN2 of 256 pixels, config-f, as it is used."""
    from voicestyle.stylegan2.generator import Generator

    return Generator().eval().requires_grad_(False)


def with_weight_gradients(network, source):
    """The same network whose weights collect gradients, as the published program leaves it."""
    network.load_state_dict(source.state_dict())
    return network.requires_grad_(True)


def build_reference_step(generator, objective: Callable) -> Callable[[], float]:
    """A step of the published program: plain operators, gradients of every weight."""
    import copy

    import torch
    from voicestyle.latent_optimisation import PerSampleNoise, noise_regularisation_loss, normalise_noise_maps
    from voicestyle_stylegan2 import reference_synthesis

    network = copy.deepcopy(generator).requires_grad_(True)
    codes = network.config.codes

    def step() -> float:
        draws = PerSampleNoise([1])
        noise = [
            draws.normal("map", (1, side, side), [0]).requires_grad_() for side in network.config.noise_sides
        ]
        code = torch.zeros(1, network.config.style_dim, requires_grad=True)
        adam = torch.optim.Adam([code, *noise], lr=0.0)
        shaken = code + 0.05 * draws.normal("latent", code.shape[1:], [0])
        picture = reference_synthesis(network, shaken[:, None].expand(-1, codes, -1), noise)
        loss = objective(picture)
        (loss + 1e5 * noise_regularisation_loss(noise, coupled=True)).backward()
        adam.step()
        normalise_noise_maps(noise, coupled=True)
        network.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def measure(task: Task, repeats: int) -> dict[str, float]:
    """Least processor time of both, turn by turn, after one turn that does not count."""
    values, times = [task.ours(), task.reference()], ([], [])
    if abs(values[0] - values[1]) > 1e-3 * abs(values[1]):
        raise RuntimeError(f"the two builds give different losses: {values}")
    for _ in range(repeats):
        for call, kept in zip((task.ours, task.reference), times):
            began = time.process_time()
            call()
            kept.append(time.process_time() - began)
    ours, plain = min(times[0]), min(times[1])
    return {"ours_s": ours, "plain_s": plain, "ratio": ours / plain, "goal": task.max_ratio}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {
        name: measure(task(), args.repeats)
        for name, task in (
            ("inversion step, 256", build_inversion_task),
            ("guidance step, 256", build_guidance_task),
        )
    }
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, row in found.items():
        word = "reached" if row["ratio"] <= row["goal"] else "missed"
        print(
            f"{name:22} {row['ours_s']:6.2f} s, plain {row['plain_s']:6.2f} s, ratio {row['ratio']:.2f} "
            f"(goal {row['goal']:.2f}: {word})"
        )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
