"""cmpc2: its configurations, checkpoints, lists and CONFIG.yaml through the whole way."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from association_systems import AssociationSystem, check_commands, check_files_are_named
from cmpc_tree import write_cmpc, write_cmpc_lists
from published_cmpc2_files import SMALL, published_file, write_prototype_memory, write_published
from training_cycle import TrainingCycle
from voiceface.runtime.config import bundled_configs

SMALL_NETWORKS = tuple(
    f"model.{branch}.{key}={list(value)}" for branch in ("voice", "face") for key, value in SMALL.items()
)
SYSTEM = AssociationSystem(
    "cmpc2",
    reduced=(
        *(*SMALL_NETWORKS, "model.embedding_dim=16", "model.face.image_size=32", "training.batch_size=4"),
        *("data.voice.num_frames=60", "evaluation.voice_clips=2"),
    ),
    schedule=(
        *("clustering.start_step=1", "clustering.interval=1", "clustering.num_clusters=[2,3]"),
        *("optimiser.warm_up=1", "training.validation_start=1"),
    ),
    face_folder="unzippedFaces",
    outputs=("model.safetensors", "memory.safetensors"),
)
MATCHING = [f"matching_{way}_{stratum}" for way in ("v2f", "f2v") for stratum in ("U", "G", "N", "GN")]
VERIFICATION = [
    f"veriflist_test_{stratum}_{group}"
    for stratum in ("random", "G", "N", "A", "GNA")
    for group in ("unseenunheard", "seenheard")
]
LISTS = (*MATCHING, *VERIFICATION, "wav_20k", "jpg_20k")
CHECKPOINTS = ("checkpoint_CID.pth.tar", "checkpoint_CMPC.pth.tar", "model_best_256.pth.tar")

# Every public name of the published package, in the order in which its users call them.
PROGRAM = """
import torch
import cmpc2
from PIL import Image

device = "cuda" if torch.cuda.is_available() else "cpu"
model = cmpc2.load("model_best_256.pth.tar")
model = model.to(device)
model.eval()

audio = cmpc2.audio_preprocess()("id10840_0eRPKDAV-I0_00001.wav").unsqueeze(0).to(device)
stored = cmpc2.load_voice(min_time=800)("id10840_0eRPKDAV-I0_00001.npy").unsqueeze(0).to(device)
frame = cmpc2.visual_preprocess(256)("frame.jpg").unsqueeze(0).to(device)
picture = cmpc2.visual_preprocess(img_size=256)(Image.open("frame.jpg")).unsqueeze(0).to(device)

with torch.no_grad():
    audio_emb, frame_emb = model(audio, frame)
    single = model.voice_subnet(stored), model.face_subnet(picture)
similarity = torch.cosine_similarity(audio_emb, frame_emb)
print("similarity", similarity.item())

for cluster in (500, 1000, 1500):
    paths = cmpc2.getKNearestSamples(
        audio_emb, "frame_memory_best_256.pth.tar", "training.csv", cluster=cluster, K=300
    )
    print("nearest", cluster, *paths)

network = cmpc2.FV_Wrapper(False, 512, 512, True, test_only=True)
print("parameters", sum(parameter.numel() for parameter in network.parameters()))
print("shapes", *map(tuple, (audio.shape, stored.shape, frame.shape, audio_emb.shape, single[0].shape)))
"""


@pytest.fixture(scope="module")
def data(training_population: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cmpc(training_population, tmp_path_factory.mktemp("data") / "CMPC")


@pytest.fixture(scope="module")
def lists(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cmpc_lists(data, tmp_path_factory.mktemp("lists") / "data")


@pytest.fixture(scope="module")
def features(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log-mel features as the published programs store them: pickles."""
    stored = tmp_path_factory.mktemp("features") / "stored"
    assert SYSTEM.call("features", data / "wav", "--out", stored) == 0
    out = tmp_path_factory.mktemp("features") / "spec"
    for path in stored.rglob("*.npy"):
        target = (out / path.relative_to(stored)).with_suffix(".pkl")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(pickle.dumps(np.load(path)))
    return out


