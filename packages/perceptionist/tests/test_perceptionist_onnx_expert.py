"""The image-to-3D expert as an ONNX file: export, pose of the demos, overlays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from perceptionist import load
from perceptionist.__main__ import main
from perceptionist.export import export_expert, export_onnx
from perceptionist.image_expert import load_image_expert
from perceptionist.image_expert_model import ImageExpert
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.network_config import PUBLISHED_STAGES, ImageTo3DConfig
from perceptionist.onnx_expert import load_onnx_expert
from perceptionist.published import ExpertArchive
from PIL import Image
from published_files import save_expert
from tiny_checkpoints import (
    DISCLAIMER,
    write_expert_checkpoint,
    write_supervised_checkpoint,
    write_unsupervised_checkpoint,
)
from voiceface.audio.loading import write_wav
from voiceface.export.graph import example_pictures, example_voices
from voiceface.export.running import open_graph
from voiceface.synthetic.head.render import render_image
from voiceface.synthetic.identities import sample_identities
from voiceface.testing.corrupt_files import assert_mentions

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
PEOPLE = sample_identities([200, 201, 202])


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three people of the population, and a voice."""
    folder = tmp_path_factory.mktemp("faces")
    for index in range(3):
        Image.fromarray(render_image(PEOPLE, index, 0, image_size=90).image).save(folder / f"{index}.png")
    write_wav(folder / "voice.wav", example_voices([40_000])[0][0].astype(np.int16))
    return folder


def bundled(_: Path) -> ImageExpert:
    return load_image_expert()


def of_a_run(folder: Path) -> ImageExpert:
    return load_image_expert(write_expert_checkpoint(folder / "e.safetensors", expert_image_size=32))


def of_published_input(folder: Path) -> ImageExpert:
    data = {"expert_input": "published", "expert_image_size": 60}
    return load_image_expert(write_expert_checkpoint(folder / "e.safetensors", **data))


def of_unsupervised_weights(folder: Path) -> ImageExpert:
    return load_image_expert(write_unsupervised_checkpoint(folder / "u.safetensors"))


def of_a_published_archive(folder: Path) -> ImageExpert:
    return load_image_expert(write_archive(folder / "e.tar"), "population")


def write_archive(path: Path) -> Path:
    """Write an expert of the published layout with few channels."""
    torch.manual_seed(4)
    thin = [
        stage.model_copy(update={"channels": 2 + number, "expansion": 1 if number == 0 else 2})
        for number, stage in enumerate(PUBLISHED_STAGES)
    ]
    network = ImageTo3D(ImageTo3DConfig(stem=2, stages=tuple(thin), num_features=12))
    save_expert(path, ExpertArchive(network, {}, None, None))
    return path


@pytest.mark.parametrize(
    "make", [bundled, of_a_run, of_published_input, of_unsupervised_weights, of_a_published_archive]
)
def test_the_graph_gives_the_parameters_of_pytorch(
    make: Callable[[Path], ImageExpert], tmp_path: Path
) -> None:
    expert = make(tmp_path)
    result = export_expert(expert, tmp_path / "m.onnx")
    assert result.path.name == "m_expert.onnx" and result.max_error < 1e-4
    graph, again = open_graph(result.path, system="perceptionist"), load_onnx_expert(tmp_path / "m.onnx")
    side = expert.input_size
    assert graph.outputs == ["pose", "shape", "expression"] and graph.input_shapes == [("N", 3, side, side)]
    pictures = np.concatenate(example_pictures(side, 14)[11:])
    images = [each.transpose(1, 2, 0).astype(np.uint8) for each in pictures]
    expected = expert.predict(images)
    wanted = expert.face_model.unwhiten(expected)
    for found, part in zip(graph(pictures), (wanted.pose, wanted.shape, wanted.expression), strict=True):
        np.testing.assert_allclose(found, part, atol=1e-4 * float(part.abs().max()))
    largest = float(expected.abs().max())
    torch.testing.assert_close(again.predict(images), expected, atol=1e-4 * largest, rtol=0)
    large = [np.kron(each, np.ones((2, 2, 1), np.uint8)) for each in images]
    torch.testing.assert_close(again.predict(large), expert.predict(large), atol=1e-4 * largest, rtol=0)
    assert (again.input_size, again.face_crop) == (side, expert.face_crop)
    facts = graph.facts
    assert facts["kind"] == "expert" and facts["name"] == expert.source and facts["resize"] == "bicubic"
    assert expert.disclaimer in facts["notice"] and "Not in the graph" in facts["front_end"]
    assert len(facts["weights_sha256"]) == 64 and len(graph.values("checked_shapes")) == 10
    assert graph.values("config")["num_features"] == expert.network.config.num_features


def test_an_expert_is_exported_alone(tmp_path: Path, capsys: Any) -> None:
    run = write_expert_checkpoint(tmp_path / "e.safetensors")
    assert main(["export", str(run), "--out", str(tmp_path / "new" / "m.onnx")]) == 0
    assert "m_expert.onnx: expert" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m_expert.onnx"]
    graph = open_graph(tmp_path / "new" / "m_expert.onnx")
    assert graph.facts["name"] == "e.safetensors" and graph.facts["notice"].startswith(DISCLAIMER)
    for words, flag in ((["--seconds", "2"], "--seconds"), (["--expert", str(run)], "--expert")):
        assert main(["export", str(run), "--out", str(tmp_path / "x.onnx"), *words]) == 1
        assert_mentions(capsys.readouterr().err, "e.safetensors is an expert", f"omit {flag}")
    words = [str(write_archive(tmp_path / "a.tar")), "--out", str(tmp_path / "new" / "a.onnx")]
    assert main(["export", *words]) == 1
    assert_mentions(capsys.readouterr().err, "a.tar needs its face model", "--face-model")
    assert main(["export", *words, "--face-model", "population"]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"m_expert.onnx", "a_expert.onnx"}


