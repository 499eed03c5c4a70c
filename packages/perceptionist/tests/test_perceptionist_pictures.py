"""Pictures of the demos with weights that generate none: which one is taken, and the mesh over it."""

from pathlib import Path

import numpy as np
import pytest
from perceptionist import inference
from perceptionist.__main__ import main
from perceptionist.image_expert import find_face_box
from perceptionist.pictures import PicturePainter, find_population_picture, render_head
from perceptionist.voice_to_mesh import GeneratedFace, VoiceToMesh
from PIL import Image
from tiny_checkpoints import write_unsupervised_checkpoint
from voiceface.faces import PictureReader
from voiceface.images.loading import ImageError
from voiceface.synthetic.writer import write_population
from voiceface.testing.faces import FrameFinder


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people") / "people"
    sizes = {"train": 2, "val": 1, "test": 1, "clips": 1, "clip_seconds": 2.5, "images": 2}
    return write_population(root, "quick", render_size=60, workers=1, lists=False, progress=False, **sizes)


@pytest.fixture(scope="module")
def model() -> VoiceToMesh:
    return inference.load()


@pytest.fixture(scope="module")
def face(model: VoiceToMesh, people: Path) -> GeneratedFace:
    return model.generate(sorted((people / "wav").rglob("*.wav"))[0])


def covered(face: GeneratedFace) -> np.ndarray:
    assert face.image is not None and face.overlay is not None
    return (face.image != face.overlay).any(axis=2)


def test_a_recording_of_the_population_gets_the_image_of_its_speaker(model, people, face) -> None:
    assert face.image is None and face.overlay is None
    recording = sorted((people / "wav").rglob("*.wav"))[0]
    path = find_population_picture(recording)
    row = next(
        line.split(",")
        for line in (people / "truth" / "identities.csv").read_text().splitlines()
        if recording.relative_to(people).parts[1] in line
    )
    assert path is not None and path.parent.name == row[2] and path.name == "00000001.jpg"
    done = PicturePainter(model).complete(face, recording)
    expected = Image.open(path).resize((120, 120), Image.Resampling.BICUBIC)
    assert np.array_equal(done.image, np.asarray(expected))
    assert "speaker's image" in done.picture_origin
    assert 0.2 < covered(done).mean() < 0.8 and covered(done)[40:90, 45:75].all()
    assert np.array_equal(done.vertices, face.vertices)


def test_other_recordings_get_a_drawing_of_the_generated_head(model, face, tmp_path) -> None:
    assert find_population_picture(tmp_path / "voice.wav") is None
    done = PicturePainter(model).complete(face, tmp_path / "voice.wav")
    assert np.array_equal(done.image, render_head(face.shape))
    assert "generated head" in done.picture_origin
    assert covered(done)[40:90, 45:75].all() and not covered(done)[:, [0, -1]].any()


def test_drawn_heads_have_the_widths_of_their_meshes() -> None:
    from perceptionist.face_models.synthetic_head import frontal_vertices
    from perceptionist.sim3dr import rasterize_triangles
    from voiceface.synthetic.head import shape_space
    from voiceface.synthetic.head.model import build_head_model

    head = build_head_model()
    widths = []
    for jaw in (-2, 2):
        alpha = shape_space.sex_shift() + jaw * (np.array(shape_space.SHAPE_NAMES) == "jaww")
        vertices = frontal_vertices(head, alpha) * [1, -1, 1]
        marks = vertices[head.landmarks, :2]
        vertices[:, :2] += 120 * np.array([0.5, 0.59]) - (marks.min(axis=0) + marks.max(axis=0)) / 2
        mesh = rasterize_triangles(vertices, head.triangles, 120, 120).triangles[80:86] >= 0
        drawn = render_head((head.orthonormal.shape_from_semantic @ alpha).astype(np.float32))
        rows = drawn[80:86].astype(int)  # below the ears, above the collar
        skin = rows[..., 0] - rows[..., 2] > 12  # the background is grey
        widths.append((mesh.sum() / 6, skin.sum() / 6))
    assert widths[1][0] > widths[0][0] + 10, "the meshes differ"
    for mesh_width, drawn_width in widths:
        assert drawn_width == pytest.approx(mesh_width, abs=6)  # the edge of the skin is grey in the shade


def test_drawn_heads_wear_no_glasses(monkeypatch: pytest.MonkeyPatch) -> None:
    from voiceface.synthetic.head import render
    from voiceface.synthetic.head.glasses import own_glasses

    faces, draw = [], render.draw_image
    monkeypatch.setattr(render, "draw_image", lambda *a, **k: faces.append(a[4]) or draw(*a, **k))
    assert own_glasses(0, [0])[0], "whose appearance is drawn"
    render_head(np.zeros(40, np.float32), 32)
    assert [face.traits.glasses for face in faces] == [None]


