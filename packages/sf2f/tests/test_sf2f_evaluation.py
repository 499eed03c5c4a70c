"""Evaluation: images by number of windows and mode, metrics, outputs of the command."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sf2f.config import DataConfig, Sf2fConfig
from sf2f.data import synthetic_speakers
from sf2f.evaluation import EvaluationResult, evaluate, format_results
from sf2f.evaluation_inputs import load_evaluation_inputs
from sf2f.evaluation_metrics import DIVERSITY, FACENET, GROUND_TRUTH, INCEPTION, VGGFACE, select_window_counts
from sf2f.evaluation_networks import EvaluationNetworks, NetworkFiles, load_networks
from sf2f.generation import (
    WindowEmbeddings,
    contact_sheet,
    embed_speakers,
    face_ground_truth,
    generate_by_mode,
    generate_images,
    generate_window_images,
    has_enough_identities,
    stack_equal_counts,
)
from sf2f.generator import EncoderDecoder
from sf2f.models import Sf2fModel
from sf2f.speakers import DataError, Speakers
from voiceface.checkpoints.native import save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.exit_status import INCOMPLETE
from voiceface.runtime.config import load_config, to_dict

SIZES = {"train": 4, "val": 2, "test": 8, "clip_seconds": 1.2, "render_size": 32}
OVERRIDES = (
    "generator.encoder.channels=[8,8]",
    "generator.encoder.embedding_dim=16",
    "generator.decoder.channels=[8,8,8,8]",
    "discriminators.image=[]",
    "discriminators.identity=[]",
    "data.windows.width=20",
    "data.windows.stride=20",
    "data.windows.max_windows=4",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def speakers() -> Speakers:
    return synthetic_speakers("tiny", "test", workers=1, progress=False, **SIZES)


def tiny_config(name: str) -> Sf2fConfig:
    return load_config(name, Sf2fConfig, "sf2f", OVERRIDES)


def tiny_model(name: str, seed: int = 0) -> Sf2fModel:
    torch.manual_seed(seed)
    config = tiny_config(name)
    generator = EncoderDecoder(config.generator)
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    return Sf2fModel(generator.eval().requires_grad_(False), config.data, config.name)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Checkpoint of a stage-1 model."""
    config, model = tiny_config("quick_1st_stage"), tiny_model("quick_1st_stage")
    path = tmp_path / "model.safetensors"
    extra = {"names": ["Somebody"], "disclaimer": "nothing real"}
    state = model.generator.state_dict()
    save_model(path, state, system="sf2f", kind="generator", config=to_dict(config), extra=extra)
    return path


def test_windows_are_embedded_in_order_and_independently(speakers: Speakers) -> None:
    model = tiny_model("quick_1st_stage")
    embeddings = embed_speakers(model, speakers)
    assert len(embeddings) == len(speakers) and {len(each) for each in embeddings.windows} == {4}
    alone = embed_speakers(model, speakers.subset([3]))
    assert torch.allclose(alone.windows[0], embeddings.windows[3], atol=1e-6), "independent of the batch"
    again = embed_speakers(model, speakers)
    assert all(torch.equal(a, b) for a, b in zip(embeddings.windows, again.windows))


def test_images_from_one_window_several_windows_and_the_mean(speakers: Speakers) -> None:
    model = tiny_model("quick_1st_stage")
    embeddings = embed_speakers(model, speakers)
    every = generate_window_images(model, embeddings)
    assert torch.allclose(generate_images(model, embeddings, 1)[2], every[2][0], atol=1e-6)
    two = model.decode_images(embeddings.windows[2][:2].mean(0, keepdim=True))[0]
    assert torch.allclose(generate_images(model, embeddings, 2)[2], two, atol=1e-6)
    full = generate_images(model, embeddings)
    assert full.shape == (len(speakers), 3, 32, 32) and 0 <= full.min() <= full.max() <= 1