@pytest.fixture(scope="module")
def published(lists: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of published files: three checkpoints, and the face prototypes of `training.csv`."""
    folder = tmp_path_factory.mktemp("published")
    for name in CHECKPOINTS:
        write_published(folder / name, full_size=full_size)
    num_videos = len((lists / "training.csv").read_text().splitlines()) - 1
    memory = folder / "frame_memory_best_256.pth.tar"
    write_prototype_memory(memory, num_videos, embedding_dim=512 if full_size else 16)
    return folder


@pytest.mark.parametrize("name", bundled_configs("cmpc2"))
def test_configuration_goes_the_whole_way(
    name: str, data: Path, lists: Path, cycle: Callable[[TrainingCycle], Path], tmp_path: Path
) -> None:
    run = cycle(SYSTEM.cycle(name, "--data", data))
    check_commands(SYSTEM, run, data, tmp_path, ("--lists", lists), lists=LISTS)
    voice = next((data / "wav").rglob("*.wav"))
    assert SYSTEM.call("nearest", voice, "--weights", run, "-k", 2) == 0


def test_published_yaml_file_goes_the_whole_way(
    data: Path, lists: Path, features: Path, cycle: Callable[[TrainingCycle], Path], tmp_path: Path
) -> None:
    """On stored features, as that file has it."""
    cfg = tmp_path / "CONFIG.yaml"
    cfg.write_text(yaml.safe_dump(published_file()))
    roots = ("--voice-root", features)
    run = cycle(SYSTEM.cycle(cfg, "--data", data, *roots))
    check_commands(SYSTEM, run, data, tmp_path, ("--lists", lists, *roots), lists=LISTS)


def test_training_table_goes_the_whole_way(
    data: Path, lists: Path, cycle: Callable[[TrainingCycle], Path]
) -> None:
    """The videos of `training.csv`, without validation, which a table does not name."""
    run = cycle(SYSTEM.cycle("published", "--data", data, "--table", lists / "training.csv"))
    assert (run / "training.csv").read_text() == (lists / "training.csv").read_text()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_published_checkpoint_is_tested_and_matched(
    name: str, data: Path, lists: Path, published: Path, tmp_path: Path
) -> None:
    words = ("--lists", lists, "--tie-breaking", "first", "--table", lists / "training.csv")
    check_commands(SYSTEM, published / name, data, tmp_path, words, lists=LISTS)
    if name == "model_best_256.pth.tar":
        voice, memory = next((data / "wav").rglob("*.wav")), published / "frame_memory_best_256.pth.tar"
        flags = ("--weights", published / name, "--memory", memory, "--table", lists / "training.csv")
        assert SYSTEM.call("nearest", voice, *flags, "--clusters", 500, "-k", 300) == 0


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_published_checkpoint_starts_a_run(
    name: str, data: Path, published: Path, full_size: bool, tmp_path: Path
) -> None:
    flags = ("--cfg", "published", "--data", data, "--checkpoint", published / name)
    SYSTEM.train_briefly(tmp_path / "run", *flags, full_size=full_size)


def test_imagenet_weights_start_a_run(data: Path, full_size: bool, tmp_path: Path) -> None:
    """ResNet-34 of torchvision, of its only width."""
    import torchvision

    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    widths = [f"model.{branch}.widths=[64,128,256,512]" for branch in ("voice", "face")]
    blocks = [f"model.{branch}.blocks=null" for branch in ("voice", "face")]
    flags = ("--cfg", "published", "--data", data, "--imagenet", tmp_path / "resnet34.pth")
    words = (*flags, *widths, *blocks, "model.embedding_dim=512", "training.batch_size=2")
    words += ("training.checkpoint_interval=2",)
    SYSTEM.train_briefly(tmp_path / "run", *words, full_size=full_size)


def test_published_files_are_named(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readers = dict.fromkeys(CHECKPOINTS, "cmpc2 --weights, cmpc2 train --checkpoint")
    readers["frame_memory_best_256.pth.tar"] = "cmpc2 nearest --memory"
    check_files_are_named(published, readers, capsys)


def test_program_for_the_published_package_runs_unchanged(
    data: Path, lists: Path, published: Path, tmp_path: Path
) -> None:
    for path in (published / "model_best_256.pth.tar", published / "frame_memory_best_256.pth.tar"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "training.csv").symlink_to(lists / "training.csv")
    (tmp_path / "frame.jpg").symlink_to(next((data / "unzippedFaces").rglob("*.jpg")))
    samples, rate = soundfile.read(next((data / "wav").rglob("*.wav")), dtype="int16")
    soundfile.write(tmp_path / "id10840_0eRPKDAV-I0_00001.wav", samples, rate)
    stored = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    np.save(tmp_path / "id10840_0eRPKDAV-I0_00001.npy", stored)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = {
        words[0] if words[0] != "nearest" else f"nearest {words[1]}": words[1:]
        for words in map(str.split, done.stdout.splitlines())
        if words
    }
    assert abs(float(printed["similarity"][0])) <= 1 and printed["parameters"] == ["42563072"]
    names = {line.split(",")[0] for line in (lists / "training.csv").read_text().splitlines()[1:]}
    for cluster in ("500", "1000", "1500"):
        paths = printed[f"nearest {cluster}"][1:]
        assert {path.split("/")[0] for path in paths} <= names
        assert all((data / "unzippedFaces" / path).is_dir() for path in paths)
    assert printed["nearest 500"][1:]  # 300 of 500 prototypes have some of the videos
