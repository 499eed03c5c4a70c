"""sf2f: its configurations, checkpoints, option files and evaluation networks through the whole way."""

import csv
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hq_voxceleb import write_hq_voxceleb
from published_trainer_files import KINDS, option_file, write_checkpoint
from sf2f.config import Sf2fConfig
from sf2f.discriminators import Discriminators
from sf2f.encoders import VoiceEncoder
from sf2f.generator import EncoderDecoder
from sf2f.network_config import EncoderConfig
from sf2f.voice2face_baseline import Voice2FaceGenerator
from third_party_networks import write_facenet, write_inception, write_lpips, write_vggface
from training_cycle import SHORT, TrainingCycle, is_validation, steps
from trees import link_tree
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.exit_status import ERROR, INCOMPLETE
from voiceface.runtime.config import bundled_configs, load_config
from voiceface.testing.runs import read_log_without_clock

CONFIGURATIONS = bundled_configs("sf2f")
NUM_TRAINED, NUM_TESTED = 40, 5  # of the identities that `write_hq_voxceleb` writes
SHORT_SF2F = (*SHORT, "training.preview_interval=1")
BACKBONE = "{arch: 'C4-4-2,C4-8-2', normalisation: batch, padding: valid, activation: leakyrelu-0.1}"
REDUCED = (
    *("generator.encoder.channels=[8,8]", "generator.encoder.embedding_dim=16"),
    *("discriminators.hidden_dim=8", "training.batch_size=4", "data.frames.min_crop=20"),
    *("data.frames.max_crop=24", "data.windows.width=20", "data.windows.stride=20"),
    "data.windows.max_windows=4",
)


# Random starts drop half of a recording on average; the published fusers refuse identities with too few
# windows: 4 of 0.2 s here, 20 of 1.25 s at full size.
RECORDINGS: dict[str, Any] = {"num_copies": 3}
LONG_RECORDINGS: dict[str, Any] = {"min_seconds": 16.0, "num_copies": 8}
FULL_SIZE = ("training.batch_size=8",)  # published: 256 identities, more than the population has


def call(command: str, *words: object) -> int:
    """Exit code of `sf2f COMMAND`."""
    return run_main("sf2f.__main__", [command, *map(str, words)])


def reduce(config: Sf2fConfig) -> tuple[str, ...]:
    """Settings that make the networks of a configuration small, of the same kinds."""
    image, identity = len(config.discriminators.image), len(config.discriminators.identity)
    channels = "[8,8,8]" if config.generator.decoder.kind == "facegan_v2" else "[8,8,8,8]"
    return (
        *REDUCED,
        f"generator.decoder.channels={channels}",
        f"discriminators.image=[{', '.join([BACKBONE] * image)}]",
        f"discriminators.identity=[{', '.join([BACKBONE] * identity)}]",
    )


@pytest.fixture(scope="module")
def data(population: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HQ-VoxCeleb layout, completed by `sf2f split` and `sf2f prepare`."""
    root = tmp_path_factory.mktemp("data") / "HQ-VoxCeleb"
    write_hq_voxceleb(population, root, **(LONG_RECORDINGS if full_size else RECORDINGS))
    assert call("split", root) == 0
    assert call("prepare", root, "--out", root, "--workers", 1, "--quiet") == 0
    return root


@pytest.fixture(scope="module")
def networks(full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks of training and evaluation in one folder of third-party files."""
    folder = tmp_path_factory.mktemp("networks")
    for write in (write_facenet, write_vggface, write_inception):
        write(folder, full_size=full_size)
    return write_lpips(folder, "alex", full_size=full_size)


@pytest.fixture(scope="module")
def first_stage(
    data: Path, networks: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Sf2fConfig], Path]:
    """Stage-1 runs that a fuser can start from, by the kind of their decoder."""
    runs: dict[str, Path] = {}

    def build(config: Sf2fConfig) -> Path:
        name = config.name.removeprefix("published_").replace("fuser", "1st_stage")
        if name not in runs:
            first = load_config(name, Sf2fConfig, "sf2f")
            out = tmp_path_factory.mktemp("first") / name
            steps = ("training.max_steps=1", *SHORT_SF2F[1:], "training.validation_interval=null")
            words = [*steps, *(FULL_SIZE if full_size else reduce(first))]
            flags = ["--cfg", name, "--data", data, "--out", out, "--threads", 1, "--facenet", networks]
            assert call("train", *flags, *words) == 0
            runs[name] = out
        return runs[name]

    return build