def test_published_generation_modes(speakers: Speakers) -> None:
    first, second = tiny_model("quick_1st_stage"), tiny_model("quick_fuser")
    embeddings = embed_speakers(second, speakers)
    assert [len(each) for each in generate_by_mode(second, embeddings, "average_facenet_embedding")] == [
        4
    ] * 8
    fused = generate_by_mode(second, embeddings, "fused")
    assert torch.equal(fused[1][0], generate_images(second, embeddings)[1])
    mean = generate_by_mode(second, embeddings, "average_voice_embedding")
    assert torch.allclose(
        mean[1], second.decode_images(embeddings.windows[1].mean(0, keepdim=True)), atol=1e-6
    )
    assert not torch.allclose(mean[1], fused[1], atol=1e-4), "averaging modes bypass the fuser"
    with pytest.raises(ValueError, match="stage-2 model"):
        generate_by_mode(first, embed_speakers(first, speakers), "fused")


def test_selected_window_counts() -> None:
    assert select_window_counts([8, 8]) == [1, 2, 4, 8]
    assert select_window_counts([3, 8]) == [1, 2, 8], "only counts that every identity has, and all"
    assert select_window_counts([1]) == [1] and select_window_counts([20, 20]) == [1, 2, 4, 8, 16, 20]


def test_real_images_reach_the_upper_bound_and_random_ones_chance_level(speakers: Speakers) -> None:
    """Metrics depend on the images: real images score best."""
    from voiceface.synthetic.agreement.agreement import measure_agreement
    from voiceface.synthetic.readers.attribute_reader import load_reader

    model = tiny_model("quick_1st_stage")
    found = evaluate(model, speakers, bootstrap_samples=20)
    assert list(found.agreement) == [1, 2, 4] and len(found.ranks) == 8
    assert sorted(set(found.ranks)) >= [1] and max(found.ranks) <= 8
    ground_truth = face_ground_truth(speakers)
    assert ground_truth is not None and has_enough_identities(ground_truth)
    real = stack_equal_counts(found.real_images)
    best = measure_agreement(load_reader("evaluation"), real[:, 1], real, ground_truth, replicates=20).metrics
    ours = found.agreement[4].metrics
    assert best["1:2 matching"].value > 0.9 > ours["1:2 matching"].value
    assert "one window" in format_results(found) and "fused" not in format_results(found)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["num_identities"] == 8 and set(plain["agreement"]) == {"1", "2", "4"}


def test_ground_truth_follows_the_order_of_names(speakers: Speakers) -> None:
    ground_truth, turned = face_ground_truth(speakers), face_ground_truth(speakers.subset([5, 2]))
    assert ground_truth is not None and turned is not None
    assert np.allclose(ground_truth.factors[[5, 2]], turned.factors)
    assert speakers.ground_truth is not None and np.allclose(
        speakers.ground_truth.face_factors, ground_truth.factors
    )
    assert not has_enough_identities(turned) and not has_enough_identities(None)


