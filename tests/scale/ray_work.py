"""What the actors of test_scale_ray.py do, importable in their processes, and the program that is killed.

python ray_work.py FOLDER PARTS    embed FOLDER with Ray, slowly, parts in PARTS
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from seeking_shape.system import SPEC
from voiceface.association.model_loader import ModelLoader
from voiceface.association.shard_embedding import ShardWork, make_units
from voiceface.engines.file_sources import find_sources

__all__ = ["FatalWord", "Missing", "SlowLoader", "Word", "make_job"]

OPTIONS = {
    "onnx": None,
    "resample": "auto",
    "on_corrupt": None,
    "crop": "never",
    "face_finder": None,
    "every_face": False,
    "workers": 1,
}


@dataclass(frozen=True)
class SlowLoader:
    """Embeds after a pause, and leaves the number of its process in a folder."""

    loader: ModelLoader
    folder: str
    seconds: float

    def __call__(self, device):
        embed = self.loader(device)

        def run(voices, faces):
            (Path(self.folder) / str(os.getpid())).touch()
            time.sleep(self.seconds)
            return embed(voices, faces)

        return run


@dataclass(frozen=True)
class Word:
    """A unit of one word or several."""

    words: tuple[str, ...]

    @property
    def key(self):
        return " ".join(self.words)

    def split(self):
        half = len(self.words) // 2
        return [Word(self.words[:half]), Word(self.words[half:])] if half else []


class FatalWord:
    """Measures words; "kill" ends the process, "error" is an error."""

    def __call__(self, device):
        return self.measure

    def measure(self, unit):
        if "kill" in unit.words:
            os.kill(os.getpid(), 9)
        if "error" in unit.words:
            raise RuntimeError("a word that cannot be measured")
        return [len(word) for word in unit.words]


class Missing:
    """A factory that fails."""

    def __call__(self, device):
        raise FileNotFoundError("no weights here")


def make_job(folder, pids=None, seconds=0.0):
    """Work and units of a folder: two files a unit."""
    from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS

    values = {**OPTIONS, "long_recordings": DEFAULT_LONG_RECORDINGS}
    loader = ModelLoader(SPEC, None, tuple(values.items()))
    model = loader.open("cpu")
    load = loader if pids is None else SlowLoader(loader, str(pids), seconds)
    units = make_units(find_sources([folder], folder), batch_sizes=(2, 2), finds_faces=False, unit_files=2)
    return ShardWork(load, model.embedding_dim, model.fingerprint), units


def main():
    from voiceface.association.shard_embedding import join_shards
    from voiceface.engines.interface import open_engine

    folder, parts, pids = map(Path, sys.argv[1:])
    join_shards(open_engine("ray", actors=1, progress=False), [make_job(folder, pids, 1.0)], str(parts))


if __name__ == "__main__":
    main()
