"""seeking_shape: its configurations, checkpoints, lists and YAML files through the whole way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from association_systems import AssociationSystem, check_commands, check_files_are_named
from published_seeking_shape_files import MAIN, reweighting_file, write_backbones, write_published
from training_cycle import TrainingCycle
from trees import UNPUBLISHED_LISTS, count_identities, write_voxceleb
from voiceface.association.config import TEST_LISTS
from voiceface.runtime.config import bundled_configs

SMALL_NETWORKS = (
    *("model.face.image_size=32", "model.face.widths=[8,10,12,14]", "model.face.blocks=[1,1,1,1]"),
    *("model.voice.widths=[8,10,12,14]", "model.voice.blocks=[1,1,1,1]", "model.embedding_dim=16"),
    *("model.face.num_features=16", "model.voice.num_features=16"),
)
SYSTEM = AssociationSystem(
    "seeking_shape",
    reduced=(
        *(*SMALL_NETWORKS, "training.batch_size=4"),
        *("data.clip_samples=16000", "data.crop_samples=[8000,12000]"),
    ),
    schedule=("schedule.warm_up=0", "weights.warm_up=1", "training.validation_start=1"),
    face_folder="VGG_ALL_FRONTAL",
)


@pytest.fixture(scope="module")
def data(training_population: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voxceleb(training_population, tmp_path_factory.mktemp("data") / "VOX1")


@pytest.fixture(scope="module")
def published(data: Path, full_size: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of published files: `best.pth.tar` of full size; to train from: the same, backbones, weights."""
    from seeking_shape.published import save_id_weight

    folder, overrides = tmp_path_factory.mktemp("published"), () if full_size else SMALL_NETWORKS
    count = count_identities(data)
    write_published(folder / "best.pth.tar", (), count)
    write_published(folder / "start.pth.tar", overrides, count)
    write_backbones(folder, overrides)
    save_id_weight(folder / "id_weight.pth", torch.arange(count) / count)
    return folder


@pytest.mark.parametrize("name", bundled_configs("seeking_shape"))
def test_configuration_goes_the_whole_way(
    name: str, data: Path, cycle: Callable[[TrainingCycle], Path], tmp_path: Path
) -> None:
    run = cycle(SYSTEM.cycle(name, "--data", data))
    check_commands(SYSTEM, run, data, tmp_path, lists=TEST_LISTS)


@pytest.mark.parametrize("content", [MAIN, reweighting_file()], ids=["main", "re-weighting"])
def test_published_yaml_file_goes_the_whole_way(
    content: dict[str, Any],
    data: Path,
    published: Path,
    cycle: Callable[[TrainingCycle], Path],
    tmp_path: Path,
) -> None:
    cfg = tmp_path / "cfg.yaml"
    cfg.write_text(yaml.safe_dump(content))
    flags = ("--id-weights", published / "id_weight.pth") if content is MAIN else ()
    schedule = (*SYSTEM.schedule, "model.num_classes=null")  # the file states that of VoxCeleb1
    run = cycle(SYSTEM.cycle(cfg, "--data", data, *flags, schedule=schedule))
    check_commands(SYSTEM, run, data, tmp_path, lists=TEST_LISTS)


def test_published_checkpoint_is_tested_and_matched(data: Path, published: Path, tmp_path: Path) -> None:
    """On the lists as published, without the matching lists of the test identities."""
    for name in UNPUBLISHED_LISTS:
        (data / "list_wav" / f"{name}.txt").rename(tmp_path / f"{name}.txt")
    words = ("--tie-breaking", "first", "--generate-lists", 0)
    try:
        check_commands(SYSTEM, published / "best.pth.tar", data, tmp_path, words, lists=TEST_LISTS)
    finally:
        for name in UNPUBLISHED_LISTS:
            (tmp_path / f"{name}.txt").rename(data / "list_wav" / f"{name}.txt")


def test_published_weights_start_all_steps(
    data: Path, published: Path, full_size: bool, tmp_path: Path
) -> None:
    """Commands of docs/reproducing.md: step 1, step 2, step 3; and a run from a complete checkpoint."""
    face, voice = published / "backbone_ir50_ms1m_epoch120.pth", published / "baseline_lite_ap.model"
    backbones = ("--data", data, "--face-backbone", face, "--voice-backbone", voice)
    options = {"full_size": full_size}
    first = SYSTEM.train_briefly(tmp_path / "r", "--cfg", "published_reweight", *backbones, **options)
    assert SYSTEM.call("extract_id_weight", first) == 0
    for number, weights in enumerate((first / "id_weight.safetensors", published / "id_weight.pth")):
        flags = ("--cfg", "published_main", *backbones, "--id-weights", weights)
        SYSTEM.train_briefly(tmp_path / f"m{number}", *flags, **options)
    flags = ("--cfg", "published_main", "--data", data, "--checkpoint", published / "start.pth.tar")
    SYSTEM.train_briefly(tmp_path / "c", *flags, **options)
    out = tmp_path / "extracted.pth"
    assert SYSTEM.call("extract_id_weight", published / "best.pth.tar", "--out", out) == 0
    assert torch.equal(
        torch.load(out, weights_only=True)["center.weight"], torch.ones(count_identities(data))
    )


def test_published_files_are_named(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readers = {
        "best.pth.tar": "seeking_shape --weights, train --checkpoint",
        "backbone_ir50_ms1m_epoch120.pth": "seeking_shape train, archetype_agnostic train --face-backbone",
        "baseline_lite_ap.model": "seeking_shape train, archetype_agnostic train --voice-backbone",
        "id_weight.pth": "seeking_shape train --id-weights",
    }
    check_files_are_named(published, readers, capsys)
