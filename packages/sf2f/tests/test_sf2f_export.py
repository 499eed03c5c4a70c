"""ONNX export: same images as PyTorch for any length; metadata; rejected exports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sf2f import export, load
from sf2f.__main__ import main
from sf2f.config import DataConfig
from sf2f.export import build_export_module, count_samples, export_onnx
from sf2f.inference import VoiceFeatures, generate_from_features
from sf2f.network_config import GeneratorConfig, SpeechConfig
from sf2f.onnx_model import load_onnx_model
from sf2f.speech import compute_log_mel, normalise_mel
from small_sf2f_models import DISCLAIMER, WINDOW_WIDTH, synthesise_voice, write_model, write_voice
from voiceface.audio.frontends import SF2FLogMel
from voiceface.export.inspection import GraphError, sign_graph
from voiceface.export.running import open_graph
from voiceface.testing.corrupt_files import assert_mentions

STRIDES = {"quick_1st_stage": 13, "quick_fuser": None}
WHOLE = SpeechConfig(remove_silence=False)


def import_onnx() -> tuple[Any, Any]:
    return pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=STRIDES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model, the export result, and its stride."""
    import_onnx()
    folder = tmp_path_factory.mktemp(request.param)
    model, stride = load(write_model(folder / "run", request.param)), STRIDES[request.param]
    return model, export_onnx(model, folder / "new" / "face.onnx", stride=stride), stride or WINDOW_WIDTH // 2


@pytest.mark.parametrize(
    "samples", [count_samples(WINDOW_WIDTH), count_samples(WINDOW_WIDTH) + 1, 16000, 30011]
)
def test_graph_and_program_generate_the_same_image(exported: Any, samples: int) -> None:
    _, onnxruntime = import_onnx()
    model, result, stride = exported
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    wave = synthesise_voice(2.0, 150)[:samples]
    (generated,) = session.run(None, {"samples": wave[None].astype(np.float32)})
    mel = normalise_mel(compute_log_mel(wave, config=WHOLE), model.data.mel)
    expected = generate_from_features(
        model, [VoiceFeatures("made", mel, samples / 16000)], stride=stride
    ).image
    assert generated.dtype == np.float32 and generated.shape == (1, 3, *expected.shape[:2])
    np.testing.assert_allclose(generated[0].transpose(1, 2, 0) * 255, expected, atol=0.51 + 255e-3)
    (other,) = session.run(None, {"samples": synthesise_voice(2.0, 90, 1)[None].astype(np.float32)})
    assert np.abs(generated - other).max() > 0.02


def test_the_difference_is_small_and_reported(exported: Any) -> None:
    _, result, _ = exported
    assert 0 < result.max_error < 1e-4
    assert result.size_bytes == result.path.stat().st_size
    assert [path.name for path in result.path.parent.iterdir()] == ["face.onnx"]


def test_metadata_describe_the_model(exported: Any) -> None:
    onnx, _ = import_onnx()
    model, result, stride = exported
    written = onnx.load(result.path)
    facts = {entry.key: entry.value for entry in written.metadata_props}
    assert (
        facts["notice"] == DISCLAIMER
        and facts["name"] == model.name
        and "removal of silence" in facts["front_end"]
    )
    assert open_graph(result.path, system="sf2f", kinds=["generator"]).facts == facts
    assert len({str(shape) for shape in json.loads(facts["checked_shapes"])}) == 10
    assert int(facts["stride_frames"]) == stride and int(facts["window_frames"]) == WINDOW_WIDTH
    assert facts["window_pooling"] == ("fuser" if model.has_fuser else "mean")
    assert GeneratorConfig.model_validate(json.loads(facts["generator"])) == model.generator.config
    assert DataConfig.model_validate(json.loads(facts["data"])) == model.data
    shape = written.graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_value == 1 and shape[1].dim_param


