"""`seeking_shape match`: ranking pictures for a voice and voices for a picture."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seeking_shape import load
from voiceface.association.retrieval import rank_gallery

Call = Callable[..., int]


@pytest.fixture(scope="module")
def voices(people: Path) -> list[Path]:
    return sorted((people / "wav").rglob("*.wav"))[:3]


@pytest.fixture(scope="module")
def faces(people: Path) -> list[Path]:
    return sorted((people / "faces").rglob("*.jpg"))[:6]


def test_pictures_are_ranked_by_cosine(
    call: Call, voices: list[Path], faces: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    page, table = tmp_path / "page.html", tmp_path / "ranks.json"
    words = [
        voices[0],
        "--gallery",
        *faces,
        "--weights",
        trained,
        "--top",
        "2",
        "--report",
        page,
        "--json",
        table,
    ]
    assert call("match", *words) == 0
    said = capsys.readouterr().out
    model = load(trained)
    scores = model.score(model.embed_voices(voices[0]), model.embed_faces(faces))[0].numpy()
    order = [str(faces[i]) for i in np.argsort(-scores)]
    found = json.loads(table.read_text())
    answers = found["rankings"][str(voices[0])]
    assert [answer["name"] for answer in answers] == order
    assert np.allclose([answer["score"] for answer in answers], sorted(scores, reverse=True), atol=1e-5)
    assert order[0] in said and order[1] in said and order[2] not in said
    assert "a synthetic population" in found["disclaimer"] and found["weights"] == "model.safetensors"
    assert "data:image" in page.read_text() and "data:audio" in page.read_text()


def test_voices_are_ranked_for_a_picture(
    call: Call, voices: list[Path], faces: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    page = tmp_path / "page.html"
    assert call("match", faces[0], "--gallery", *voices, "--weights", trained, "--report", page) == 0
    assert "best of 3" in capsys.readouterr().out
    assert page.read_text().count("data:audio") >= 3


def test_both_directions_agree(voices: list[Path], faces: list[Path], trained: Path) -> None:
    model = load(trained)
    there, _ = rank_gallery(model, [voices[0]], [faces[0]])
    back, _ = rank_gallery(model, [faces[0]], [voices[0]])
    assert there[voices[0]][0].score == pytest.approx(back[faces[0]][0].score, abs=1e-5)


def test_a_folder_is_the_mean_of_its_unit_embeddings(people: Path, voices: list[Path], trained: Path) -> None:
    model = load(trained)
    answers, failed = rank_gallery(model, voices[:1], [people / "faces"], by_folder=True)
    assert not failed and len(answers[voices[0]]) == 20
    best = answers[voices[0]][0]
    assert len(best.files) == 2 and all(path.parent == Path(best.name) for path in best.files)
    unit = model.embed_faces(best.files).numpy()
    mean = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).mean(axis=0)
    voice = model.embed_voices(voices[0])[0].numpy()
    cosine = mean @ voice / np.linalg.norm(mean) / np.linalg.norm(voice)
    assert best.score == pytest.approx(cosine, abs=1e-5)


def test_equal_scores_stand_in_order_of_name(
    voices: list[Path], faces: list[Path], trained: Path, tmp_path: Path
) -> None:
    copies = [tmp_path / f"{name}.jpg" for name in "cab"]
    for copy in copies:
        copy.write_bytes(faces[0].read_bytes())
    answers, _ = rank_gallery(load(trained), voices[:1], copies)
    assert [Path(answer.name).stem for answer in answers[voices[0]]] == ["a", "b", "c"]


def test_an_unreadable_candidate_is_left_out_and_an_unreadable_query_ends_it(
    call: Call, voices: list[Path], faces: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    assert call("match", voices[0], "--gallery", faces[0], bad, "--weights", trained) == 1
    said = capsys.readouterr()
    assert "best of 1" in said.out and "skipped" in said.err and "bad.jpg" in said.err
    assert call("match", bad, "--gallery", voices[0], "--weights", trained) == 1
    said = capsys.readouterr()
    assert "bad.jpg" in said.err and "best of" not in said.out


def test_questions_without_sense_are_refused(
    call: Call, voices: list[Path], faces: list[Path], trained: Path, capsys: Any
) -> None:
    assert call("match", voices[0], faces[0], "--gallery", faces[1], "--weights", trained) == 1
    assert "one kind at a time" in capsys.readouterr().err
    assert call("match", voices[0], "--gallery", voices[1], "--weights", trained) == 1
    assert "no images among" in capsys.readouterr().err
