"""Measure what frozen encoders hear and see of the true factors of a population: `fop probe`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voiceface.encoders.tables import FeatureSet

    from fop.probing import FactorProbe, SpokenVoices

__all__ = ["FACTORS_FILE", "RESULTS_FILE", "main"]

FACTORS_FILE, RESULTS_FILE = "voice_factors.safetensors", "probes.json"


def main(argv: Sequence[str] | None = None) -> int:
    """`fop probe`."""
    args = build_parser().parse_args(argv)
    arguments.require_existing_paths({"data": args.data, "features": args.features})

    from voiceface.synthetic.ground_truth import read_ground_truth

    truth = read_ground_truth(args.data)
    if args.features:
        features = load_features(args.features)
    else:
        features = encode_splits(args)

    from voiceface.commandline.messages import print_disclaimers
    from voiceface.io.atomic import write_json

    from fop.probing import PROBES, fit_factor_map, judge_spoken_voices, probe_factors
    from fop.voice_factors import DISCLAIMER, VoiceFactors, save_voice_factors

    print_disclaimers(DISCLAIMER)
    probes = [probe_factors(features, truth, name) for name in PROBES]
    linear = fit_factor_map(features, truth, "face", "voice")
    spoken = judge_spoken_voices(linear, features["test"], truth)
    args.out.mkdir(parents=True, exist_ok=True)
    rho = ", ".join(sorted({f"{value:g}" for value in truth.coupling.tolist()}))
    trained_on = f"{len(features['train'].people)} synthetic identities, coupling {rho}"
    model = VoiceFactors(linear, features["train"].face_encoder, trained_on)
    save_voice_factors(args.out / FACTORS_FILE, model)
    write_json(args.out / RESULTS_FILE, build_record(features, probes, spoken))
    print(format_probes(features, probes, spoken))
    print(f"written: {args.out / FACTORS_FILE}, {args.out / RESULTS_FILE}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `fop probe`."""
    parser = argparse.ArgumentParser(
        prog="fop probe",
        description="Fit linear maps from the features of frozen encoders to the true factors of a "
        "population, and judge them on unseen identities. `fop speak` uses the map from face to voice.",
    )
    parser.add_argument(
        "--data", type=arguments.data_folder, required=True, help="folder of `voiceface population`"
    )
    parser.add_argument(
        "--features", type=Path, help="its features, of `voiceface encode --data --split all`"
    )
    parser.add_argument("--voice-encoder", default="real", help="name of the encoder (default: real)")
    parser.add_argument("--face-encoder", default="real", help="name of the encoder (default: real)")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and voice factors")
    parser.add_argument("--cache", type=Path, help="folder for finished features (default: OUT/cache)")
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    return parser


def load_features(folder: Path) -> "dict[str, FeatureSet]":
    """Read features of all three splits.

    Raises:
        EncoderError: a split is missing, or the folder cannot be used.
    """
    from voiceface.encoders.tables import FeatureSet

    features = FeatureSet.load(folder)
    return {split: features.split(split) for split in ("train", "val", "test")}


def encode_splits(args: argparse.Namespace) -> "dict[str, FeatureSet]":
    """Encode the three splits of a population."""
    from voiceface.association.data import load_split
    from voiceface.encoders.registry import load_encoder
    from voiceface.encoders.tables import FeatureSet

    encoders = (
        load_encoder(args.voice_encoder, "voice", device=args.device),
        load_encoder(args.face_encoder, "face", device=args.device),
    )
    cache = args.cache or args.out / "cache"
    return {
        split: FeatureSet.from_corpus(
            load_split(args.data, split), *encoders, cache=cache, workers=args.workers
        )
        for split in ("train", "val", "test")
    }


def build_record(
    features: "dict[str, FeatureSet]", probes: "list[FactorProbe]", spoken: "SpokenVoices"
) -> dict[str, Any]:
    """Build the values of `probes.json`."""
    voice, face = features["test"].encoders
    return {
        "voice_encoder": voice,
        "face_encoder": face,
        "identities": {split: len(each.people) for split, each in features.items()},
        "probes": {probe.name: probe.to_values() for probe in probes},
        "spoken_voices": spoken.to_values(),
    }


def format_probes(
    features: "dict[str, FeatureSet]", probes: "list[FactorProbe]", spoken: "SpokenVoices"
) -> str:
    """Format the results as text: a line for each probe, a column for each factor."""
    from voiceface.synthetic.identities import FACTORS

    voice, face = features["test"].encoders
    count = len(features["test"].people)
    lines = [
        f"voice encoder {voice}, face encoder {face}; R² within a sex from one file, {count} test identities",
        f"{'':30}{'sex':>7}{'mean':>7}  " + "".join(f"{name[:10]:>11}" for name in FACTORS),
    ]
    for probe in probes:
        values = "".join(f"{value:11.3f}" for value in probe.r2)
        lines.append(f"{probe.name:30}{probe.sex_accuracy.value:7.3f}{probe.mean_r2.value:7.3f}  {values}")
        bound = "".join(f"{value:11.3f}" for value in probe.upper_bound)
        lines.append(f"{'  upper bound':30}{1:7.3f}{probe.upper_bound.mean():7.3f}  {bound}")
    lines.append("the oracle finds the true voice of the person, 1 of 2 of the same sex (chance .500):")
    for name, value in (("spoken voices", spoken.matching), ("upper bound", spoken.upper_bound)):
        lines.append(f"  {name:28}{value.value:.3f}  ({value.low:.3f} to {value.high:.3f})")
    return "\n".join(lines)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("fop.probe", None))