def test_minimum_samples_for_a_number_of_frames() -> None:
    front = SF2FLogMel()
    assert count_samples(1) == 400
    for frames in (2, 3, 40):
        assert (
            front.num_frames(count_samples(frames))
            == frames
            == front.num_frames(count_samples(frames) - 1) + 1
        )


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: Any) -> None:
    model = load(write_model(tmp_path / "run"))
    reference = export.generate_reference_image
    monkeypatch.setattr(export, "generate_reference_image", lambda *values: 1.01 * reference(*values))
    with pytest.raises(
        ValueError, match=r"face\.onnx was not written: the graph differs from PyTorch by 0\.0"
    ):
        export_onnx(model, tmp_path / "face.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_bundled_generator_is_exported_by_its_command(tmp_path: Path, capsys: Any) -> None:
    import_onnx()
    out = tmp_path / "bundled.onnx"
    assert main(["export", "--out", str(out)]) == 0
    assert f"{out}: generator" in capsys.readouterr().out
    graph, model = open_graph(out), load(None)
    wave = synthesise_voice(3.3, 120)
    (found,) = graph(wave[None])
    expected = export.generate_reference_image(model, wave, int(graph.facts["stride_frames"]))
    assert np.abs(found - expected).max() < 1e-4
    content = bytearray(out.read_bytes())
    content[len(content) // 3] ^= 1
    out.write_bytes(content)
    with pytest.raises(GraphError, match=r"bundled\.onnx is damaged"):
        open_graph(out)


def test_infer_generates_the_same_faces_with_an_exported_file(
    exported: Any, tmp_path: Path, capsys: Any
) -> None:
    """Of stored features, several recordings, windows and whole recordings; embeddings agree to 1e-5."""
    model, result, stride = exported
    run = result.path.parents[1] / "run"
    for number, pitch in enumerate((210, 200, 100)):
        write_voice(tmp_path / "voices" / f"person{number // 2}" / f"{number}.wav", 1.8, pitch, number)
    mel = compute_log_mel(synthesise_voice(0.8, 150), config=WHOLE)
    np.save(tmp_path / "voices" / "stored.npy", mel)
    words = ["infer", str(tmp_path / "voices"), "--group-by", "identity", "--per-window", "--per-recording"]
    words += ["--stride", str(stride), "--out"]
    assert main([*words, str(tmp_path / "torch"), "--weights", str(run)]) == 0
    printed = capsys.readouterr().out
    assert main([*words, str(tmp_path / "onnx"), "--onnx", str(result.path)]) == 0
    assert capsys.readouterr().out.replace(str(tmp_path / "onnx"), str(tmp_path / "torch")) == printed
    pictures = sorted(path.relative_to(tmp_path / "torch") for path in (tmp_path / "torch").rglob("*.png"))
    assert len(pictures) > 12
    for path in pictures:
        found, expected = (np.asarray(Image.open(tmp_path / way / path), int) for way in ("onnx", "torch"))
        assert np.abs(found - expected).max() <= 1, path
    found, expected = (json.loads((tmp_path / way / "files.json").read_text()) for way in ("onnx", "torch"))
    assert found == expected
    graph = load_onnx_model(result.path)
    recordings = sorted((tmp_path / "voices" / "person0").iterdir())
    faces = [each.generate(recordings, stride=stride) for each in (graph, model)]
    for name in ("embedding", "window_embeddings"):
        values, reference = (getattr(face, name) for face in faces)
        assert np.abs(values - reference).max() < 1e-5 * np.abs(reference).max()


def test_infer_refuses_wrong_files(exported: Any, tmp_path: Path, capsys: Any) -> None:
    onnx, _ = import_onnx()
    _, result, _ = exported
    voice = write_voice(tmp_path / "a.wav")
    model = onnx.load(result.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    facts = open_graph(result.path).facts
    (tmp_path / "other.onnx").write_bytes(sign_graph(model, {**facts, "system": "cmpc2", "kind": "voice"}))
    del model.graph.value_info[:]
    (tmp_path / "older.onnx").write_bytes(sign_graph(model, facts))
    (tmp_path / "text.onnx").write_text("a letter")
    for words, message in (
        (
            ["--onnx", "plain.onnx"],
            ["plain.onnx is an ONNX file of another kind", "`export` of this project"],
        ),
        (["--onnx", "other.onnx"], ["other.onnx is a graph of cmpc2 (voice), expected one of sf2f"]),
        (["--onnx", "older.onnx"], ["older.onnx has no value named", "export the weights again"]),
        (["--onnx", "text.onnx"], ["text.onnx is corrupt, truncated or not an ONNX file"]),
        (["--onnx", "absent.onnx"], ["--onnx: nothing at", "absent.onnx"]),
        (["--onnx", result.path.name, "--device", "cuda"], ["--device cuda", "run on the CPU"]),
    ):
        words = [str(tmp_path / word) if word.endswith(".onnx") else word for word in words]
        words = [str(result.path) if word.endswith("face.onnx") else word for word in words]
        assert main(["infer", str(voice), "--out", str(tmp_path / "out"), *words]) == 1
        assert_mentions(capsys.readouterr().err, *message)
    for words in (["--weights", "RUN"], ["--noise-seed", "1"]):
        with pytest.raises(SystemExit):
            main(["infer", str(voice), "--out", str(tmp_path / "out"), "--onnx", str(result.path), *words])
        assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unsupported_exports_are_rejected(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    run = write_model(tmp_path / "run")
    model = load(run)
    other = model.generator.config.model_copy(
        update={"decoder": model.generator.config.decoder.model_copy(update={"kind": "attn_v2f"})}
    )
    model.generator.config = other
    with pytest.raises(ValueError, match="attn_v2f"):
        build_export_module(model, 10)
    import_onnx()
    with pytest.raises(ValueError, match=r"named \*\.onnx, found .*face.bin"):
        export_onnx(load(run), tmp_path / "face.bin")
    monkeypatch.setattr("voiceface.export.packages.importlib.util.find_spec", lambda _: None)
    words = ["export", str(run), "--out", str(tmp_path / "face.onnx")]
    assert main(words) == 1
    assert "onnx and onnxruntime: pip install 'voiceface-shared[onnx]'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--weights", str(run)])
    assert "name the model once" in capsys.readouterr().err
