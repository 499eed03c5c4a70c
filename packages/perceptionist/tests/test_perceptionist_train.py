"""Training of every kind: files of a run, identical bytes after resuming, effects of the options."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from perceptionist.config import PerceptionistConfig
from perceptionist.dataset.records import Utterances, VoiceFaceDataset, ratios_from_coefficients
from perceptionist.models import load_checkpoint, load_expert, load_voice_network, load_voice_to_mesh
from perceptionist.train import train
from perceptionist.training_stages.stage import InitialWeights
from perceptionist.validation import build_validation_set, compute_metrics, predict
from tiny_perceptionist_runs import COMMON, KINDS, TINY, tiny_config
from voiceface.checkpoints.published import CheckpointError
from voiceface.commandline.dispatch import run_main
from voiceface.runtime.config import load_config
from voiceface.testing.processes import in_two_processes
from voiceface.testing.runs import read_log_without_clock, run_outcome
from voiceface.training.run import Run

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(
    train_dataset: VoiceFaceDataset, val_dataset: VoiceFaceDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One run of two steps of each kind."""
    folders: dict[str, Path] = {}
    for kind in KINDS:
        out = tmp_path_factory.mktemp("runs") / kind
        weights = InitialWeights()
        if kind == "unsupervised":
            weights = InitialWeights(folders["expert"], folders["supervised"])
        train(
            tiny_config(kind),
            train_dataset,
            out,
            validation_dataset=val_dataset,
            initial_weights=weights,
            threads=1,
        )
        folders[kind] = out
    return folders