def read_table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "table.csv").open(newline="") as file:
        return {row["Mode"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration_goes_the_whole_way(
    name: str,
    data: Path,
    networks: Path,
    first_stage: Callable[[Sf2fConfig], Path],
    cycle: Callable[[TrainingCycle], Path],
    full_size: bool,
    tmp_path: Path,
) -> None:
    config = load_config(name, Sf2fConfig, "sf2f")
    arguments: list[str | Path] = ["--data", data]
    arguments += ["--facenet", networks] if config.perceptual.network == "facenet" else []
    arguments += ["--checkpoint", first_stage(config)] if config.stage == 2 else []
    files = ("model.safetensors", "discriminators.safetensors")
    batches = FULL_SIZE if full_size else ()
    run = cycle(
        TrainingCycle("sf2f.train", name, arguments, batches, reduce(config), SHORT_SF2F, outputs=files)
    )
    out = tmp_path / "test"
    assert call("test", "--weights", run, "--data", data, "--out", out, "--facenet", networks) == 0
    assert set(read_table(out)) >= {"naive", "average_facenet_embedding", "average_voice_embedding"}
    assert ("fused" in read_table(out)) == (config.stage == 2)
    voice = next((data / "raw_wav" / "vox2").rglob("*.m4a"))
    for published in ([], ["--published"]):
        out = tmp_path / f"faces{len(published)}"
        assert call("infer", voice, "--weights", run, "--out", out, *published) == 0
        assert list(out.rglob("*.png"))


def write_published_checkpoint(path: Path, kind: str, full_size: bool, num_identities: int) -> Path:
    """Write a generator and its discriminators as the published trainer does; options at full size only."""
    words = () if full_size else reduce(load_config(f"published_{kind}", Sf2fConfig, "sf2f"))
    config = load_config(f"published_{kind}", Sf2fConfig, "sf2f", words)
    torch.manual_seed(0)
    generator = EncoderDecoder(config.generator)
    size = config.generator.encoder.embedding_dim
    discriminators = Discriminators(config.discriminators, num_identities, size)
    options = {"options": option_file(kind)} if full_size else {}
    return write_checkpoint(path, generator, discriminators, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_of_the_published_trainer(
    kind: str, data: Path, networks: Path, full_size: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published_checkpoint(tmp_path / "best_VFS_with_model.pt", kind, full_size, NUM_TRAINED)
    assert run_main("voiceface.__main__", ["weights", str(path)]) == 0
    assert "sf2f, checkpoint of the published trainer" in capsys.readouterr().out
    flags = ["--facenet", networks, "--vggface", networks, "--inception", networks, "--lpips", networks]
    out = tmp_path / "test"
    assert call("test", "--weights", path, "--data", data, "--out", out, *flags) == 0
    row = read_table(out)["fused" if kind.endswith("fuser") else "naive"]
    assert all(row[name] for name in row if name not in ("Human", "Mode")), row
    voices = data / "raw_wav" / "vox2" / "dev" / "id00000"
    words = ["--group-by", "identity", "--noise-seed", 0] if kind == "v2f" else []
    for published in ([], ["--published"]):
        out = tmp_path / f"faces{len(published)}"
        assert call("infer", voices, "--weights", path, "--out", out, *published, *words) == 0
    names = {each.stem for each in out.rglob("*.png")}
    assert {"d_fed_0", "seg_0"} <= names and ("fused_0" in names) == kind.endswith("fuser")


@pytest.mark.parametrize("kind", KINDS)
def test_option_file_of_the_published_code_trains(
    kind: str, data: Path, networks: Path, full_size: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`--cfg` takes the file; fusers start from a checkpoint of the published trainer."""
    options = tmp_path / f"{kind}.yaml"
    options.write_text(yaml.safe_dump(option_file(kind)))
    flags = ["--cfg", options, "--data", data, "--out", tmp_path / "run", "--threads", 1]
    flags += ["--facenet", networks] if kind != "v2f" else []
    if kind.endswith("fuser"):
        first = kind.replace("fuser", "1st_stage")
        flags += [
            "--checkpoint",
            write_published_checkpoint(tmp_path / "best.pt", first, full_size, NUM_TRAINED),
        ]
    words = FULL_SIZE if full_size else reduce(load_config(f"published_{kind}", Sf2fConfig, "sf2f"))
    with caplog.at_level(logging.INFO):
        assert call("train", *flags, *SHORT_SF2F, *words, "training.max_steps=1") == 0
    assert "published configuration, translated" in caplog.text
    log = read_log_without_clock(tmp_path / "run")
    assert steps(log) == [0] and any(map(is_validation, log))


def test_networks_of_voice2face(
    data: Path, full_size: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`voice_embedding.pth` and `generator_*.pth` as voice2face publishes them."""
    sizes: dict[str, Any] = {} if full_size else {"channels": (8, 8), "embedding_dim": 8}
    encoder = EncoderConfig(n_mels=64, inception=False, normalise=False, **sizes)
    folder = tmp_path / "pretrained_models"
    folder.mkdir()
    torch.save(VoiceEncoder(encoder).state_dict(), folder / "voice_embedding.pth")
    generator = Voice2FaceGenerator(encoder.embedding_dim) if full_size else Voice2FaceGenerator(8, (8, 8))
    torch.save(generator.state_dict(), folder / "generator_48000.pth")
    voices = data / "raw_wav" / "vox1" / "test"
    assert call("infer", voices, "--voice2face", folder, "--published", "--out", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").rglob("id*/*/*/*.png")} == {"d_fed_0.png"}
    for path in sorted(folder.iterdir()):
        assert run_main("voiceface.__main__", ["weights", str(path)]) == 0
        assert "of voice2face and perceptionist" in capsys.readouterr().out


def test_files_of_the_evaluation_networks_are_named(
    networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(path for path in networks.rglob("*") if path.is_file())
    assert len(files) == 5
    for number, path in enumerate(files):
        other = tmp_path / f"{number}{path.suffix}"  # a name with a digest is that of one file only
        other.hardlink_to(path)
        assert run_main("voiceface.__main__", ["weights", str(other)]) == 0
        assert "sf2f" in capsys.readouterr().out, path


@pytest.fixture
def own(data: Path, networks: Path, tmp_path: Path) -> Path:
    """Links to the inputs in a folder of the test, from which parts can be removed."""
    for source, name in ((data, "HQ-VoxCeleb"), (networks, "networks")):
        link_tree(source, tmp_path / name)
    return tmp_path


def evaluate(own: Path, weights: Path) -> int:
    """Exit status of a test with all published networks."""
    flags = [
        word
        for name in ("facenet", "vggface", "inception", "lpips")
        for word in (f"--{name}", own / "networks")
    ]
    return call("test", "--weights", weights, "--data", own / "HQ-VoxCeleb", "--out", own / "test", *flags)


@pytest.fixture(scope="module")
def published_weights(full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "best_VFS_with_model.pt"
    return write_published_checkpoint(path, "sf2f_1st_stage", full_size, NUM_TRAINED)


ABSENT = {  # part -> words of the message
    "networks/20180402-114759-vggface2.pt": "--facenet",
    "networks/scripts": "--vggface",
    "networks/pt_inception-2015-12-05-6726825d.pth": "--inception",
    "networks/alexnet-owt-7be5be79.pth": "--lpips",
    "networks/v0.1": "--lpips",
    "HQ-VoxCeleb/split.json": "no recordings|split",
    "HQ-VoxCeleb/*/mel_spectrograms": "mel_spectrograms",
    "HQ-VoxCeleb/*/masked_faces": "masked_faces",
}


@pytest.mark.parametrize("part", ABSENT)
def test_absent_inputs_are_named_before_images_are_generated(
    part: str, own: Path, published_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(own.glob(part)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert evaluate(own, published_weights) == ERROR
    assert re.search(ABSENT[part], capsys.readouterr().err)
    assert not (own / "test").exists()


def test_damaged_and_absent_files_cost_no_other_result(
    own: Path, published_weights: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One identity lacks its images, an image of another is broken: the other identities are evaluated."""
    names = json.loads((own / "HQ-VoxCeleb" / "split.json").read_text())["vox2"]["test"]
    faces = [own / "HQ-VoxCeleb" / "vox2" / "masked_faces" / name for name in names]
    shutil.rmtree(faces[0])
    for image in faces[1].iterdir():
        image.unlink()
        image.write_bytes(b"no image")
    assert evaluate(own, published_weights) == INCOMPLETE
    assert names[0] in caplog.text
    results = json.loads((own / "test" / "results.json").read_text())
    assert any(names[1] in row["name"] for row in results["unavailable"])
    assert results["num_identities"] == NUM_TESTED - 2 and "FID" in results["scores"]
    assert len(list((own / "test" / "faces").iterdir())) == NUM_TESTED - 2
