"""Training of fop: what a run writes, choice of the checkpoint, resuming, processes, published deviations."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from feature_sets import make_features, write_published_csv
from fop.config import FopConfig
from fop.objectives import OBJECTIVES
from fop.published import save_checkpoint
from fop.train import FopTrainer, main, train
from fop.validation import FeatureValidation, encode_features, expected_matching_accuracy
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.resume_state import load_state
from voiceface.commandline.dispatch import run_main
from voiceface.encoders.tables import FeatureSet
from voiceface.runtime.config import bundled_configs, load_config
from voiceface.testing import fault_injection
from voiceface.testing.corrupt_files import assert_mentions
from voiceface.testing.fault_injection import InterruptibleRun
from voiceface.testing.runs import read_log_without_clock, run_outcome, use_one_thread

SMALL = (
    "model.embedding_dim=8",
    "model.attention_width=8",
    "training.batch_size=16",
    "training.log_interval=1",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    use_one_thread()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of 12 training, 6 validation and 6 test people."""
    path = tmp_path_factory.mktemp("features")
    make_features(people=24, splits=("train", "train", "val", "test")).save(path)
    return path


@pytest.fixture
def start_process() -> Iterator[Callable[..., Any]]:
    """Start a function in its own process; processes still running at the end are killed."""
    processes = fault_injection.preloaded_processes("fop.train", "fop.published")
    with fault_injection.process_starter(processes) as start:
        yield start


def words(folder: Path, out: Path, *more: str, cfg: str = "main") -> list[str]:
    flags = [word for word in more if word.startswith("--")]
    settings = [word for word in more if not word.startswith("--")]
    where = ["--features", str(folder)] if folder.is_dir() else ["--csv-voices", str(folder)]
    return [
        "--cfg",
        cfg,
        *where,
        "--out",
        str(out),
        "--device",
        "cpu",
        "--threads",
        "1",
        *flags,
        *SMALL,
        *settings,
    ]


def load(name: str, *overrides: str) -> FopConfig:
    return load_config(name, FopConfig, "fop", (*SMALL, *overrides))


def without_validation(name: str = "main", *overrides: str) -> FopConfig:
    return load(name, "training.validation_interval=null", "training.best_checkpoint=none", *overrides)


@pytest.fixture(scope="session")
def interruptible_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> InterruptibleRun:
    """A run of 3 epochs of 5 steps, with validation and states between."""
    settings = ("training.epochs=3", "training.checkpoint_interval=1")

    def arguments(out: Path, *more: str) -> list[str]:
        return words(folder, out, *settings, *more)

    run = InterruptibleRun("fop.train", arguments, tmp_path_factory.mktemp("runs") / "reference")
    assert run.train(run.reference_run) == 0
    return run


def test_run_writes_a_model_with_its_encoders(interruptible_run: InterruptibleRun, folder: Path) -> None:
    loaded = load_model(interruptible_run.reference_run / "model.safetensors", system="fop", kind="model")
    features = FeatureSet.load(folder).split("train")
    assert loaded.extra["names"] == list(features.identities)
    assert [each["name"] for each in loaded.extra["encoders"]] == ["voices of tests", "faces of tests"]
    assert loaded.config["model"]["voice_dim"] == 12 and loaded.config["model"]["face_dim"] == 20
    assert loaded.config["data"]["voice_encoder"] == "voices of tests"
    assert loaded.state["logits_layer.weight"].shape == (12, 8)


def test_validation_people_choose_the_model(interruptible_run: InterruptibleRun) -> None:
    run = interruptible_run.reference_run
    log = [row for row in read_log_without_clock(run) if "val/matching_accuracy" in row]
    assert [row["step"] for row in log] == [5, 10, 15]
    best = max(log, key=lambda row: row["val/matching_accuracy"])
    final, chosen = (load_model(run / name) for name in ("model.safetensors", "checkpoints/best.safetensors"))
    assert final.extra["best_step"] == best["step"]
    assert all(torch.equal(value, chosen.state[key]) for key, value in final.state.items())
    assert final.extra["impostor_scores"]["source"] == "validation identities of the training"


def test_resumed_runs_end_with_the_same_bytes(interruptible_run: InterruptibleRun, tmp_path: Path) -> None:
    fault_injection.check_disk_full_during_save(interruptible_run, tmp_path / "run", save_index=4)
    fault_injection.check_resumed_when_finished(interruptible_run)


def test_killed_run_resumes_to_the_same_bytes(
    interruptible_run: InterruptibleRun, start_process: Callable[..., Any], tmp_path: Path
) -> None:
    fault_injection.check_killed_during_save(interruptible_run, start_process, tmp_path / "run", 3)


