"""voicestyle: its configurations, commands and published files through the whole way."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cmpc_tree import write_cmpc, write_cmpc_lists
from PIL import Image
from published_checkpoints import write_clip, write_identity_network
from published_cmpc2_files import write_prototype_memory, write_published
from published_stylegan2 import save_published_checkpoint
from third_party_networks import write_inception, write_lpips
from training_cycle import TrainingCycle
from trees import link_tree
from voiceface.commandline.dispatch import run_main
from voiceface.commandline.exit_status import ERROR
from voiceface.runtime.config import bundled_configs, load_config
from voiceface.testing.fault_injection import run_killed_during_save
from voiceface.testing.runs import read_log_without_clock
from voicestyle.config import VoiceStyleConfig
from voicestyle.stylegan2.config import GeneratorConfig
from voicestyle.stylegan2.generator import Generator

STYLEGAN_CONFIGURATIONS = ("population", "quick_stylegan", "stylegan2_256")
PIPELINE_CONFIGURATIONS = sorted(set(bundled_configs("voicestyle")) - set(STYLEGAN_CONFIGURATIONS))
NUM_CLUSTERS = (3, 4, 5)
KILL_TIMEOUT = 600  # seconds
SMALL_SIDE = 64  # pixels of generated images; published: 256
SHORT_STYLEGAN = (
    *("training.max_steps=2", "training.checkpoint_interval=1", "training.preview_interval=1"),
    *("training.log_interval=1", "training.num_workers=0"),
)
STYLEGAN_SCHEDULE = ("loss.r1_interval=1", "loss.path_interval=1", "loss.path_weight=2.0")
SMALL_STYLEGAN = (
    *("generator.size=16", "generator.channels=[8,8,8]", "generator.style_dim=8", "generator.n_mlp=2"),
    *("discriminator.size=16", "discriminator.channels=[8,8,8]", "training.batch_size=4"),
    *("training.preview_images=4", "training.latent_avg_samples=16"),
)
# Published: batches of 128 videos and of 16 images, 64 images per preview.
FULL_CMPC = ("training.batch_size=8",)
FULL_STYLEGAN = ("training.batch_size=2", "training.preview_images=2", "training.latent_avg_samples=16")
SMALL_CMPC = (
    *("model.voice.widths=[8,8,8,8]", "model.voice.blocks=[1,1,1,1]", "model.embedding_dim=8"),
    *("model.face.widths=[8,8,8,8]", "model.face.blocks=[1,1,1,1]", "model.face.image_size=32"),
    *("data.voice.num_frames=60", "training.batch_size=8"),
)
SHORT_CMPC = (
    *("training.max_steps=2", "training.checkpoint_interval=1", "training.log_interval=1"),
    *("training.num_workers=0", "clustering.start_step=1", "clustering.interval=1", "optimiser.warm_up=1"),
    f"clustering.num_clusters={list(NUM_CLUSTERS)}",
)
FEW_STEPS = (
    *("inversion.num_steps=2", "guidance.num_steps=2", "inversion.latent_mean_samples=64"),
    *("retrieval.max_images=2", "retrieval.num_prototypes=2", f"retrieval.num_clusters={NUM_CLUSTERS[1]}"),
)
RUN_FILES = (
    *("cmpc2/model.safetensors", "cmpc2/memory.safetensors", "stylegan2/model.safetensors"),
    "config.yaml",
)


@dataclass(frozen=True)
class Inputs:
    """Folders and files that the commands read.

    Attributes:
        data: recordings and face tracks in the layout of CMPC.
        bank: `unzippedFaces` and `VGG_ALL_FRONTAL`.
        voices: two recordings.
        images: images of the size of the published generator.
        table: `training.csv`.
        weights: folder of all published files.
    """

    data: Path
    bank: Path
    voices: Path
    images: Path
    table: Path
    weights: Path


def call(command: str, *words: object) -> int:
    """Exit code of `voicestyle COMMAND`."""
    return run_main("voicestyle.__main__", [command, *map(str, words)])


@pytest.fixture(scope="module")
def inputs(population: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    data = write_cmpc(population, root / "CMPC")
    bank, voices, images, weights = (root / name for name in ("BANK", "VOICES", "FFHQ", "weights"))
    for folder in (bank, voices, images, weights):
        folder.mkdir()
    link_tree(data / "unzippedFaces", bank / "unzippedFaces")
    link_tree(population / "faces", bank / "VGG_ALL_FRONTAL")
    for path in sorted((population / "wav").rglob("*.wav"))[-2:]:
        shutil.copy(path, voices / f"{path.parent.name}.wav")
    for path in sorted((population / "faces").rglob("*.jpg"))[:8]:
        Image.open(path).resize((256, 256)).save(images / f"{path.parent.name}_{path.stem}.png")
    table = write_cmpc_lists(data, root / "lists") / "training.csv"
    num_videos = len(table.read_text().splitlines()) - 1
    size = 512 if full_size else 16
    write_published(weights / "model_best_256.pth.tar", full_size=full_size)
    memory = weights / "frame_memory_best_256.pth.tar"
    write_prototype_memory(memory, num_videos, embedding_dim=size, num_clusters=NUM_CLUSTERS)
    generator = GeneratorConfig() if full_size else GeneratorConfig(size=SMALL_SIDE, channels=(16,) * 5)
    save_published_checkpoint(weights / "550000.pt", Generator(generator))
    write_identity_network(weights / "model_ir_se50.pth", full_size=full_size)
    write_lpips(weights, "vgg", full_size=full_size)
    write_inception(weights, full_size=full_size)
    return Inputs(data, bank, voices, images, table, weights)


@pytest.fixture(scope="module")
def run(inputs: Inputs, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of the published configuration."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert run_main("voicestyle.train", training_words("published", inputs, out, full_size)) == 0
    return out


def training_words(name: str, inputs: Inputs, out: Path, full_size: bool) -> list[str]:
    """Arguments of `voicestyle train`: two steps of either network, after the configuration's overrides."""
    parts = load_config(name, VoiceStyleConfig, "voicestyle").training
    sizes = (FULL_CMPC, FULL_STYLEGAN) if full_size else (SMALL_CMPC, SMALL_STYLEGAN)
    settings = {
        "cmpc2_overrides": [*parts.cmpc2_overrides, *SHORT_CMPC, *sizes[0]],
        "stylegan2_overrides": [*parts.stylegan2_overrides, *SHORT_STYLEGAN, *STYLEGAN_SCHEDULE, *sizes[1]],
    }
    words = [f"training.{key}={json.dumps(values)}" for key, values in settings.items()]
    flags = ["--cfg", name, "--data", inputs.data, "--images", inputs.images, "--out", out]
    return [str(word) for word in (*flags, "--device", "cpu", "--threads", 1, *words)]


