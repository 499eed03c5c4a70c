"""Near duplicates among AVSpeech's segments: what the manifest leaves out."""

import csv

import numpy as np
import pytest
from sound_files import changing_noise
from video_files import write_video
from voiceface.__main__ import main
from voiceface.datasets.avspeech.build import AvspeechSettings, build_corpus
from voiceface.datasets.avspeech.table import Segment
from voiceface.datasets.manifest import read_manifest
from voiceface.datasets.near_duplicates import KEPT_ALIKE

SECONDS, RATE = 12, 10


def pictures(still_until):
    """A picture that stands still up to an image, then a new one in every second."""
    for number in range(SECONDS * RATE):
        seed = 0 if number < still_until * RATE else number // RATE
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 10, 3)).astype(np.uint8)
        yield np.kron(coarse, np.ones((16, 16, 1), np.uint8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six seconds of a head that does not move, then another; two segments overlap."""
    base = tmp_path_factory.mktemp("made")
    for name, seed in (("one_one_111", 1), ("two_two_222", 2)):
        write_video(
            base / "videos" / f"{name}.mp4", pictures(6), rate=RATE, sound=changing_noise(seed, SECONDS)
        )
    times = [(0.5, 5.5), (0.7, 5.3), (6.5, 11.5)]
    rows = [Segment(name, *each, 0.5, 0.5) for name in ("one_one_111", "two_two_222") for each in times]
    (base / "rows.csv").write_text("".join(row.row for row in rows))
    return base


def build(made, out, **more):
    settings = AvspeechSettings(images_per_segment=5, face_fraction=1.0, split_fractions=(1, 0, 0))
    return build_corpus(made / "rows.csv", made / "videos", out, settings, progress=False, **more)


def test_repeated_sound_and_pictures_are_not_in_the_manifest(made, tmp_path):
    record = build(made, tmp_path / "out", workers=1)
    assert record["counts"]["near duplicates"] == {"clips": 2, "images": 2 * (5 - KEPT_ALIKE + 5)}
    assert record["counts"]["written"]["train"] == {"videos": 2, "clips": 4, "images": 2 * (KEPT_ALIKE + 5)}
    with (tmp_path / "out" / "near_duplicates.csv").open(newline="") as file:
        repeats = {row["file"]: row["repeats"] for row in csv.DictReader(file)}
    listed = {row.path for row in read_manifest(tmp_path / "out" / "manifest.csv")}
    for name in ("one_one_111", "two_two_222"):  # both videos show the same pictures: they are two identities
        first, second, third = (
            f"{name}/{each}" for each in ("00000500-00005500", "00000700-00005300", "00006500-00011500")
        )
        assert repeats[f"wav/{second}.wav"] == f"wav/{first}.wav"
        assert repeats[f"faces/{second}_00.jpg"] == f"faces/{first}_00.jpg"
        assert {f"wav/{first}.wav", f"wav/{third}.wav", f"faces/{third}_04.jpg"} <= listed
    assert listed.isdisjoint(repeats) and set(repeats.values()) <= listed
    for path in (*repeats, *listed):
        assert (tmp_path / "out" / path).is_file()  # nothing is cut anew by a second run
    manifest = (tmp_path / "out" / "manifest.csv").read_bytes()
    assert build(made, tmp_path / "out", workers=2) == record
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == manifest


def test_near_duplicates_are_kept_on_demand(made, tmp_path, capsys):
    words = [
        "avspeech",
        str(made / "rows.csv"),
        "--videos",
        str(made / "videos"),
        "--quiet",
        "--workers",
        "1",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "left out as near duplicates: 2 clips and 10 images" in capsys.readouterr().out
    assert (tmp_path / "out" / "near_duplicates.csv").is_file()
    assert main([*words, "--out", str(tmp_path / "out"), "--keep-near-duplicates"]) == 0
    assert "near duplicates" not in capsys.readouterr().out
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 6 * 5
    assert not (tmp_path / "out" / "near_duplicates.csv").exists()