@pytest.mark.parametrize("objective", ["angular_margin", "identity_space"])
def test_runs_of_objectives_with_a_state_resume_to_the_same_bytes(
    objective: str, folder: Path, tmp_path: Path
) -> None:
    settings = ("training.epochs=2", "training.checkpoint_interval=1", f"loss.objective={objective}")

    def arguments(out: Path, *more: str) -> list[str]:
        return words(folder, out, *settings, *more)

    run = InterruptibleRun("fop.train", arguments, tmp_path / "reference")
    assert run.train(run.reference_run) == 0
    fault_injection.check_disk_full_during_save(run, tmp_path / "run", save_index=4)


def test_two_processes_give_the_run_of_one_and_continue_it(
    interruptible_run: InterruptibleRun, start_process: Callable[..., Any], tmp_path: Path
) -> None:
    settings = ("training.last_batch=drop", "training.epochs=2", "optimiser.lr=1.0e-4")
    errors = tmp_path / "errors"
    whole = partial(fault_injection.run_as_program, interruptible_run.module)
    part = partial(fault_injection.run_stopped_after, interruptible_run.module, 3)
    for name, command, count, more, status in (
        ("both", whole, 2, (), 0),
        ("one", part, 1, (), 143),
        ("one", whole, 2, ("--resume",), 0),
        ("two", part, 2, (), 143),
        ("two", whole, 1, ("--resume",), 0),
    ):
        arguments = interruptible_run.build_arguments(tmp_path / name, *settings, *more)
        fault_injection.run_in_processes(
            start_process, command, arguments, errors, count=count, exit_status=status
        )
    assert interruptible_run.train(tmp_path / "alone", *settings) == 0
    expected = read_log_without_clock(tmp_path / "alone")
    assert any("val/matching_accuracy" in row for row in expected)
    for name in ("both", "one", "two"):
        for row, other in zip(read_log_without_clock(tmp_path / name), expected, strict=True):
            assert row == pytest.approx(other, rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("name", bundled_configs("fop"))
def test_every_bundled_configuration_makes_two_steps(name: str, tmp_path: Path) -> None:
    published = name.startswith("published")
    dims = {"voice_dim": 512, "face_dim": 4096} if published else {}
    features = make_features(people=6, voices=24, faces=24, **dims)
    config = load_config(name, FopConfig, "fop", ["training.max_steps=2", "training.batch_size=32"])
    people = "test" if config.training.best_checkpoint == "test" else "validation"
    validation = FeatureValidation(make_features(people=4, seed=1, **dims), None, people)
    path = train(config, features, tmp_path / "run", validation=validation)
    assert all(value.isfinite().all() for value in load_model(path).state.values())
    steps = [row["step"] for row in read_log_without_clock(tmp_path / "run") if "total_loss" in row]
    assert max(steps) == 1


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_trains(objective: str, tmp_path: Path) -> None:
    if objective in ("seeking_shape", "archetype_agnostic", "cmpc2"):
        pytest.importorskip(objective)
    more = ["loss.cmpc2.num_clusters=[2,3]"] if objective == "cmpc2" else []
    config = without_validation("main", f"loss.objective={objective}", "training.max_steps=12", *more)
    train(config, make_features(), tmp_path / "run", validation=None)
    log = read_log_without_clock(tmp_path / "run")
    assert len(log) == 12 and all(np.isfinite(row["total_loss"]) for row in log)
    assert log[-1]["total_loss"] != log[0]["total_loss"]


def test_the_parameters_of_an_objective_are_no_model_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fop.__main__ import main as program

    config = without_validation("main", "loss.objective=infonce", "training.max_steps=1")
    train(config, make_features(), tmp_path / "run", validation=None)
    out = tmp_path / "small.safetensors"
    assert program(["export", str(tmp_path / "run" / "objective.safetensors"), "--out", str(out)]) == 1
    assert "found 'objective', expected 'model'" in capsys.readouterr().err
    assert not out.exists()
    assert program(["export", str(tmp_path / "run"), "--out", str(out)]) == 0


def test_training_learns_who_belongs_together(tmp_path: Path) -> None:
    features, unseen = make_features(people=60), make_features(people=12, seed=1)
    config = without_validation("main", "training.epochs=30", "optimiser.lr=0.01", "training.batch_size=64")
    trainer = FopTrainer(config, features)
    trainer.fit(tmp_path / "run")
    same = torch.from_numpy(unseen.voice_identities[:, None] == unseen.face_identities[None])
    voices, faces = encode_features(trainer.model, unseen)
    cosine = torch.nn.functional.normalize(voices, dim=1) @ torch.nn.functional.normalize(faces, dim=1).T
    assert expected_matching_accuracy(cosine, same) > 0.8


def test_published_list_of_alphas_trains_one_model_on(tmp_path: Path) -> None:
    settings = ("loss.fop.alpha=[0,2]", "training.epochs=2", "model.dropout=0", "data.pairing=rows")
    train(without_validation("main", *settings), make_features(), tmp_path / "run")
    log = read_log_without_clock(tmp_path / "run")
    assert len(log) == 12  # 48 pairs, two alphas, two epochs
    for row in log:
        alpha = 0 if row["step"] < 6 else 2
        assert row["total_loss"] == pytest.approx(row["cross_entropy"] + alpha * row["projection"], rel=1e-4)
    first = without_validation("main", *settings, "loss.fop.alphas_used=first")
    train(first, make_features(), tmp_path / "first")
    assert read_log_without_clock(tmp_path / "first") == log[:6]


def test_published_choice_on_test_people_is_recorded(folder: Path, tmp_path: Path) -> None:
    settings = ("training.best_checkpoint=test", "training.selected_by=eer", "training.epochs=2")
    assert main(words(folder, tmp_path / "run", *settings)) == 0
    log = [row for row in read_log_without_clock(tmp_path / "run") if "test/eer" in row]
    assert len(log) == 2
    extra = load_model(tmp_path / "run" / "model.safetensors").extra
    assert extra["best_step"] == min(log, key=lambda row: row["test/eer"])["step"]
    assert extra["impostor_scores"]["source"] == "test identities of the training"


def test_csv_files_of_the_published_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voices, faces = write_published_csv(make_features(people=12), tmp_path)
    arguments = words(voices, tmp_path / "run", "training.epochs=1", "data.pairing=rows")
    assert main([*arguments, "--csv-faces", str(faces)]) == 0
    extra = load_model(tmp_path / "run" / "model.safetensors").extra
    assert len(extra["names"]) == 10 and extra["encoders"][0]["name"] == "table:voices.csv"
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "give both" in capsys.readouterr().err


def test_validation_features_of_another_folder_are_used(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    features = make_features(people=5, seed=7)
    people = tuple(replace(person, name=f"other {person.name}") for person in features.people)
    replace(features, people=people).save(other)
    out = tmp_path / "run"
    assert main([*words(folder, out, "training.epochs=1"), "--validation-features", str(other)]) == 0
    assert load_model(out / "model.safetensors").extra["impostor_scores"]["num_identities"] == 5


@pytest.mark.parametrize(
    "overrides", [(), ("training.best_checkpoint=none", "training.validation_interval=null")]
)
def test_diverged_training_ends_without_a_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...]
) -> None:
    out = tmp_path / "run"
    assert (
        run_main("fop.train", words(folder, out, "training.epochs=2", "optimiser.lr=1e38", *overrides)) == 1
    )
    assert_mentions(capsys.readouterr().err, "training has diverged", "optimiser.lr (1e+38)")
    assert not (out / "model.safetensors").exists()


