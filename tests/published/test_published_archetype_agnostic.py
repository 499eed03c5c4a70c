"""archetype_agnostic: its configurations, checkpoints, lists and YAML files through the whole way."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from association_systems import AssociationSystem, check_commands, check_files_are_named
from published_archetype_agnostic_files import EVALUATION, TRAINING, write_backbones, write_published
from training_cycle import SHORT, TrainingCycle
from trees import count_identities, write_first_release, write_voxceleb
from voiceface.association.config import TEST_LISTS
from voiceface.runtime.config import bundled_configs
from voiceface.testing.runs import read_log_without_clock

SMALL_NETWORKS = (
    *("model.face.image_size=32", "model.face.widths=[8,10,12,14]", "model.face.hidden_dim=16"),
    *("model.voice.widths=[8,10,12,14]", "model.voice.hidden_dim=16", "model.embedding_dim=16"),
)
SYSTEM = AssociationSystem(
    "archetype_agnostic",
    reduced=(
        *(*SMALL_NETWORKS, "model.face.blocks=[1,1,1,1]", "model.voice.blocks=[1,1,1,1]"),
        *("training.batch_size=4", "data.clip_samples=16000", "data.crop_samples=[8000,12000]"),
    ),
    schedule=(
        *("schedule.warm_up=0", "regauging.start_step=1", "equilibrium.warm_up=1"),
        *("equilibrium.update_interval=1", "training.validation_start=1"),
    ),
    face_folder="VGG_ALL_FRONTAL",
)
TWO_STEPS = (*SHORT, "stopping.rule=max_steps")
BY_NAME = ("--voice-folder", "vggface1_id")


@pytest.fixture(scope="module")
def data(training_population: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voxceleb(training_population, tmp_path_factory.mktemp("data") / "VOX1")


@pytest.fixture(scope="module")
def first_release(training_population: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings below the names of the identities."""
    return write_first_release(training_population, tmp_path_factory.mktemp("data") / "VOX1")


@pytest.fixture(scope="module")
def published(data: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of published files: a checkpoint of full size; to train from: another, and both backbones."""
    folder, overrides = tmp_path_factory.mktemp("published"), () if full_size else SMALL_NETWORKS
    write_published(folder / "checkpoint_best.pth.tar", "ir152" if full_size else "ir50")
    write_published(folder / "start.pth.tar", "ir152", overrides, count_identities(data))
    write_backbones(folder, overrides)
    return folder


@pytest.mark.parametrize("name", bundled_configs("archetype_agnostic"))
def test_configuration_goes_the_whole_way(
    name: str, data: Path, cycle: Callable[[TrainingCycle], Path], tmp_path: Path
) -> None:
    run = cycle(SYSTEM.cycle(name, "--data", data, short=TWO_STEPS))
    check_commands(SYSTEM, run, data, tmp_path, lists=TEST_LISTS)


@pytest.mark.parametrize("content", [TRAINING, EVALUATION], ids=["training", "evaluation only"])
def test_published_yaml_file_goes_the_whole_way(
    content: dict[str, Any],
    data: Path,
    first_release: Path,
    cycle: Callable[[TrainingCycle], Path],
    tmp_path: Path,
) -> None:
    """The first release has recordings below the names of the identities, and two lists in its file."""
    cfg = tmp_path / "cfg.yaml"
    cfg.write_text(yaml.safe_dump(content))
    place, flags = (data, ()) if content is TRAINING else (first_release, BY_NAME)
    schedule = (*SYSTEM.schedule, "model.num_classes=null")  # the file states that of VoxCeleb1
    run = cycle(SYSTEM.cycle(cfg, "--data", place, *flags, short=TWO_STEPS, schedule=schedule))
    lists = TEST_LISTS if content is TRAINING else EVALUATION["evaluation"]["dataset"]["eval_lists"]
    check_commands(SYSTEM, run, place, tmp_path, flags, lists=lists)


def test_published_early_stopping_ends_the_run(data: Path, tmp_path: Path) -> None:
    """After `max_steps`, once no accuracy of the last two validations exceeds its predecessor."""
    cfg = tmp_path / "cfg.yaml"
    cfg.write_text(yaml.safe_dump(TRAINING))
    words = ("--cfg", cfg, "--data", data, "model.num_classes=null", "stopping.patience=2")
    words += ("training.max_steps=1",)
    run = SYSTEM.train_briefly(tmp_path / "run", *words, "training.batch_size=10")
    rows = read_log_without_clock(run)
    accuracies = [row["val/matching_accuracy"] for row in rows if "val/matching_accuracy" in row]
    *rising, (before, last) = pairwise(accuracies)
    assert last <= before and all(a < b for a, b in rising)


def test_published_checkpoint_is_tested_and_matched(
    data: Path, first_release: Path, published: Path, tmp_path: Path
) -> None:
    """On both layouts of the recordings, with equal results."""
    weights, words = published / "checkpoint_best.pth.tar", ("--tie-breaking", "first")
    check_commands(SYSTEM, weights, data, tmp_path, words, lists=TEST_LISTS)
    flags = ("--weights", weights, "--data", first_release, "--out", tmp_path / "first", *BY_NAME)
    assert SYSTEM.call("test", *flags, *words) == 0
    first, second = ((tmp_path / name / "results.txt").read_text() for name in ("first", "test"))
    assert first == second


def test_published_weights_start_a_run(data: Path, published: Path, full_size: bool, tmp_path: Path) -> None:
    """The command of docs/reproducing.md, and a run from a complete checkpoint."""
    face = next(published.glob("Backbone_IR_152_*.pth"))
    backbones = ("--face-backbone", face, "--voice-backbone", published / "baseline_lite_ap.model")
    checkpoint = ("--checkpoint", published / "start.pth.tar")
    blocks = ("model.face.blocks=null", "model.voice.blocks=[3,4,6,3]", "stopping.rule=max_steps")
    for cfg in ("main", "published"):
        for name, flags in (("b", backbones), ("c", checkpoint)):
            out, words = tmp_path / cfg / name, ("--cfg", cfg, "--data", data, *flags, *blocks)
            SYSTEM.train_briefly(out, *words, full_size=full_size)


def test_published_files_are_named(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readers = {
        "checkpoint_best.pth.tar": "archetype_agnostic --weights, train --checkpoint",
        next(published.glob("Backbone_*")).name: "archetype_agnostic train --face-backbone",
        "baseline_lite_ap.model": "archetype_agnostic train --voice-backbone",  # as its trainer writes it
    }
    check_files_are_named(published, readers, capsys)
