"""perceptionist: its configurations and published files through the whole way, in the Voxceleb-3D layout."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from perceptionist.config import PerceptionistConfig
from perceptionist.published import FILES
from perceptionist_files import write_fbank, write_pretrained_models
from published_checkpoints import write_face_model, write_face_types
from tiny_perceptionist_runs import TINY_IMAGE_NETWORK
from training_cycle import SHORT, TrainingCycle
from trees import link_tree
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.exit_status import ERROR, INCOMPLETE
from voiceface.runtime.config import bundled_configs, load_config
from voxceleb3d_tree import write_fitted_coefficients, write_voxceleb3d

WITHOUT_VALIDATION = ("expert", "speaker")
CASCADE_SCHEDULE = ("training.face_pretraining_steps=1", "training.student_start_step=1")
SMALL_VOICE = ("networks.voice.channels=[8,8]", "networks.voice.embedding_dim=16")
REDUCED: dict[str, tuple[str, ...]] = {
    "expert": tuple(f"networks.expert.{word}" for word in TINY_IMAGE_NETWORK),
    "speaker": SMALL_VOICE,
    "supervised": (*SMALL_VOICE, "networks.head.embedding_dim=16"),
    "unsupervised": (
        *SMALL_VOICE,
        *(f"networks.student.{word}" for word in TINY_IMAGE_NETWORK),
        *("networks.generator.embedding_dim=16", "networks.generator.channels=[8,8,8,8]"),
        *("networks.face.channels=[8,8,8,8]", "networks.face.embedding_dim=16"),
    ),
}
SMALL_DATA = ("training.batch_size=4", "data.frames.clip=80", "data.frames.min_crop=30")
SMALL_CROPS = (*SMALL_DATA, "data.frames.max_crop=80")
FULL_SIZE = ("training.batch_size=8",)  # published: 64 and 1,024, more than the population has
REFINERS = (
    *("networks.refiners.point_channels=[4,4]", "networks.refiners.global_channels=[4,4,8]"),
    *("networks.refiners.refine_channels=[8,8,4]", "networks.refiners.num_features=16"),
)


@dataclass(frozen=True)
class Inputs:
    """Folders that the commands read.

    Attributes:
        data: Voxceleb-3D.
        population: the same identities, with ground-truth parameters of the images.
        face_model: `train.configs`.
        references: reference shapes of that face model.
        weights: `pretrained_models`.
        fitted: fitted coefficients of the training identities.
    """

    data: Path
    population: Path
    face_model: Path
    references: Path
    weights: Path
    fitted: Path


def call(command: str, *words: object) -> int:
    """Exit code of `perceptionist COMMAND`."""
    return run_main("perceptionist.__main__", [command, *map(str, words)])


def reduce(config: PerceptionistConfig) -> tuple[str, ...]:
    """Settings that make networks, clips and batches of a configuration small."""
    refiners = REFINERS if config.networks.refiners else ()
    return (*REDUCED[config.kind], *SMALL_CROPS, *refiners)


@pytest.fixture(scope="module")
def inputs(population: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    face_model = root / "train.configs"
    if full_size:
        write_face_model(face_model)
    else:
        link_tree(population / "face_model", face_model)
    data = write_voxceleb3d(population, root / "VOX3D", face_model)
    write_fbank(population, data / "fbank")
    return Inputs(
        data,
        population,
        face_model,
        write_face_types(root / "face_types", face_model),
        write_pretrained_models(root / "pretrained_models", face_model, full_size=full_size),
        write_fitted_coefficients(population, root / "FITTED"),
    )


@pytest.fixture(scope="module")
def expert_run(inputs: Inputs, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `quick_expert`, which `quick_unsupervised` copies its student from."""
    out = tmp_path_factory.mktemp("expert") / "run"
    words = [
        *SHORT,
        "training.max_steps=1",
        *(FULL_SIZE if full_size else (*REDUCED["expert"], *SMALL_CROPS)),
    ]
    assert call("train", "--cfg", "quick_expert", "--data", inputs.population, "--out", out, *words) == 0
    return out


