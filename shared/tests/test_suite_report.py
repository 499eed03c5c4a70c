"""`voiceface report`: collection of user files, labels from folder names, the page and its JSON file."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from stub_systems import WIDTH, FolderNameEmbedder, build_stub_systems
from voiceface.faces import PictureReader
from voiceface.io.long_recordings import LongRecordings
from voiceface.suite import plugins, report
from voiceface.suite.inference import Utterance
from voiceface.suite.plugins import SystemSet
from voiceface.suite.user_media import collect_media, select_spread
from voiceface.testing.faces import FrameFinder


@pytest.fixture
def user_media(tiny_population, tmp_path) -> tuple[Path, Path]:
    """Recordings and images of four synthetic identities in folders of their names."""
    rows = (tiny_population / "list_wav" / "vox1_test.csv").read_text().splitlines()[1:5]
    for row in rows:
        voice, name = row.split(",")[:2]
        clip = sorted((tiny_population / "wav" / voice).rglob("*.wav"))[0]
        for source, target in (
            (clip, tmp_path / "voices" / name),
            (tiny_population / "faces" / name, tmp_path / "faces" / name),
        ):
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                (target / "more").mkdir(parents=True)
                shutil.copy(source, target / "more" / source.name)
    return tmp_path / "voices", tmp_path / "faces"


def names_in(folder: Path) -> dict[str, int]:
    return {path.name: row for row, path in enumerate(sorted(folder.iterdir()))}


def test_folder_names_are_identity_labels_and_corrupt_files_are_reported(user_media):
    voices, faces = user_media
    identity = sorted(path.name for path in voices.iterdir())[0]
    (voices / identity / "._ghost.wav").write_bytes(b"x")
    (voices / identity / "notes.txt").write_text("no sound")
    (voices / identity / "broken.wav").write_bytes(b"RIFF no sound")
    soundfile.write(voices / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(voices / "blink.wav", np.ones(800) / 2, 16000)
    (faces / identity / "torn.jpg").write_bytes(b"\xff\xd8 no image")
    media = collect_media(voices, faces)
    assert [voice.identity for voice in media.utterances] == sorted(
        names_in(voices).keys() - {"silence.wav", "blink.wav"}
    )
    assert [face.identity for face in media.gallery] == sorted(names_in(faces)) and media.has_labels
    assert all(len(face.files) == 2 for face in media.gallery)
    reasons = {media.relative_paths[file]: reason for file, reason in media.failures.items()}
    assert set(reasons) == {f"{identity}/broken.wav", "silence.wav", "blink.wav", f"{identity}/torn.jpg"}
    assert "is silent" in reasons["silence.wav"] and "0.05 s" in reasons["blink.wav"]


def test_images_are_single_candidates_if_folders_give_no_labels(user_media):
    voices, faces = user_media
    singly = collect_media(voices, faces, per_image=True)
    assert (
        len(singly.gallery) == 8 and singly.has_labels and {len(face.files) for face in singly.gallery} == {1}
    )
    one = collect_media(voices, faces.parent)  # everything lies below one folder more
    assert not one.has_labels
    only = collect_media(next(iter(sorted(voices.iterdir()))), next(iter(sorted(faces.iterdir()))))
    assert len(only.gallery) == 2 and not only.has_labels


def test_a_folder_without_usable_files_is_an_error_that_names_it(tmp_path, user_media):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="--voices: no folder"):
        collect_media(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no recordings in .*empty"):
        collect_media(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no images in .*voices"):
        collect_media(user_media[0], user_media[0])
    (tmp_path / "empty" / "a.wav").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none of the recordings .* a.wav"):
        collect_media(tmp_path / "empty")


def test_every_identity_is_shown_once_before_any_is_shown_twice():
    voices = [Utterance(f"{identity}{k}", Path("v.wav"), identity) for identity in "abcd" for k in range(3)]
    assert [voices[row].identity for row in select_spread(voices, 4)] == ["a", "b", "c", "d"]
    assert [voices[row].identity for row in select_spread(voices, 2)] == ["a", "c"]
    assert len(select_spread(voices, 6)) == 6 and select_spread(voices, 99) == list(range(12))


def run_report(user_media, out, monkeypatch, *flags: str, systems: tuple | None = None) -> int:
    voices, faces = user_media
    systems = build_stub_systems(names_in(faces)) if systems is None else systems
    monkeypatch.setattr(
        plugins, "find_systems", lambda: SystemSet(systems, {"sf2f": "not installed: somehow"})
    )
    return report.main(["--voices", str(voices), "--faces", str(faces), "--out", str(out), *flags])


def test_a_report_marks_and_counts_correct_matches_of_labelled_files(
    user_media, tmp_path, monkeypatch, capsys
):
    identity = sorted(path.name for path in user_media[0].iterdir())[0]
    clip = next((user_media[0] / identity).rglob("*.wav"))
    shutil.copy(clip, clip.with_name("refused.wav"))
    (user_media[0] / identity / "broken.wav").write_bytes(b"RIFF")
    assert run_report(user_media, tmp_path / "out", monkeypatch, "--max-cards", "9") == 0
    output = capsys.readouterr()
    assert output.err.count(f"{identity}/broken.wav") == output.err.count("refused.wav") == 1
    assert "not used by grey: refused" in output.err
    assert run_report(user_media, tmp_path / "out", monkeypatch, "--strict") == 1
    assert "error: --strict: " in capsys.readouterr().err
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (
        record["metrics"]["perfect"]["matching_accuracy"]["value"]
        == record["metrics"]["perfect"]["rank1_rate"]["value"]
        == 1
    )
    assert record["metrics"]["constant"]["matching_accuracy"]["value"] == 0.5
    assert record["differences"]["constant"]["value"] == 0.5
    assert f"{identity}/broken.wav" in record["skipped"] and len(record["paired_identities"]) == 4
    assert text.count("✓ correct") == 10 and "correct face 1st of 4" in text  # five voices, two systems
    for expected in (
        "A stub: its outputs",
        "A formula generated",
        "not installed: somehow",
        'href="#responsible-use"',
    ):
        assert expected in text, expected
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", text)


def test_a_report_without_labels_has_no_metrics(user_media, tmp_path, monkeypatch):
    for number, folder in enumerate(sorted(user_media[0].iterdir())):
        folder.rename(folder.with_name(f"speaker{number}"))
    assert run_report(user_media, tmp_path / "page.html", monkeypatch) == 0
    text, record = (
        (tmp_path / "page.html").read_text("utf-8"),
        json.loads((tmp_path / "page.json").read_text()),
    )
    assert "no accuracy is reported" in text and "✓ correct" not in text and "best of 4" in text
    assert record["metrics"] == {} and "Ground-truth face" not in text


def test_without_faces_there_is_no_ranking_and_one_file_is_enough(user_media, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "find_systems", lambda: SystemSet(build_stub_systems({}), {}))
    voice = next(iter(sorted(user_media[0].iterdir())))
    assert report.main(["--voices", str(voice), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "grey</figcaption>" in text and "ranking v2f" not in text and "no accuracy" not in text


def test_a_failed_report_states_the_reason_and_leaves_no_page(user_media, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="nobody"):
        run_report(user_media, tmp_path / "out", monkeypatch, "--systems", "nobody")
    with pytest.raises(ValueError, match="NAME=PATH"):
        run_report(user_media, tmp_path / "out", monkeypatch, "--weights", "perfect")
    with pytest.raises(FileNotFoundError, match="nothing at"):
        run_report(user_media, tmp_path / "out", monkeypatch, "--weights", "perfect=nowhere")
    with pytest.raises(ValueError, match=r"stranger.*not among the selected"):
        run_report(user_media, tmp_path / "out", monkeypatch, "--weights", f"stranger={tmp_path}")
    refusing = [path.rename(path.with_name("refused.wav")) for path in sorted(user_media[0].rglob("*.wav"))]
    with pytest.raises(ValueError, match="No system could process any recording"):
        run_report(user_media, tmp_path / "out", monkeypatch, systems=build_stub_systems({})[2:3])
    assert refusing and not list((tmp_path / "out").glob("*.html"))


class FramedEmbedder(FolderNameEmbedder):
    """The stub with a door for own pictures: an embedding is the mean colour of what was cut out."""

    pictures: PictureReader

    def prepare_face(self, image, face):
        return self.prepare_picture(image)

    def prepare_picture(self, image):
        vector = np.zeros(WIDTH, np.float32)
        vector[:3] = image.mean((0, 1)) / 255
        return vector

    def load_photograph(self, path):
        return self.prepare_picture(self.pictures.read(path))


def test_every_face_is_a_candidate_that_the_page_shows_as_it_was_cut_out(tmp_path):
    picture = np.full((100, 220, 3), 90, np.uint8)
    picture[::2] = 110
    for left, side, colour in ((4, 88, (250, 20, 20)), (110, 40, (20, 250, 20))):
        picture[4 : 4 + side, left : left + side] = colour
        FrameFinder.frame(picture, left, 4, side)
    (tmp_path / "faces").mkdir()
    Image.fromarray(picture).save(tmp_path / "faces" / "two.png")
    Image.fromarray(picture[:, :106]).save(tmp_path / "faces" / "one.png")
    Image.fromarray(picture[:, 180:]).save(tmp_path / "faces" / "wall.png")
    time = np.arange(32000) / 16000
    (tmp_path / "voices").mkdir()
    voice = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 9)) * (1 + np.sin(9 * time)) / 8
    soundfile.write(tmp_path / "voices" / "a.wav", voice, 16000)
    model = FramedEmbedder({})
    systems = SystemSet((plugins.AssociationSystem("framed", "", lambda weights, **_: model),), {})
    for every_face in (False, True):
        page, media, outputs = report.run_report(
            tmp_path / "voices",
            tmp_path / "faces",
            tmp_path / "out",
            systems=systems,
            pictures=PictureReader(every_face=every_face, finder=FrameFinder()),
        )
        names = ["one.png", "two.png#1", "two.png#2"] if every_face else ["one.png", "two.png"]
        assert [face.name for face in media.gallery] == names
        assert np.isfinite(outputs.scores["framed"]).all()
        record = json.loads((tmp_path / "out" / "report.json").read_text())
        assert set(names) <= set(record["files"]["framed"])
        assert "no face found" in record["skipped"]["wall.png"]["all"]
    known = record["files"]["framed"]["two.png#2"]
    assert known["face"]["crop"] == "population" and known["notes"][0].startswith("small")
    text = page.read_text("utf-8")
    assert '<span class="doubt">small</span>' in text
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data in re.findall(r'<img class="picture" src="data:image/jpeg;base64,([^"]+)"', text)
    ]
    assert {image.shape for image in shown} == {(128, 128, 3)}
    green = [image for image in shown if image[60, 64, 1] > 200 and image[60, 64, 0] < 90]
    assert len(green) == 1  # the smaller face


def test_every_system_is_told_what_is_used_of_long_recordings(user_media, tmp_path, monkeypatch):
    used = {}

    def load_as(name, load):
        def told(weights, **options):
            used[name] = options.get("long")
            return load(weights, **options)

        return told

    systems = build_stub_systems(names_in(user_media[1]))
    told = tuple(replace(each, load=load_as(each.name, each.load)) for each in systems)
    out = tmp_path / "a.html"
    assert run_report(user_media, out, monkeypatch, "--long-recordings", "best:1", systems=told) == 0
    long = LongRecordings("best", 1)
    assert used == {"perfect": None, "constant": None, "grey": long, "mean": long}
    assert systems[0].load(None).long_recordings == long
    assert "the best 1 s of speech are used" in out.with_suffix(".json").read_text("utf-8")