def test_run_can_start_from_a_published_checkpoint(folder: Path, tmp_path: Path) -> None:
    trainer = FopTrainer(without_validation("main", "training.max_steps=1"), make_features())
    trainer.fit(tmp_path / "first")
    save_checkpoint(tmp_path / "x.pth.tar", trainer.model, epoch=1)
    settings = ("training.max_steps=1", "optimiser.lr=1.0e-9", "training.best_checkpoint=none")
    arguments = words(folder, tmp_path / "run", *settings)
    assert main([*arguments, "--checkpoint", str(tmp_path / "x.pth.tar")]) == 0
    state = load_model(tmp_path / "run" / "model.safetensors").state
    key = "face_branch.fc1.0.weight"
    assert torch.allclose(state[key], trainer.model.state_dict()[key], atol=1e-6)
    assert state["logits_layer.weight"].shape[0] == 12, "other people: the classifier is new"


def test_messages_name_what_to_do(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run_main("fop.train", words(folder, out, "model.voice_dim=13")) == 1
    assert_mentions(capsys.readouterr().err, "model.voice_dim is 13, found features of length 12", "null")
    no_splits = tmp_path / "plain"
    make_features().save(no_splits)
    assert run_main("fop.train", words(no_splits, out, "data.validation_share=0")) == 1
    assert_mentions(capsys.readouterr().err, "nobody to validate on", "--validation-features")
    assert (
        run_main("fop.train", words(folder, out, "training.batch_size=500", "training.last_batch=drop")) == 1
    )
    assert_mentions(capsys.readouterr().err, "72 training pairs do not fill one batch of 500")
    assert not out.exists()
    with pytest.raises(SystemExit) as caught:
        main(["--cfg", "main", "--data", str(folder), "--features", str(folder), "--out", str(out)])
    assert caught.value.code == 2


def test_resuming_with_other_features_is_refused(
    interruptible_run: InterruptibleRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    make_features(people=24, voices=7, splits=("train", "train", "val", "test")).save(other)
    before = run_outcome(interruptible_run.reference_run)[0]
    settings = ("training.epochs=3", "training.checkpoint_interval=1", "--resume")
    assert run_main("fop.train", words(other, interruptible_run.reference_run, *settings)) == 1
    assert "Cannot resume" in capsys.readouterr().err
    assert run_outcome(interruptible_run.reference_run)[0] == before


def test_state_of_a_run_has_no_features(interruptible_run: InterruptibleRun) -> None:
    state = load_state(interruptible_run.reference_run / "state.safetensors")
    assert set(state["tracked"]) == {"model", "optimiser"} and json.dumps(state["values"])