def training_arguments(config: PerceptionistConfig, inputs: Inputs) -> list[str | Path]:
    """Data, initial weights and face model; image parameters are known for the population only."""
    if config.kind == "expert":
        return ["--data", inputs.population]
    words: list[str | Path] = ["--data", inputs.data, "--face-model", inputs.face_model]
    if config.kind != "speaker":
        words += ["--voice-network", inputs.weights / FILES["voice network"]]
    if config.kind == "supervised":
        words += ["--truth", inputs.fitted]
    return words


@pytest.mark.parametrize("name", bundled_configs("perceptionist"))
def test_configuration_goes_the_whole_way(
    name: str,
    inputs: Inputs,
    cycle: Callable[[TrainingCycle], Path],
    full_size: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    config = load_config(name, PerceptionistConfig, "perceptionist")
    arguments, schedule = training_arguments(config, inputs), FULL_SIZE if full_size else ()
    if config.kind == "unsupervised":
        copied = config.training.student_init == "expert"
        expert = request.getfixturevalue("expert_run") if copied else inputs.weights / FILES["expert"]
        arguments += ["--expert", expert]
        schedule += CASCADE_SCHEDULE if config.training.face_pretraining_steps else ()
    run = cycle(
        TrainingCycle(
            "perceptionist.train",
            name,
            arguments,
            schedule,
            reduce(config),
            SHORT,
            validated=config.kind not in WITHOUT_VALIDATION,
        )
    )
    if config.kind not in WITHOUT_VALIDATION:
        check_evaluation(run, inputs, tmp_path)


def check_evaluation(weights: Path, inputs: Inputs, tmp_path: Path) -> None:
    """Meshes of the published validation identities, their errors, and the demonstration, as published."""
    face_model = ["--face-model", inputs.face_model]
    meshes, errors, shown = (tmp_path / f"results/{name}" for name in ("meshes", "errors", "shown"))
    assert call("test", "--data", inputs.data, "--weights", weights, *face_model, "--out", meshes) == 0
    truth = inputs.data / "A2E_val"
    assert {path.name for path in meshes.iterdir()} == {path.name for path in truth.iterdir()}
    flags = ["--meta", inputs.data / "vox1_meta.csv", "--references", inputs.references]
    flags += ["--bootstrap-samples", 20, "--out", errors]
    assert call("evaluate", "--predictions", meshes, "--truth", truth, *face_model, *flags) == 0
    results = json.loads((errors / "results.json").read_text())
    assert np.isfinite([each["ours"]["value"] for each in results["errors"].values()]).all()
    voices = sorted((inputs.data / "fbank").iterdir())[:1]
    for published in ([], ["--published"]):
        words = ["--weights", weights, *face_model, "--out", shown / str(len(published)), *published]
        assert call("demo", *voices, *words) == 0


@pytest.mark.parametrize("folder", ["pretrained_models", "supervised_64"])
def test_published_weights(folder: str, inputs: Inputs, tmp_path: Path) -> None:
    weights = inputs.weights if folder == "pretrained_models" else inputs.weights / folder
    check_evaluation(weights, inputs, tmp_path)
    if folder == "pretrained_models":  # its expert draws the mesh over the generated image
        images = {path.name.rpartition("_")[2] for path in (tmp_path / "results/shown/1").rglob("*.png")}
        assert images == {"image.png", "overlap.png"}


def test_published_files_are_named(
    inputs: Inputs, full_size: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pretrained_models(tmp_path / "pretrained_models", inputs.face_model, full_size=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == len(FILES) + 1
    for path in files:
        assert run_main("voiceface.__main__", ["weights", str(path)]) == 0
        shown = capsys.readouterr().out
        assert "perceptionist" in shown and "read by" in shown, path


# What is absent -> words of the message; `test` and `evaluate` need all of it.
ABSENT_FOR_TEST = {
    "data/fbank": "fbank",
    "data/A2E_val": "A2E_val",
    "data/vox1_meta.csv": "vox1_meta.csv",
    "train.configs/w_shp_sim.npy": "w_shp",
    "pretrained_models/voice_embedding.pth": "voice_embedding.pth",
    "pretrained_models/supervised_64/generator_48000.pth": "generator_48000.pth",
}


@pytest.fixture
def own(inputs: Inputs, tmp_path: Path) -> Path:
    """Links to the inputs in a folder of the test, from which parts can be removed."""
    link_tree(inputs.data, tmp_path / "data")
    link_tree(inputs.face_model, tmp_path / "train.configs")
    link_tree(inputs.weights, tmp_path / "pretrained_models")
    link_tree(inputs.fitted, tmp_path / "FITTED")
    return tmp_path


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("part", ABSENT_FOR_TEST)
def test_absent_inputs_of_test_are_named(part: str, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove(own / part)
    weights = own / "pretrained_models" / "supervised_64"
    flags = ["--weights", weights, "--face-model", own / "train.configs", "--out", own / "out"]
    assert call("test", "--data", own / "data", *flags) == ERROR
    message = capsys.readouterr().err
    assert ABSENT_FOR_TEST[part] in message and "Traceback" not in message
    assert not (own / "out").exists() or not any((own / "out").iterdir())


ABSENT_FOR_TRAINING = {
    "data/fbank": "fbank",
    "data/VGG_ALL_FRONTAL": "VGG_ALL_FRONTAL",
    "data/vox1_meta.csv": "vox1_meta.csv",
    "data/val_sub": "val_sub",
    "data/AtoE_sub": "AtoE_sub",
    "FITTED": "FITTED",
    "FITTED/PERSON": "no fitted coefficients",
    "train.configs": "train.configs",
    "pretrained_models/voice_embedding.pth": "voice_embedding.pth",
}


@pytest.mark.parametrize("part", ABSENT_FOR_TRAINING)
def test_absent_inputs_of_training_are_named(
    part: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = sorted((own / "FITTED").iterdir())[0].name
    remove(own / part.replace("PERSON", person))
    flags = ["--data", own / "data", "--out", own / "out", "--face-model", own / "train.configs"]
    flags += ["--voice-network", own / "pretrained_models" / "voice_embedding.pth", "--truth", own / "FITTED"]
    words = [*SHORT, *SMALL_CROPS, *REDUCED["supervised"]]
    assert call("train", "--cfg", "supervised", *flags, *words) == ERROR
    message = capsys.readouterr().err
    assert ABSENT_FOR_TRAINING[part] in message and "Traceback" not in message
    assert not (own / "out").exists()


def test_damaged_and_absent_parts_cost_no_other_result(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken feature file and the expert are missed by name; the other faces are written."""
    weights, face_model = own / "pretrained_models", ["--face-model", own / "train.configs"]
    first, *others = sorted((own / "data" / "A2E_val").iterdir())
    broken = sorted((own / "data" / "fbank").rglob("*.npy"))[0]
    broken.unlink()
    broken.write_bytes(b"no array")
    flags = ["--weights", weights, *face_model]
    assert call("test", "--data", own / "data", *flags, "--out", own / "meshes") == ERROR
    assert str(broken) in capsys.readouterr().err
    assert len(list((own / "meshes").rglob("*.obj"))) == 2 * len([first, *others]) - 1
    remove(first)
    truth = ["--truth", own / "data" / "A2E_val", "--bootstrap-samples", 20]
    assert call("evaluate", "--predictions", own / "meshes", *truth, *face_model) == INCOMPLETE
    assert f"{first.name}: no ground truth" in capsys.readouterr().out
    remove(weights / FILES["expert"])
    assert call("demo", broken.parents[1], *flags, "--published", "--out", own / "shown") == 0
    assert str(broken) in capsys.readouterr().err
    assert len(list((own / "shown").rglob("*/*_image.png"))) == 1