def test_facenet_metrics_use_the_given_network(
    speakers: Speakers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """FaceNet metrics with a stand-in that returns mean colours."""
    import sf2f.metrics
    import sf2f.third_party_networks

    class Colours:
        def __init__(self, network: object, return_pooling: bool = False) -> None:
            assert network == "network"

        def embed_identities(self, images: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack([each.mean((0, 2, 3)) for each in images])

    monkeypatch.setattr(sf2f.third_party_networks, "load_facenet_vggface2", lambda place: "network")
    monkeypatch.setattr(sf2f.metrics, "FaceEmbedder", Colours)
    (tmp_path / "network.pt").touch()
    files = NetworkFiles(facenet=tmp_path / "network.pt")
    found = evaluate(tiny_model("quick_fuser"), replace(speakers, ground_truth=None), files)
    assert set(found.facenet_metrics) == {
        "naive",
        "average_facenet_embedding",
        "average_voice_embedding",
        "fused",
    }
    assert {"l1", "l2", "cosine", "mismatched_cosine", "R@1", "R@10", "R@50 (L1)"} <= set(
        found.facenet_metrics["fused"]
    )
    assert found.chance_recall[1] == pytest.approx(1 / 8) and found.facenet_metrics["naive"]["R@10"] == 1
    assert not found.agreement and "naive" in format_results(found)


def test_the_command_writes_images_metrics_and_a_report(
    checkpoint: Path,
    speakers: Speakers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    import sf2f.data

    monkeypatch.setattr(sf2f.data, "load_speakers", lambda *_, **__: speakers)
    out = tmp_path / "out"
    words = ["--population", "tiny", "--weights", str(checkpoint), "--out", str(out)]
    assert run_main("sf2f.test", words) == 0
    said = capsys.readouterr()
    assert "factors" in said.out and "nothing real" in said.err
    assert len(list((out / "faces").glob("*.png"))) == 8
    assert json.loads((out / "results.json").read_text())["disclaimer"] == "nothing real"
    page = (out / "report.html").read_text()
    assert page.count("nothing real") and "from one window of the voice" in page and "audio" in page
    assert (out / "table.csv").read_text().startswith("Model,Name,Mode,L2")
    (tmp_path / "file").write_text("")
    assert run_main("sf2f.test", [*words[:-1], str(tmp_path / "file")]) == 1
    assert "is a file" in capsys.readouterr().err


def test_overlap_with_the_training_set_is_reported(
    checkpoint: Path,
    speakers: Speakers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    import sf2f.data

    known = replace(speakers, names=("Somebody", *speakers.names[1:]), ground_truth=None, disclaimer="")
    monkeypatch.setattr(sf2f.data, "load_speakers", lambda *_, **__: known)
    words = ["--population", "tiny", "--weights", str(checkpoint), "--out", str(tmp_path / "out")]
    assert run_main("sf2f.test", words) == 0
    said = capsys.readouterr()
    assert "1 of 8 " in said.err and "(Somebody)" in said.err and "No metric" in said.out


def test_absent_network_files_are_named_together_before_anything_is_loaded(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import sf2f.models

    monkeypatch.setattr(sf2f.models, "load_sf2f_model", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "v0.1").mkdir()
    (tmp_path / "v0.1" / "alex.pth").touch()
    words = ["--population", "tiny", "--weights", str(checkpoint), "--out", str(tmp_path / "out")]
    words += ["--facenet", str(tmp_path / "no.pt"), "--lpips", str(tmp_path)]
    words += ["--vggface", str(tmp_path / "no.pkl"), "--inception", str(tmp_path)]
    assert run_main("sf2f.test", words) == 1
    message = capsys.readouterr().err
    for flag in ("--facenet: FaceNet", "--vggface: ResNet-50", "--inception: Inception", "--lpips: AlexNet"):
        assert flag in message
    assert "linear weights of LPIPS" not in message, "this file is there"
    assert not (tmp_path / "out").exists()


def test_files_of_other_networks_are_named_together(tmp_path: Path) -> None:
    for name in ("facenet.pt", "inception.pth"):
        torch.save({"other.weight": torch.zeros(3)}, tmp_path / name)
    files = NetworkFiles(facenet=tmp_path / "facenet.pt", inception=tmp_path / "inception.pth")
    with pytest.raises(CheckpointError, match=r"--facenet .*facenet\.pt: .*; --inception .*inception\.pth: "):
        load_networks(files)
    assert load_networks(NetworkFiles()) == EvaluationNetworks()


def stand_in_networks() -> EvaluationNetworks:
    """Networks that fail when they are used."""
    return EvaluationNetworks(*("facenet", "vggface", "inception", "lpips"))  # type: ignore[arg-type]


def test_a_metric_that_fails_costs_no_other(speakers: Speakers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are handed over one after the other; each failure is a row with its reason."""
    import sf2f.metrics
    import voiceface.metrics.generation

    def fail(*_: object, **__: object) -> None:
        raise ValueError("too few images")

    class Pair:
        mean, std = 0.25, 0.5

    monkeypatch.setattr(sf2f.metrics, "FaceEmbedder", fail)
    monkeypatch.setattr(sf2f.metrics, "inception_scores", fail)
    monkeypatch.setattr(sf2f.metrics, "vggface_score", lambda *_, **__: Pair)
    monkeypatch.setattr(voiceface.metrics.generation, "diversity", lambda *_: Pair)
    seen: list[EvaluationResult] = []
    model = tiny_model("quick_1st_stage")
    few = speakers.subset([0, 1])
    found = evaluate(model, few, stand_in_networks(), on_result=seen.append)
    assert found.scores == {"VFS": 0.25, "VFS std": 0.5, "LPIPS diversity": 0.25, "LPIPS diversity std": 0.5}
    reasons = {each.name: each.reason for each in found.unavailable}
    assert set(reasons) == {GROUND_TRUTH, FACENET, INCEPTION} and reasons[FACENET] == "too few images"
    assert "two identities of each gender" in reasons[GROUND_TRUTH]
    assert [len(each.scores) for each in seen] == [0, 0, 0, 2, 2, 4]
    groups = {GROUND_TRUTH, FACENET, VGGFACE, INCEPTION, DIVERSITY}
    assert {each.name for each in seen[0].unavailable} == groups
    assert all("not computed yet" in each.reason for each in seen[0].unavailable)
    assert f"not computed: {INCEPTION}: too few images" in format_results(found)
    assert seen[-1].to_dict() == found.to_dict()


def test_identities_with_unreadable_files_are_left_out_and_listed(speakers: Speakers, tmp_path: Path) -> None:
    model = tiny_model("quick_1st_stage")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    faces = list(speakers.faces)
    faces[1] = (str(tmp_path / "bad.jpg"),)
    voices = list(speakers.utterances)
    voices[6] = (str(tmp_path / "absent.npy"),)
    damaged = replace(speakers, faces=tuple(faces), utterances=tuple(voices))
    found = evaluate(model, damaged, bootstrap_samples=20)
    alone = evaluate(model, speakers.subset([0, 2, 3, 4, 5, 7]), bootstrap_samples=20)
    assert found.rows == (0, 2, 3, 4, 5, 7) and torch.equal(found.images, alone.images)
    assert found.agreement[4].to_dict() == alone.agreement[4].to_dict()
    (image, voice) = found.unavailable
    assert image.name == f"identity {speakers.names[1]}" and "bad.jpg" in image.reason
    assert voice.name == f"identity {speakers.names[6]}" and "absent.npy" in voice.reason
    with pytest.raises(DataError, match="none of 2 identities"):
        load_evaluation_inputs(model, damaged.subset([1, 6]))


def test_the_command_says_that_results_are_missing(
    checkpoint: Path,
    speakers: Speakers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    import sf2f.data

    monkeypatch.setattr(sf2f.data, "load_speakers", lambda *_, **__: speakers.subset([0, 1, 2]))
    words = ["--population", "tiny", "--weights", str(checkpoint), "--out", str(tmp_path / "out")]
    assert run_main("sf2f.test", words) == INCOMPLETE
    said = capsys.readouterr()
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["unavailable"]
    assert row["name"] == GROUND_TRUTH and row["reason"] in (tmp_path / "out" / "report.html").read_text()
    assert f"not computed: {GROUND_TRUTH}: " in said.out and "exit status 3" in said.err
    assert len(list((tmp_path / "out" / "faces").glob("*.png"))) == 3


def test_contact_sheet_contains_every_image_once() -> None:
    images = torch.arange(5.0)[:, None, None, None].expand(5, 3, 2, 2) / 10
    sheet = contact_sheet(images, columns=3, gap=1)
    assert sheet.shape == (2 * 3 + 1, 3 * 3 + 1, 3)
    assert sorted(set(sheet.flatten().tolist())) == [0, 26, 51, 76, 102, 255]
    assert (sheet[4:6, 7:9] == 255).all(), "the sixth cell is empty"


def test_tile_two_by_two() -> None:
    from sf2f.evaluation_report import tile_two_by_two

    grey = [torch.full((3, 2, 2), value) for value in (0.0, 0.2, 0.4, 0.6)]
    square = tile_two_by_two(grey[:2], grey[2:])
    assert square.shape == (6, 6, 3) and square[0, 0, 0] == 0 and square[0, 5, 0] == 51
    assert square[5, 0, 0] == 102 and square[5, 5, 0] == 153 and (square[2:4] == 255).all()


def test_a_single_window_is_fused_only_if_it_is_the_only_one() -> None:
    model = tiny_model("quick_fuser")
    embeddings = WindowEmbeddings((torch.nn.functional.normalize(torch.randn(1, 16)),))
    alone, joined = generate_images(model, embeddings, 1), generate_images(model, embeddings)
    assert torch.allclose(alone[0], model.decode_images(embeddings.windows[0])[0])
    assert torch.allclose(joined[0], model.decode_images(model.pool_embeddings(embeddings.windows[0]))[0])
    assert DataConfig().windows.max_windows == 20