def test_a_given_image_replaces_every_other(model, people, face, tmp_path) -> None:
    source = next(iter(sorted((people / "faces").rglob("*.jpg"))))
    wide = np.pad(np.asarray(Image.open(source)), ((0, 0), (20, 20), (0, 0)))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    recording = sorted((people / "wav").rglob("*.wav"))[-1]
    done = PicturePainter(model, tmp_path / "wide.png").complete(face, recording)
    alone = PicturePainter(model, source).complete(face)
    assert done.picture_origin == "wide.png" and np.array_equal(done.image, alone.image)
    assert np.array_equal(done.overlay, alone.overlay)
    low = PicturePainter(model, source, published=True).complete(face)
    rows = [np.flatnonzero(covered(each).any(axis=1))[0] for each in (alone, low)]
    assert rows[1] >= rows[0] and (covered(low) != covered(alone)).any()


def test_generated_images_are_kept(face, tmp_path) -> None:
    own = inference.load(write_unsupervised_checkpoint(tmp_path / "u.safetensors"))
    painter = PicturePainter(own)
    assert painter.expert is None, "nothing to load"
    generated = own.generate_from_features(np.zeros((400, 64), np.float32))
    assert painter.complete(generated) is generated and generated.image is not None


def test_demo_and_demo_mic_write_picture_and_overlay_with_the_bundled_weights(
    people, tmp_path, capsys
) -> None:
    recording = sorted((people / "wav").rglob("*.wav"))[0]
    out = tmp_path / "demo"
    assert main(["demo", str(people / "wav"), "--out", str(out)]) == 0
    stem = "_".join(recording.with_suffix("").relative_to(people / "wav").parts[1:])
    folder = out / recording.relative_to(people / "wav").parts[0]
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{stem}{end}" for end in ("_image.png", "_overlap.png", "_mesh.png", ".obj")}
    assert Image.open(folder / f"{stem}_overlap.png").size == (120, 120)
    assert "not generated from the voice" in (out / "index.html").read_text("utf-8")
    two = tmp_path / "two"
    assert main(["demo", str(recording), "--out", str(two), "--published", "--no-report"]) == 0
    assert {path.name[-11:] for path in two.rglob("*.*")} == {"1_image.png", "overlap.png"}
    capsys.readouterr()
    mic = tmp_path / "mic"
    image = find_population_picture(recording)
    assert main(["demo_mic", "--wav", str(recording), "--image", str(image), "--out", str(mic)]) == 0
    assert {path.name for path in mic.iterdir()} == {
        f"00001{end}" for end in (".obj", ".png", ".html", "_image.png", "_overlap.png")
    }
    output = capsys.readouterr().out
    assert "picture: " in output and f"({image.name})" in output and "overlay: " in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo", "{clip}", "--out", "o", "--image", "absent.jpg"], "--image: nothing at absent.jpg"),
        (["demo", "{clip}", "--out", "o", "--image", "{clip}"], "not an image"),
        (["demo", "{clip}", "--out", "o", "--expert", "{weights}"], "contains no expert"),
        (["demo_mic", "--wav", "{clip}", "--image", "{image}"], "needs --out DIR"),
    ],
)
def test_invalid_pictures_end_in_one_line(words, message, people, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    clip = sorted((people / "wav").rglob("*.wav"))[0]
    places = {"clip": clip, "image": find_population_picture(clip)}
    places["weights"] = inference.find_bundled_checkpoint()
    assert main([word.format(**places) for word in words]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last and not (tmp_path / "o").exists()


def test_the_face_of_an_own_image_is_found(model, people, face, tmp_path) -> None:
    source = next(iter(sorted((people / "faces").rglob("*.jpg"))))
    picture = np.full((200, 300, 3), 90, np.uint8)
    picture[::2] = 110
    picture[20:148, 150:278] = np.asarray(Image.open(source).resize((128, 128)))
    FrameFinder.frame(picture, 150, 20, 128)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    reader = PictureReader(finder=FrameFinder())
    done = PicturePainter(model, tmp_path / "wide.png", pictures=reader).complete(face)
    crop = Image.fromarray(reader.read(tmp_path / "wide.png"))
    np.testing.assert_array_equal(done.image, np.asarray(crop.resize((120, 120), Image.Resampling.BICUBIC)))
    box = find_face_box(tmp_path / "wide.png", reader)
    assert 150 < box.left + box.side / 2 < 278 and 20 < box.top + box.side / 2 < 148
    assert 90 < box.side < 200 and find_face_box(source, reader) is None
    Image.fromarray(picture[:, :140]).save(tmp_path / "wall.png")
    with pytest.raises(ImageError, match=r"wall\.png: no face found"):
        PicturePainter(model, tmp_path / "wall.png", pictures=reader)
