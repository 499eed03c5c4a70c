"""Contract for percentiles: training stores the scores of impostor pairs, `match` and `export` use them."""

import json
from pathlib import Path

import pytest

from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions

__all__ = ["PercentileContract"]

Capture = pytest.CaptureFixture[str]


class PercentileContract:
    """What a cosine means: its share among the impostor pairs of validation identities."""

    def test_validation_stores_the_scores_of_impostor_pairs(
        self,
        system: SystemUnderTest,
        call: CommandRunner,
        train: CommandRunner,
        utterances: list[Path],
        images: list[Path],
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        weights, table = tmp_path / "run", tmp_path / "ranks.json"
        assert train(weights, *system.trained, *system.validating) == 0
        known = system.load(weights).impostor_scores
        assert known is not None and known.num_pairs > 0
        words = ["--gallery", *images[:4], "--weights", weights, "--json", table]
        assert call("match", utterances[0], *words) == 0
        assert_mentions(capsys.readouterr().out, " %  ", known.describe(), "would score this high")
        (ranking,) = json.loads(table.read_text())["rankings"].values()
        for candidate in ranking:  # an untrained model has nearly equal scores: the last digits count
            low, high = known.percentiles([candidate["score"] - 1e-6, candidate["score"] + 1e-6])
            assert low - 1e-9 <= candidate["percentile"] <= high + 1e-9

    def test_weights_without_such_scores_say_so(
        self,
        system: SystemUnderTest,
        call: CommandRunner,
        train: CommandRunner,
        utterances: list[Path],
        images: list[Path],
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        weights = tmp_path / "run"
        assert train(weights, *system.trained, *system.unvalidated) == 0
        capsys.readouterr()
        assert call("match", utterances[0], "--gallery", *images[:2], "--weights", weights) == 0
        shown = capsys.readouterr().out
        assert "no percentiles: these weights hold no scores of impostor pairs" in shown and "%" not in shown

    def test_export_measures_them(
        self, system: SystemUnderTest, call: CommandRunner, trained: Path, population: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "compact.safetensors"
        assert call("export", trained, "--out", out, "--impostor-scores", population) == 0
        known = system.load(out).impostor_scores
        assert known is not None and f"validation identities of {population.name}" in known.describe()

    def test_bundled_weights_have_them(self, system: SystemUnderTest) -> None:
        known = system.load().impostor_scores
        assert known is not None and known.num_identities > 100