def outcome(out: Path) -> list[Any]:
    """What a killed and resumed run must repeat."""
    files: list[Any] = [(out / name).read_bytes() for name in RUN_FILES]
    return [*files, *(read_log_without_clock(out / part) for part in ("cmpc2", "stylegan2"))]


@pytest.mark.parametrize("name", STYLEGAN_CONFIGURATIONS)
def test_generator_goes_the_whole_way(
    name: str, inputs: Inputs, cycle: Callable[[TrainingCycle], Path], full_size: bool, tmp_path: Path
) -> None:
    arguments: list[str | Path] = ["--data", inputs.images]
    schedule = (*STYLEGAN_SCHEDULE, *(FULL_STYLEGAN if full_size else ()))
    run = cycle(
        TrainingCycle(
            *("voicestyle.train_stylegan", name, arguments, schedule, SMALL_STYLEGAN),
            short=SHORT_STYLEGAN,
            validated=False,
        )
    )
    check_generator(run / "model.safetensors", inputs, tmp_path)


def check_generator(weights: Path, inputs: Inputs, tmp_path: Path) -> None:
    """Metrics of a generator with the published networks, and directions of its latent space."""
    scores = tmp_path / "fid.json", tmp_path / "ppl.json"
    flags = ["--weights", weights, "--num-samples", 4, "--batch", 2]
    files = ["--data", inputs.images, "--inception", inputs.weights]
    assert call("fid", *flags, *files, "--json", scores[0]) == 0
    assert call("ppl", *flags, "--lpips", inputs.weights, "--json", scores[1]) == 0
    values = [json.loads(path.read_text()) for path in scores]
    assert np.isfinite([values[0]["fid"], values[1]["ppl"]]).all()
    out = tmp_path / "factor.safetensors"
    words = ["--apply", tmp_path / "rows.png", "--index", 0, "--degree", 5]
    assert call("factorise", "--weights", weights, "--out", out, *words) == 0
    assert out.is_file() and (tmp_path / "rows.png").is_file()


@pytest.mark.parametrize("name", PIPELINE_CONFIGURATIONS)
def test_training_of_both_networks_survives_a_kill_in_either(
    name: str, inputs: Inputs, starter: Callable[..., Any], full_size: bool, tmp_path: Path
) -> None:
    reference, killed, errors = (tmp_path / each for each in ("run", "killed", "errors"))
    assert run_main("voicestyle.train", training_words(name, inputs, reference, full_size)) == 0
    assert all((reference / "cmpc2" / each).is_file() for each in ("model.safetensors", "log.jsonl"))
    for part in ("cmpc2", "stylegan2"):
        words = training_words(name, inputs, killed, full_size)
        more = []
        if part == "stylegan2":  # the first network is finished
            shutil.copytree(reference, killed, ignore=shutil.ignore_patterns("stylegan2"))
            more = ["--resume"]
        child = starter(run_killed_during_save, "voicestyle.train", [*words, *more], str(errors), 3)
        child.join(KILL_TIMEOUT)
        assert child.exitcode == -signal.SIGKILL, errors.read_text()
        assert list((killed / part).rglob(".*.part*")), f"killed elsewhere than in {part}"
        assert run_main("voicestyle.train", [*words, "--resume"]) == 0
        assert outcome(killed) == outcome(reference) and not list(killed.rglob(".*.part*"))
        shutil.rmtree(killed)