def test_a_model_is_exported_with_the_expert_that_its_demo_uses(tmp_path: Path, capsys: Any) -> None:
    weights = write_supervised_checkpoint(tmp_path / "s.safetensors")
    own = write_unsupervised_checkpoint(tmp_path / "u.safetensors")
    other = write_expert_checkpoint(tmp_path / "e.safetensors")
    for words, name in (
        ([weights], "population_expert.safetensors"),
        ([own], "u.safetensors"),
        ([weights, "--expert", other], "e.safetensors"),
    ):
        assert main(["export", *map(str, words), "--out", str(tmp_path / "m.onnx")]) == 0
        assert open_graph(tmp_path / "m_expert.onnx").facts["name"] == name
        (tmp_path / "m_expert.onnx").unlink()
    capsys.readouterr()
    words = [weights, "--face-model", "population gain 1", "--out", tmp_path / "m.onnx"]
    assert main(["export", *map(str, words)]) == 0
    assert_mentions(capsys.readouterr().out, "no expert graph", "--expert")
    assert not (tmp_path / "m_expert.onnx").exists()


def test_the_demos_lay_the_mesh_over_a_picture_with_the_graph(
    faces: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    weights = write_supervised_checkpoint(tmp_path / "s.safetensors")
    export_onnx(load(weights), tmp_path / "m.onnx")

    def run(name: str, *source: Any) -> np.ndarray:
        voice, found = faces / "voice.wav", []
        for number, words in enumerate((["demo_mic", "--wav", voice], ["demo", voice, "--no-report"])):
            out = tmp_path / name / str(number)
            words += ["--image", faces / f"{number}.png", "--out", out, *source]
            assert main(list(map(str, words))) == 0
            found += [np.asarray(Image.open(path), int) for path in out.rglob("*_overlap.png")]
        assert len(found) == 2
        return np.stack(found)

    expected = run("torch", "--weights", weights)
    (tmp_path / "m_expert.onnx").rename(tmp_path / "kept.onnx")
    older = run("older", "--onnx", tmp_path / "m.onnx")  # of a release that exported no expert
    (tmp_path / "kept.onnx").rename(tmp_path / "m_expert.onnx")
    monkeypatch.setattr("perceptionist.pictures.load_image_expert", None)
    for found in (older, run("onnx", "--onnx", tmp_path / "m.onnx")):
        assert found.shape == expected.shape and (np.abs(found - expected).max(axis=3) > 1).sum() < 5


def test_overlays_are_the_same_with_the_graph(faces: Path, tmp_path: Path, capsys: Any) -> None:
    expert = write_expert_checkpoint(tmp_path / "e.safetensors", expert_input="published")
    assert main(["export", str(expert), "--out", str(tmp_path / "m.onnx")]) == 0
    assert main(["export", "--out", str(tmp_path / "b.onnx")]) == 0
    words = ["overlay", faces, "--format", "png", "--save-coefficients", "--out"]
    for name, source, graph in (
        ("run", ["--expert", expert], "m.onnx"),
        ("bundled", [], "b_expert.onnx"),
    ):
        for way, given in (("torch", source), ("onnx", ["--onnx", tmp_path / graph])):
            assert main(list(map(str, [*words, tmp_path / name / way, *given]))) == 0
        for number in range(3):
            known, found = (np.load(tmp_path / name / way / f"{number}.npy") for way in ("torch", "onnx"))
            np.testing.assert_allclose(found[:12], known[:12], atol=1e-4 * np.abs(known[:12]).max())
            np.testing.assert_allclose(found[12:], known[12:], atol=1e-4 * np.abs(known[12:]).max())
            known, found = (
                np.asarray(Image.open(tmp_path / name / way / f"{number}_b.png"), int)
                for way in ("torch", "onnx")
            )
            assert (np.abs(found - known).max(axis=2) > 1).sum() < 5


def test_files_that_do_not_fit_are_refused(faces: Path, tmp_path: Path, capsys: Any) -> None:
    weights = write_supervised_checkpoint(tmp_path / "s.safetensors")
    export_onnx(load(weights), tmp_path / "m.onnx")
    other = load_image_expert(None, "population gain 1")
    export_expert(other, tmp_path / "g.onnx")
    damaged = bytearray((tmp_path / "m_expert.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(damaged)
    overlay, demo = ["overlay", str(faces)], ["demo", str(faces / "voice.wav")]
    model = ["m_voice.onnx", "m_mesh.onnx"]
    for command, words, message in (
        (overlay, ["m_voice.onnx"], ["m_voice.onnx is a graph of perceptionist (voice), expected expert"]),
        (overlay, ["absent.onnx"], ["absent.onnx", "absent_expert.onnx"]),
        (overlay, ["damaged.onnx"], ["damaged.onnx is damaged", "export it again"]),
        (overlay, ["m.onnx", "--expert", "s.safetensors"], ["either --expert or --onnx"]),
        (overlay, ["m.onnx", "--device", "cuda"], ["--device cuda", "CPU"]),
        (overlay, ["m.onnx", "--face-model", "population gain 1"], ["m_expert.onnx", "that of the export"]),
        (demo, [*model, "g_expert.onnx"], ["g_expert.onnx is of the face model", "m_mesh.onnx"]),
        (demo, ["g.onnx"], ["g_expert.onnx alone makes no face", "*_voice.onnx"]),
    ):
        given = [str(tmp_path / word) if "." in word else word for word in words]
        assert main([*command, "--out", str(tmp_path / "out"), "--onnx", *given]) == 1
        assert_mentions(capsys.readouterr().err, *message)
    assert not (tmp_path / "out").exists()
