"""Training of every kind: what a run leaves behind, same bytes after a resume, what options change."""

import dataclasses
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
from voiceface.testing.runs import read_log_without_clock, run_outcome

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(
    people: VoiceFaceDataset, judges: VoiceFaceDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One run of two steps of each kind."""
    found: dict[str, Path] = {}
    for kind in KINDS:
        out = tmp_path_factory.mktemp("runs") / kind
        given = (
            InitialWeights(found["expert"], found["supervised"])
            if kind == "unsupervised"
            else InitialWeights()
        )
        train(tiny_config(kind), people, out, validation_dataset=judges, initial_weights=given, threads=1)
        found[kind] = out
    return found


@pytest.fixture
def go(people: VoiceFaceDataset, judges: VoiceFaceDataset, runs: dict[str, Path], tmp_path: Path) -> Train:
    """Train a kind with some settings in a folder; gives the folder."""

    def run(kind: str, *words: str, name: str = "run", **options: Any) -> Path:
        given = (
            InitialWeights(runs["expert"], runs["supervised"]) if kind == "unsupervised" else InitialWeights()
        )
        options = {"start": given, "people": people, "judges": judges, **options}
        train(tiny_config(kind, *words), options.pop("people"), tmp_path / name, threads=1, **options)
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
def test_a_run_logs_every_term_and_says_what_it_is(
    runs: dict[str, Path], people: VoiceFaceDataset, kind: str, terms: set[str]
) -> None:
    steps = [row for row in read_log_without_clock(runs[kind]) if "total_loss" in row]
    assert [row["step"] for row in steps] == [0, 1]
    for row in steps:
        assert set(row) - {"step", "lr", "total_loss"} == terms
        assert row["total_loss"] == pytest.approx(sum(row[name] for name in terms), rel=1e-5)
    judged = [row["step"] for row in read_log_without_clock(runs[kind]) if "val/mean" in row]
    assert judged == ([] if kind in ("expert", "speaker") else [0, 2])
    loaded = load_checkpoint(runs[kind])
    assert loaded.kind == kind and loaded.extra["names"] == list(people.identities)
    assert "invented people" in loaded.extra["disclaimer"] and loaded.extra["step"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_same_bytes(runs: dict[str, Path], go: Train, kind: str) -> None:
    class Stop(Exception): ...

    from perceptionist import train as module

    whole, calls, make = runs[kind], iter(range(10)), module.build_lr_schedule

    def stopping(config: PerceptionistConfig) -> Callable[[int], float]:
        rate = make(config)

        def at(step: int) -> float:
            if step == 1 and next(calls) == 0:
                raise Stop
            return rate(step)

        return at

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "make_schedule", stopping)
        with pytest.raises(Stop):
            go(kind)
    assert run_outcome(go(kind, resume=True, start=InitialWeights())) == run_outcome(whole), (
        "given files are in the state"
    )


def test_a_killed_run_goes_on_to_the_same_bytes(
    runs: dict[str, Path], tmp_path: Path, people: VoiceFaceDataset, judges: VoiceFaceDataset
) -> None:
    """Kill -9 inside the second step of the cascade, in a process of its own."""
    stored_people = tmp_path / "people.pkl"
    stored_people.write_bytes(pickle.dumps((people, judges)))
    code = f"""
import os, pickle, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from tiny_perceptionist_runs import config_of
from perceptionist.training_stages import Start
from perceptionist.train import train
from perceptionist import training_stages
real, count = training_stages.generator_side, iter(range(10))
def die(*given, **named):
    if next(count) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)
training_stages.generator_side = die
people, judges = pickle.loads(Path({str(stored_people)!r}).read_bytes())
given = Start(Path({str(runs["expert"])!r}), Path({str(runs["supervised"])!r}))
train(config_of("unsupervised"), people, {str(tmp_path / "run")!r},
           judges=judges, start=given, threads=1)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()
    train(
        tiny_config("unsupervised"),
        people,
        tmp_path / "run",
        validation_dataset=judges,
        threads=1,
        resume=True,
    )
    assert run_outcome(tmp_path / "run") == run_outcome(runs["unsupervised"])


def test_weights_give_meshes_pictures_and_poses(runs: dict[str, Path]) -> None:
    features = torch.randn(2, 64, 300)
    supervised, cascade = (load_voice_to_mesh(runs[kind]) for kind in ("supervised", "unsupervised"))
    for model in (supervised, cascade):
        meshes = model.predict_vertices(features)
        assert meshes.shape == (2, 3, model.face_model.num_vertices) and "invented people" in model.disclaimer
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
    found = cascade.predict_expert_parameters(cascade.generate_images(features))
    assert found.shape == (2, 62) and cascade.face_model.frontal_vertices(found).shape[0] == 2
    with pytest.raises(ValueError, match="makes no pictures"):
        supervised.generate_images(features)
    with pytest.raises(CheckpointError, match="hears nothing"):
        load_voice_to_mesh(runs["expert"])
    with pytest.raises(CheckpointError, match="makes no face"):
        load_voice_to_mesh(runs["speaker"])
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_checkpoint(runs["expert"].parent)