@pytest.fixture
def clip(full_size: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CLIP as open_clip stores it, with small widths in its table of models unless full size."""
    open_clip = pytest.importorskip("open_clip")
    if not full_size:
        vision = {"image_size": 224, "layers": 1, "width": 16, "head_width": 8, "patch_size": 32}
        text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
        small = {"embed_dim": 8, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32-quickgelu", small)
    return write_clip(tmp_path / "clip.safetensors")


@pytest.mark.parametrize("name", PIPELINE_CONFIGURATIONS)
def test_generation_with_a_run_and_with_published_files(
    name: str, run: Path, inputs: Inputs, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """generate, test and invert; the bank's prototypes come from k-means, and from the published memory."""
    flags: list[str | Path] = ["--cfg", name, "--device", "cpu"]
    if load_config(name, VoiceStyleConfig, "voicestyle").selection.method == "clip":
        flags += ["--clip", request.getfixturevalue("clip")]
    words = FEW_STEPS
    published = [*published_networks(inputs), *published_memory(inputs)]
    for title, networks in (("run", ["--weights", run]), ("published", published)):
        out = tmp_path / title
        bank = ["--bank", inputs.bank, *networks, *flags]
        assert call("generate", inputs.voices, *bank, "--out", out / "generated", *words) == 0
        assert len(list((out / "generated" / "faces").glob("*.png"))) == 2
    evaluation = ["--num-identities", 3, "--bootstrap-samples", 10]
    evaluation += ["--evaluation-identity", inputs.weights / "model_ir_se50.pth"]
    assert call("test", "--data", inputs.data, *bank, "--out", out / "test", *evaluation, *words) == 0
    assert len(json.loads((out / "test" / "results.json").read_text())["identities"]) == 3
    image = sorted(inputs.images.iterdir())[0]
    inversion = [*published_networks(inputs), *flags, "--out", out / "inverted", *words]
    assert call("invert", image, *inversion) == 0
    assert list((out / "inverted" / "inversions").glob("*.safetensors"))


def published_networks(inputs: Inputs) -> list[str | Path]:
    """Flags of all published networks."""
    files = inputs.weights
    return [
        *("--cmpc", files / "model_best_256.pth.tar", "--stylegan", files / "550000.pt"),
        *("--lpips", files / "vgg16-397923af.pth", files / "v0.1" / "vgg.pth"),
        *("--identity", files / "model_ir_se50.pth"),
    ]


def published_memory(inputs: Inputs) -> list[str | Path]:
    """Flags of the published prototypes."""
    return ["--memory", inputs.weights / "frame_memory_best_256.pth.tar", "--table", inputs.table]


def test_published_generator(inputs: Inputs, tmp_path: Path) -> None:
    check_generator(inputs.weights / "550000.pt", inputs, tmp_path)


def test_published_files_are_named(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(path for path in inputs.weights.rglob("*") if path.is_file())
    assert len(files) == 7
    for number, path in enumerate(files):
        suffixes = path.name.partition(".")[2]
        other = tmp_path / f"{number}.{suffixes}"  # a name with a digest is that of one file only
        other.hardlink_to(path)
        assert run_main("voiceface.__main__", ["weights", str(other)]) == 0
        assert "voicestyle" in capsys.readouterr().out, path


def test_absent_parts_of_the_bank_are_named(
    inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Videos of the published table that the bank lacks cost no other; without any image there is no face."""
    bank = link_tree(inputs.bank, tmp_path / "BANK")
    shutil.rmtree(bank / "VGG_ALL_FRONTAL")
    trained = {line.split(",")[0] for line in inputs.table.read_text().splitlines()[1:]}
    first = sorted(trained)[0]
    shutil.rmtree(bank / "unzippedFaces" / first)
    words = ["--bank", bank, *published_networks(inputs), *published_memory(inputs), *FEW_STEPS]
    voice = sorted(inputs.voices.iterdir())[0]
    assert call("generate", voice, *words, "--device", "cpu", "--out", tmp_path / "out") == 0
    assert f"have no image in {bank}: {first}/1.6/" in caplog.text
    assert (tmp_path / "out" / "faces" / f"{voice.stem}.png").is_file()
    shutil.rmtree(bank / "unzippedFaces")
    assert call("generate", voice, *words, "--device", "cpu", "--out", tmp_path / "none") == ERROR
    assert str(bank) in capsys.readouterr().err
