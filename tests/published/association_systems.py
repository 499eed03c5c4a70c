"""What the association systems have in common: their commands on a data folder in the original layout."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cycle import SHORT, TrainingCycle
from voiceface.commandline.dispatch import run_main


@dataclass(frozen=True)
class AssociationSystem:
    """A system and how its configurations are shortened.

    Attributes:
        name: of the package.
        reduced: settings of small networks and batches.
        schedule: settings that start every part of the method within two steps.
        face_folder: folder of the images below a data folder.
        outputs: files of a run that must be reproducible.
    """

    name: str
    reduced: tuple[str, ...]
    schedule: tuple[str, ...]
    face_folder: str
    outputs: tuple[str, ...] = field(default=())

    def call(self, command: str, *words: object) -> int:
        """Exit status of `SYSTEM COMMAND WORDS`."""
        return run_main(f"{self.name}.__main__", [command, *map(str, words)])

    def cycle(self, cfg: str | Path, *arguments: object, **changes: Any) -> TrainingCycle:
        """The whole way of a configuration.

        Args:
            cfg: bundled configuration, or a published YAML file.
            arguments: flags with their values.
            changes: further fields of `TrainingCycle`.
        """
        settings = {"schedule": self.schedule, "reduced": self.reduced, "outputs": self.outputs, **changes}
        return TrainingCycle(f"{self.name}.train", cfg, tuple(map(str, arguments)), **settings)

    def train_briefly(self, out: Path, *words: object, full_size: bool = False, status: int = 0) -> Path:
        """Train two steps; returns the run folder.

        Args:
            out: run folder.
            words: flags with their values, and settings, which take precedence.
            full_size: networks keep their published sizes.
            status: expected exit status.
        """
        texts = [str(word) for word in words]
        settings = [text for text in texts if "=" in text and not text.startswith("-")]
        flags = [text for text in texts if text not in settings]
        kept = [*SHORT, *self.schedule, *(() if full_size else self.reduced)]
        kept += ["training.batch_size=2"] if full_size else []
        words = ("--out", out, "--device", "cpu", "--threads", 1, *flags, *kept, *settings)
        assert self.call("train", *words) == status
        return out


def check_commands(
    system: AssociationSystem,
    weights: Path,
    data: Path,
    out: Path,
    test_words: Sequence[object] = (),
    *,
    lists: Iterable[str],
) -> None:
    """Test, match in both directions and embed.

    Args:
        system: the system.
        weights: run folder or checkpoint.
        data: data folder.
        out: folder for all results.
        test_words: further words of `test`.
        lists: names of the lists that must have results.

    Raises:
        AssertionError: a command fails, or results are missing or not finite.
    """
    words = ["--weights", weights, "--data", data, "--out", out / "test", *test_words]
    assert system.call("test", *words) == 0
    results = read_results(out / "test")
    assert set(results) == set(lists) and not read_unavailable(out / "test")
    for name, metrics in results.items():
        values = [metric["value"] for metric in metrics.values()]
        assert values and all(map(math.isfinite, values)), f"{name}: {metrics}"
    assert (out / "test" / "report.html").is_file()
    first_voices = min((data / "wav").iterdir())
    first_faces, *other_faces = sorted((data / system.face_folder).iterdir())[:3]
    voice, face = next(first_voices.rglob("*.wav")), next(first_faces.rglob("*.jpg"))
    galleries = {voice: [first_faces, *other_faces], face: [first_voices]}
    for number, (query, gallery) in enumerate(galleries.items()):
        ranks = out / f"ranks_{number}.json"
        words = [query, "--gallery", *gallery, "--weights", weights, "--json", ranks]
        assert system.call("match", *words) == 0
        ((_, candidates),) = json.loads(ranks.read_text())["rankings"].items()
        files = [path for folder in gallery for path in folder.rglob("*.*") if path.is_file()]
        assert len(candidates) == len(files)
        scores = [each["score"] for each in candidates]
        assert scores == sorted(scores, reverse=True) and all(map(math.isfinite, scores))
    table = out / "table.npz"
    assert system.call("embed", first_voices, first_faces, "--weights", weights, "--out", table) == 0
    with np.load(table) as stored:
        vectors = stored["vectors"]
    assert len(vectors) == sum(
        path.is_file() for folder in (first_voices, first_faces) for path in folder.rglob("*.*")
    )
    assert np.isfinite(vectors).all()


def check_files_are_named(
    folder: Path, readers: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`voiceface weights` names the readers of published files.

    Args:
        folder: of the files.
        readers: name of a file -> what its line of readers must contain.
        capsys: captures the output.
    """
    capsys.readouterr()
    for name, expected in readers.items():
        assert run_main("voiceface.__main__", ["weights", str(folder / name)]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  read by"))
        assert expected in line, f"{name}: {line}"


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Metrics of `results.json` by list; `results.txt` must name the same lists."""
    content = json.loads((folder / "results.json").read_text())
    results = {each["name"]: each["metrics"] for each in content["lists"]}
    lines = [line.split() for line in (folder / "results.txt").read_text().splitlines()]
    assert {name for name, value in lines if value != "nan"} == set(results)
    return results


def read_unavailable(folder: Path) -> dict[str, str]:
    """Results that could not be computed, with their reasons, of `results.json`."""
    content = json.loads((folder / "results.json").read_text())
    return {each["name"]: each["reason"] for each in content.get("unavailable", ())}
