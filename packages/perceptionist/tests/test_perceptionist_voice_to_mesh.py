"""Voice to mesh: every network runs once per utterance, and generating equals predicting step by step."""

from pathlib import Path
from typing import Any

import numpy as np
import perceptionist
import pytest
import torch
from perceptionist import visualisation
from perceptionist.models import load_voice_to_mesh
from perceptionist.voice_to_mesh import VoiceToMesh
from tiny_checkpoints import write_supervised_checkpoint, write_unsupervised_checkpoint
from voiceface.testing.silence import require_silence_is_not_heard, synthesise_voices

WRITERS = {"supervised": write_supervised_checkpoint, "unsupervised": write_unsupervised_checkpoint}


@pytest.fixture(params=sorted(WRITERS))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> VoiceToMesh:
    return load_voice_to_mesh(WRITERS[request.param](tmp_path / "model.safetensors"))


@pytest.fixture
def feature_file(tmp_path: Path) -> Path:
    path = tmp_path / "utterance.npy"
    np.save(path, np.random.default_rng(0).normal(size=(120, 64)).astype(np.float32))
    return path


def test_every_network_runs_once_per_utterance(model: VoiceToMesh, feature_file: Path) -> None:
    calls: dict[str, int] = {}
    for name in ("voice", "head", "generator", "student", "expert"):
        network = getattr(model, name)
        if network is not None:
            calls[name] = 0

            def count(*args: Any, name: str = name) -> None:
                calls[name] += 1

            network.register_forward_hook(count)
    model.generate(feature_file)
    assert len(calls) == (2 if model.kind == "supervised" else 4)
    assert set(calls.values()) == {1}


def test_generating_equals_predicting_step_by_step(model: VoiceToMesh, feature_file: Path) -> None:
    face = model.generate(feature_file)
    features = torch.from_numpy(np.load(feature_file).T.copy())[None]
    assert np.array_equal(face.vertices, model.predict_vertices(features)[0].T.numpy())
    assert np.array_equal(face.embedding, model.voice.encode(features)[0].detach().numpy())
    assert np.array_equal(face.shape, model.predict_coefficients(features).shape[0].numpy())
    assert (face.image is None) == (face.overlay is None) == (model.kind == "supervised")
    assert face.source == str(feature_file)


def test_published_overlay_is_drawn_with_the_published_coverage_rule(
    model: VoiceToMesh, feature_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if model.kind == "supervised":
        pytest.skip("has no image to draw over")
    features = np.load(feature_file)
    published = model.generate_from_features(features, published=True)
    drawn = visualisation.overlay

    def with_other_rule(*arguments: Any, **options: Any) -> Any:
        assert options["coverage"] == "inclusive"
        return drawn(*arguments, **{**options, "coverage": "top_left"})

    monkeypatch.setattr(visualisation, "overlay", with_other_rule)
    other = model.generate_from_features(features, published=True)
    assert published.image is not None and np.array_equal(published.image, other.image)
    assert not np.array_equal(published.overlay, other.overlay)


def test_the_package_exports_its_api_lazily() -> None:
    assert perceptionist.VoiceToMesh is VoiceToMesh
    assert sorted(name for name in perceptionist.__all__ if hasattr(perceptionist, name)) == sorted(
        perceptionist.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'face'"):
        _ = perceptionist.face


def test_silence_around_and_within_a_recording_is_not_heard(tmp_path: Path) -> None:
    model = perceptionist.load()

    def embed(paths: list[Path]) -> torch.Tensor:
        return torch.stack([torch.from_numpy(model.generate(path).embedding) for path in paths])

    require_silence_is_not_heard(embed, tmp_path, synthesise_voices(3))


def test_the_plug_in_describes_a_head_as_the_command_does(tmp_path: Path) -> None:
    import wave

    from perceptionist.suite_plugin import load
    from voiceface.suite.plugins import DescribingMeshGenerator
    from voiceface.synthetic.identities import sample_identities
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(synthesise_clip(sample_identities([120]), 0, 0, seconds=2.0).samples.tobytes())
    system = load()
    assert isinstance(system, DescribingMeshGenerator)
    found = system.describe_utterance(path)
    assert np.array_equal(found.vertices, system.generate_vertices(path))
    assert found.reference.shape == found.vertices.shape
    assert found.reference_name == min(found.distances, key=lambda name: found.distances[name])
    assert set(found.differences) == {"forehead", "cheek", "ear", "midline"}


def test_the_plug_in_states_the_rules_of_its_descriptions() -> None:
    from perceptionist.face_models.synthetic_head import classify_gender, find_head
    from perceptionist.suite_plugin import load
    from voiceface.suite.mesh_rules import MeshRuleSource

    system = load()
    assert isinstance(system, MeshRuleSource)
    rules = system.description_rules()
    assert list(rules.references)[:2] == list(rules.genders) == ["male", "female"]
    assert set(rules.pairs) == {"forehead", "cheek", "ear", "midline"}
    head = find_head(system.model.face_model.name)
    assert head is not None and rules.gender_direction is not None
    for shape in np.random.default_rng(0).normal(0, 1, (50, 40)):
        expected = classify_gender(shape, head)
        assert rules.genders[0 if shape @ rules.gender_direction > 0 else 1] == expected