def test_fixed_parts_keep_every_bit_and_the_others_learn(runs: dict[str, Path]) -> None:
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
    if "triplets" in word:  # drawing a negative takes other numbers, so crops of the batch may move too
        assert plain["Triplet"] != quirk["Triplet"] and plain["C_real"] == quirk["C_real"]
        return
    differing = {name for name in plain if plain[name] != pytest.approx(quirk[name], rel=1e-6)}
    assert differing == changed | {"total_loss"}


def test_batch_statistics_change_the_voices_and_nothing_stored(runs: dict[str, Path], go: Train) -> None:
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


def test_without_triplets_only_anchors_are_drawn(go: Train) -> None:
    run = go("unsupervised", "losses.triplet=null", "training.max_steps=1")
    assert "Triplet" not in first(run) and "Distill_inter" in first(run)


def test_an_expert_may_learn_with_refiners(people: VoiceFaceDataset, tmp_path: Path) -> None:
    words = (*TINY["expert"], *COMMON, "training.max_steps=1", "networks.refiners.num_features=16")
    config = load_config("expert", PerceptionistConfig, "perceptionist", words)
    train(config, people, tmp_path / "run", threads=1)
    assert {"refined", "reverse", "agreement"} <= set(first(tmp_path / "run"))
    assert load_expert(tmp_path / "run").config.image_size == 32


def test_a_given_voice_network_stays_fixed_unless_told(runs: dict[str, Path], go: Train) -> None:
    source = load_voice_network(runs["supervised"]).state_dict()
    given = InitialWeights(voice_network=runs["supervised"])
    for how, same in (("fixed", True), ("trained", False)):
        run = go("supervised", f"training.voice_network={how}", name=how, start=given)
        state = load_checkpoint(run).state
        assert all(torch.equal(state[f"e.{key}"], value) for key, value in source.items()) is same


def test_mean_over_files_and_people_differ_where_counts_do(
    runs: dict[str, Path], judges: VoiceFaceDataset
) -> None:
    kept = [0, 1, 2, 3, 4, 6]  # of the last two people one recording each
    voices = Utterances(judges.utterances.labels[kept], [judges.utterances.items[i] for i in kept])
    jury = build_validation_set(dataclasses.replace(judges, voices=voices), judges, None)
    model = load_voice_to_mesh(runs["supervised"])
    found = predict(model, jury.dataset, 3)
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 3]
    people, files = (compute_metrics(found, jury, how) for how in ("people", "files"))
    assert judges.ratios is not None
    errors = np.abs(found.ratios - judges.ratios[found.labels]).mean(1)
    assert files["mean"] == pytest.approx(errors.mean())
    assert people["mean"] == pytest.approx(
        (errors[:2].mean() + errors[2:4].mean() + errors[4] + errors[5]) / 4
    )


def test_one_prediction_is_as_good_alone_as_in_a_batch(
    runs: dict[str, Path], judges: VoiceFaceDataset
) -> None:
    model = load_voice_to_mesh(runs["supervised"])
    together, alone = (predict(model, judges, 2, batch_size=size) for size in (16, 1))
    assert np.allclose(together.ratios, alone.ratios, atol=1e-6)


# bad input


def test_what_a_kind_needs_is_asked_for(go: Train, people: VoiceFaceDataset, runs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="--expert"):
        go("unsupervised", name="a", start=InitialWeights(voice_network=runs["supervised"]))
    with pytest.raises(ValueError, match="--voice-network"):
        go("unsupervised", name="b", start=InitialWeights(expert=runs["expert"]))
    with pytest.raises(ValueError, match="--voice-network"):
        go("supervised", "training.voice_network=fixed", name="c")
    with pytest.raises(ValueError, match="--truth"):
        go("supervised", name="d", people=dataclasses.replace(people, truth=None))
    with pytest.raises(CheckpointError, match="holds no expert"):
        go("unsupervised", name="e", start=InitialWeights(runs["supervised"], runs["supervised"]))
    with pytest.raises(CheckpointError):
        go("unsupervised", "networks.voice.channels=[4,4]", name="f")
    with pytest.raises(ValueError, match="generator takes"):
        go("unsupervised", "networks.generator.embedding_dim=8", name="g")


def test_other_people_cannot_go_on_with_a_run(
    runs: dict[str, Path], go: Train, people: VoiceFaceDataset
) -> None:
    go("expert", "training.max_steps=1")
    other = dataclasses.replace(people, names=tuple(reversed(people.identities)))
    with pytest.raises(ValueError, match="other training people"):
        go("expert", "training.max_steps=1", people=other, resume=True)


def test_the_command_trains_and_explains_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    words = ["--cfg", "quick_expert", "--data", tmp_path, "--out", tmp_path / "run", "--device", "cpu"]
    assert run_main("perceptionist.train", [str(word) for word in words]) == 1
    said = capsys.readouterr().err
    assert "neither a population" in said and "Traceback" not in said and not (tmp_path / "run").exists()
    assert run_main("perceptionist.train", [*map(str, words), "--expert", str(tmp_path / "none")]) == 1
    assert "--expert" in capsys.readouterr().err
