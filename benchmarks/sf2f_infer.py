"""Speed of sf2f from an audio file to a face, networks of the published sizes, one thread.

    python benchmarks/sf2f_infer.py

Ten seconds of a synthetic voice; random weights, loaded before timing. "CPU" is the processor time of this
one-thread process; targets refer to it. Before timing, embeddings of a batch are compared with those of
single windows.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timing import min_times, synthetic_voice

if TYPE_CHECKING:
    from sf2f.models import Sf2fModel

SECONDS = 10
MODELS = ("sf2f_1st_stage", "sf2f_fuser", "sf2f_mid_fuser", "v2f")
TARGETS = {f"sound file to face, {name}": 80 for name in MODELS}  # milliseconds


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="measurements of each; the best counts")
    options = parser.parse_args(argv)
    missed = False
    print(f"{'':42}{'CPU ms':>8}{'clock ms':>10}{'target':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, call in build_tasks(Path(folder)):
            processor, clock = min_times(call, options.repeats)
            target = str(TARGETS.get(name, ""))
            print(f"{name:42}{processor * 1e3:8.1f}{clock * 1e3:10.1f}{target:>8}")
            missed |= name in TARGETS and processor * 1e3 > TARGETS[name]
    return int(missed)


def build_tasks(folder: Path) -> list[tuple[str, Callable[[], Any]]]:
    """Tasks to measure."""
    import torch
    from sf2f.inference import embed_windows, load_voice_features
    from voiceface.audio.loading import write_wav

    path = folder / "voice.wav"
    write_wav(path, synthetic_voice(SECONDS))
    models = {name: build_model(name) for name in MODELS}
    model = models["sf2f_fuser"]
    heard = load_voice_features(model, path)
    windows = model.split_windows(heard.mel)
    assert heard.speech_seconds > 0.9 * SECONDS and len(windows) == 14, (heard.speech_seconds, len(windows))
    together = embed_windows(model, windows)
    apart = torch.cat([embed_windows(model, windows[k : k + 1]) for k in range(len(windows))])
    torch.testing.assert_close(together, apart)
    whole: dict[str, Callable[[], Any]] = {}
    for name, each in models.items():
        whole[f"sound file to face, {name}"] = lambda each=each: each.generate(path)
    return [
        ("file to features", lambda: load_voice_features(model, path)),
        ("14 windows to embeddings", lambda: embed_windows(model, windows)),
        ("embeddings to face", lambda: model.decode_images(model.pool_embeddings(together))),
        *whole.items(),
        ("with an image of every window", lambda: model.generate(path, window_images=True)),
    ]


def build_model(name: str) -> "Sf2fModel":
    """A bundled experiment with random weights."""
    import torch
    from sf2f.config import Sf2fConfig
    from sf2f.generator import EncoderDecoder
    from sf2f.models import Sf2fModel
    from voiceface.runtime.config import load_config

    torch.manual_seed(0)
    config = load_config(name, Sf2fConfig, "sf2f")
    return Sf2fModel(EncoderDecoder(config.generator).eval().requires_grad_(False), config.data, name)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries load
    sys.exit(main())