@pytest.fixture
def go(
    train_dataset: VoiceFaceDataset, val_dataset: VoiceFaceDataset, runs: dict[str, Path], tmp_path: Path
) -> Train:
    """Train a kind with some overrides; returns the run folder."""

    def run(kind: str, *words: str, name: str = "run", **options: Any) -> Path:
        weights = InitialWeights()
        if kind == "unsupervised":
            weights = InitialWeights(runs["expert"], runs["supervised"])
        options = {
            "initial_weights": weights,
            "dataset": train_dataset,
            "validation_dataset": val_dataset,
            **options,
        }
        train(tiny_config(kind, *words), out=tmp_path / name, threads=1, **options)
        return tmp_path / name

    return run


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ("expert", {"landmarks", "parameters"}),
        ("speaker", {"speaker"}),
        ("supervised", {"scale", "shape", "expression"}),
        (
            "unsupervised",
            {"D_real", "D_fake", "C_real", "G_D_fake", "G_C_fake", "Distill_vertices", "Distill_pooled"}
            | {"Distill_inter", "Triplet"},
        ),
    ],
)
def test_a_run_logs_every_term_and_records_its_origin(
    runs: dict[str, Path], train_dataset: VoiceFaceDataset, kind: str, terms: set[str]
) -> None:
    steps = [row for row in read_log_without_clock(runs[kind]) if "total_loss" in row]
    assert [row["step"] for row in steps] == [0, 1]
    for row in steps:
        assert set(row) - {"step", "lr", "total_loss"} == terms
        assert row["total_loss"] == pytest.approx(sum(row[name] for name in terms), rel=1e-5)
    validated = [row["step"] for row in read_log_without_clock(runs[kind]) if "val/mean" in row]
    assert validated == ([] if kind in ("expert", "speaker") else [0, 2])
    loaded = load_checkpoint(runs[kind])
    assert loaded.kind == kind and loaded.extra["names"] == list(train_dataset.identities)
    assert "not on real people" in loaded.extra["disclaimer"] and loaded.extra["step"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_same_bytes(runs: dict[str, Path], go: Train, kind: str) -> None:
    class Stop(Exception): ...

    from perceptionist import train as module

    uninterrupted, calls, build = runs[kind], iter(range(10)), module.build_lr_schedule

    def stopping(config: PerceptionistConfig) -> Callable[[int], float]:
        learning_rate = build(config)

        def interrupted(step: int) -> float:
            if step == 1 and next(calls) == 0:
                raise Stop
            return learning_rate(step)

        return interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_lr_schedule", stopping)
        with pytest.raises(Stop):
            go(kind)
    assert run_outcome(go(kind, resume=True, initial_weights=InitialWeights())) == run_outcome(
        uninterrupted
    ), "initial weights are part of the saved state"


def test_a_killed_run_resumes_to_the_same_bytes(
    runs: dict[str, Path], tmp_path: Path, train_dataset: VoiceFaceDataset, val_dataset: VoiceFaceDataset
) -> None:
    """SIGKILL inside the second step of the cascade, in a separate process."""
    stored = tmp_path / "datasets.pkl"
    stored.write_bytes(pickle.dumps((train_dataset, val_dataset)))
    code = f"""
import os, pickle, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from tiny_perceptionist_runs import tiny_config
from perceptionist.training_stages.stage import InitialWeights
from perceptionist.train import train
from perceptionist.training_stages import unsupervised
real, count = unsupervised.compute_generator_losses, iter(range(10))
def die(*args, **kwargs):
    if next(count) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
unsupervised.compute_generator_losses = die
train_dataset, val_dataset = pickle.loads(Path({str(stored)!r}).read_bytes())
weights = InitialWeights(Path({str(runs["expert"])!r}), Path({str(runs["supervised"])!r}))
train(tiny_config("unsupervised"), train_dataset, {str(tmp_path / "run")!r},
      validation_dataset=val_dataset, initial_weights=weights, threads=1)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()
    train(
        tiny_config("unsupervised"),
        train_dataset,
        tmp_path / "run",
        validation_dataset=val_dataset,
        threads=1,
        resume=True,
    )
    assert run_outcome(tmp_path / "run") == run_outcome(runs["unsupervised"])


def test_trained_models_predict_meshes_images_and_poses(runs: dict[str, Path]) -> None:
    features = torch.randn(2, 64, 300)
    supervised, cascade = (load_voice_to_mesh(runs[kind]) for kind in ("supervised", "unsupervised"))
    for model in (supervised, cascade):
        meshes = model.predict_vertices(features)
        assert meshes.shape == (2, 3, model.face_model.num_vertices)
        assert "not on real people" in model.disclaimer
        assert not torch.equal(meshes[0], meshes[1])
        shape, expression = (each.numpy() for each in model.predict_coefficients(features)[1:])
        corners = meshes.transpose(1, 2).numpy()
        from perceptionist.proportions import ratios

        assert np.allclose(
            ratios(corners, model.face_model.pairs),
            ratios_from_coefficients(model.face_model, shape, expression),
        )
    numbers = supervised.head(supervised.voice.encode(features))  # type: ignore[misc]
    assert torch.allclose(
        supervised.predict_vertices(features),
        supervised.face_model.vertices_from_supervised(numbers),
        atol=1e-3,
    )
    result = cascade.predict_expert_parameters(cascade.generate_images(features))
    assert result.shape == (2, 62) and cascade.face_model.frontal_vertices(result).shape[0] == 2
    with pytest.raises(ValueError, match="generates no images"):
        supervised.generate_images(features)
    with pytest.raises(CheckpointError, match="takes no voice"):
        load_voice_to_mesh(runs["expert"])
    with pytest.raises(CheckpointError, match="generates no face"):
        load_voice_to_mesh(runs["speaker"])
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_checkpoint(runs["expert"].parent)


def test_frozen_parts_keep_every_bit_and_the_others_are_trained(runs: dict[str, Path]) -> None:
    cascade = load_checkpoint(runs["unsupervised"]).state
    for name, source in (
        ("e", load_voice_network(runs["supervised"])),
        ("expert", load_expert(runs["expert"])),
    ):
        for key, value in source.state_dict().items():
            assert torch.equal(cascade[f"{name}.{key}"], value), key
    early = load_checkpoint(runs["unsupervised"] / "checkpoints" / "step_000001.safetensors").state
    assert not any(key.startswith(("f.", "d.", "c.")) for key in cascade)
    for word in ("g.model.0.weight", "student.features.0.0.weight"):
        assert not torch.equal(early[word], cascade[word])
    assert {"f.model.0.weight", "d.model.weight", "c.model.weight"} <= set(early)


def first(run: Path) -> dict[str, float]:
    """Terms of the first step."""
    return next(row for row in read_log_without_clock(run) if "total_loss" in row)


@pytest.mark.parametrize(
    ("word", "changed"),
    [
        ("losses.distillation.pkt_order=teacher_first", {"Distill_pooled", "Distill_inter"}),
        ("losses.triplet.distance=axis", {"Triplet"}),
        ("data.triplet_sampling=published", {"Triplet"}),
    ],
)
def test_a_published_quirk_changes_its_own_terms(
    runs: dict[str, Path], go: Train, word: str, changed: set[str]
) -> None:
    plain, quirk = first(runs["unsupervised"]), first(go("unsupervised", word, "training.max_steps=1"))
    if "triplet_sampling" in word:  # sampling a negative consumes other random numbers, which may move crops
        assert plain["Triplet"] != quirk["Triplet"] and plain["C_real"] == quirk["C_real"]
        return
    differing = {name for name in plain if plain[name] != pytest.approx(quirk[name], rel=1e-6)}
    assert differing == changed | {"total_loss"}


def test_batch_statistics_change_the_embeddings_and_no_stored_value(runs: dict[str, Path], go: Train) -> None:
    run = go("unsupervised", "training.voice_network=batch_statistics")
    plain, drifting = first(runs["unsupervised"]), first(run)
    assert plain["G_D_fake"] != drifting["G_D_fake"] and plain["D_real"] == drifting["D_real"]
    source = load_voice_network(runs["supervised"]).state_dict()
    state = load_checkpoint(run).state
    for key, value in source.items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(state[f"e.{key}"], value), key
    never = go(
        "unsupervised",
        "training.voice_network=batch_statistics",
        "training.validation_interval=null",
        "training.max_steps=1",
        name="never",
    )
    assert first(never)["G_D_fake"] == plain["G_D_fake"], "the first validation is what switches it"


def test_without_triplets_only_anchors_are_sampled(go: Train) -> None:
    run = go("unsupervised", "losses.triplet=null", "training.max_steps=1")
    assert "Triplet" not in first(run) and "Distill_inter" in first(run)


def test_an_expert_may_learn_with_refiners(train_dataset: VoiceFaceDataset, tmp_path: Path) -> None:
    words = (*TINY["expert"], *COMMON, "training.max_steps=1", "networks.refiners.num_features=16")
    config = load_config("expert", PerceptionistConfig, "perceptionist", words)
    train(config, train_dataset, tmp_path / "run", threads=1)
    assert {"refined", "reverse", "consistency"} <= set(first(tmp_path / "run"))
    assert load_expert(tmp_path / "run").config.image_size == 32


def test_a_given_voice_network_stays_frozen_unless_trained(runs: dict[str, Path], go: Train) -> None:
    source = load_voice_network(runs["supervised"]).state_dict()
    weights = InitialWeights(voice_network=runs["supervised"])
    for mode, same in (("frozen", True), ("trained", False)):
        run = go("supervised", f"training.voice_network={mode}", name=mode, initial_weights=weights)
        state = load_checkpoint(run).state
        assert all(torch.equal(state[f"e.{key}"], value) for key, value in source.items()) is same


def test_means_over_utterances_and_identities_differ_if_counts_do(
    runs: dict[str, Path], val_dataset: VoiceFaceDataset
) -> None:
    kept = [0, 1, 2, 3, 4, 6]  # one utterance each of the last two identities
    utterances = Utterances(
        val_dataset.utterances.labels[kept], [val_dataset.utterances.items[i] for i in kept]
    )
    validation_set = build_validation_set(
        dataclasses.replace(val_dataset, utterances=utterances), val_dataset, None
    )
    model = load_voice_to_mesh(runs["supervised"])
    prediction = predict(model, validation_set.dataset, 3)
    assert prediction.labels.tolist() == [0, 0, 1, 1, 2, 3]
    over_identities, over_utterances = (
        compute_metrics(prediction, validation_set, mean_over) for mean_over in ("identities", "utterances")
    )
    assert val_dataset.ratios is not None
    errors = np.abs(prediction.ratios - val_dataset.ratios[prediction.labels]).mean(1)
    assert over_utterances["mean"] == pytest.approx(errors.mean())
    assert over_identities["mean"] == pytest.approx(
        (errors[:2].mean() + errors[2:4].mean() + errors[4] + errors[5]) / 4
    )


def test_predictions_do_not_depend_on_the_batch_size(
    runs: dict[str, Path], val_dataset: VoiceFaceDataset
) -> None:
    model = load_voice_to_mesh(runs["supervised"])
    together, alone = (predict(model, val_dataset, 2, batch_size=size) for size in (16, 1))
    assert np.allclose(together.ratios, alone.ratios, atol=1e-6)


# bad input


def test_missing_requirements_of_a_kind_are_reported(
    go: Train, train_dataset: VoiceFaceDataset, runs: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match="--expert"):
        go("unsupervised", name="a", initial_weights=InitialWeights(voice_network=runs["supervised"]))
    with pytest.raises(ValueError, match="--voice-network"):
        go("unsupervised", name="b", initial_weights=InitialWeights(expert=runs["expert"]))
    with pytest.raises(ValueError, match="--voice-network"):
        go("supervised", "training.voice_network=frozen", name="c")
    with pytest.raises(ValueError, match="--truth"):
        go("supervised", name="d", dataset=dataclasses.replace(train_dataset, ground_truth=None))
    with pytest.raises(CheckpointError, match="contains no expert"):
        go("unsupervised", name="e", initial_weights=InitialWeights(runs["supervised"], runs["supervised"]))
    with pytest.raises(CheckpointError):
        go("unsupervised", "networks.voice.channels=[4,4]", name="f")
    with pytest.raises(ValueError, match=r"networks\.generator\.embedding_dim is 8"):
        go("unsupervised", "networks.generator.embedding_dim=8", name="g")


def test_a_run_cannot_resume_with_other_identities(
    runs: dict[str, Path], go: Train, train_dataset: VoiceFaceDataset
) -> None:
    go("expert", "training.max_steps=1")
    other = dataclasses.replace(train_dataset, identities=tuple(reversed(train_dataset.identities)))
    with pytest.raises(ValueError, match="training identities"):
        go("expert", "training.max_steps=1", dataset=other, resume=True)


def test_the_train_command_reports_missing_inputs(tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "quick_expert", "--data", tmp_path, "--out", tmp_path / "run", "--device", "cpu"]
    assert run_main("perceptionist.train", [str(word) for word in words]) == 1
    message = capsys.readouterr().err
    assert (
        "neither a population" in message and "Traceback" not in message and not (tmp_path / "run").exists()
    )
    assert run_main("perceptionist.train", [*map(str, words), "--expert", str(tmp_path / "none")]) == 1
    assert "--expert" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_take_the_steps_of_one_and_continue_its_run(
    runs: dict[str, Path],
    train_dataset: VoiceFaceDataset,
    val_dataset: VoiceFaceDataset,
    tmp_path: Path,
    kind: str,
) -> None:
    weights = InitialWeights()
    if kind == "unsupervised":
        weights = InitialWeights(runs["expert"], runs["supervised"])

    config = tiny_config(kind, "training.max_steps=4", "training.batch_size=8")

    def go(name: str, resume: bool = False) -> None:
        options = {"initial_weights": weights, "threads": 1, "resume": resume}
        train(config, train_dataset, tmp_path / name, validation_dataset=val_dataset, **options)  # type: ignore[arg-type]

    go("one")
    in_two_processes(go, "two")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="143"):
        stop_after_step(patch, 1)
        go("continued")
    in_two_processes(go, "continued", True)
    expected = read_log_without_clock(tmp_path / "one")
    assert kind in ("expert", "speaker") or any("val/mean" in row for row in expected)
    for name in ("two", "continued"):
        for row, other in zip(read_log_without_clock(tmp_path / name), expected, strict=True):
            assert row == pytest.approx(other, rel=1e-3, abs=1e-4)


def stop_after_step(patch: pytest.MonkeyPatch, last: int) -> None:
    """Send SIGTERM to this process when a step is logged."""
    log = Run.log

    def stop(run: Run, step: int, *values: Any, **options: Any) -> None:
        log(run, step, *values, **options)
        if step == last and not options:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(Run, "log", stop)
