"""seeking_shape: its configurations, checkpoints, lists and YAML files through the whole way."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_cycle import SHORT, TrainingCycle
from trees import write_voxceleb
from voiceface.commandline.dispatch import run_main
from voiceface.runtime.config import bundled_configs

SHORT_SCHEDULE = ("schedule.warm_up=0", "weights.warm_up=1", "training.validation_start=1")
REDUCED = (
    *("model.face.image_size=32", "model.face.widths=[4,8,8,8]", "model.face.blocks=[1,1,1,1]"),
    *("model.voice.widths=[4,4,8,8]", "model.voice.blocks=[1,1,1,1]", "model.embedding_dim=16"),
    *("model.face.num_features=16", "model.voice.num_features=16", "training.batch_size=4"),
    *("data.clip_samples=16000", "data.crop_samples=[8000,12000]"),
)


@pytest.fixture(scope="module")
def data(population: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voxceleb(population, tmp_path_factory.mktemp("data") / "VOX1")


@pytest.mark.parametrize("name", bundled_configs("seeking_shape"))
def test_configuration_goes_the_whole_way(
    name: str, data: Path, cycle: Callable[[TrainingCycle], Path], tmp_path: Path
) -> None:
    run = cycle(TrainingCycle("seeking_shape.train", name, ("--data", data), SHORT_SCHEDULE, REDUCED, SHORT))
    words = ["--weights", str(run), "--data", str(data), "--out", str(tmp_path / "test")]
    assert run_main("seeking_shape.__main__", ["test", *words]) == 0
    assert (tmp_path / "test" / "results.json").is_file()
    voice, folder = next((data / "wav").rglob("*.wav")), data / "VGG_ALL_FRONTAL"
    assert (
        run_main(
            "seeking_shape.__main__", ["match", str(voice), "--gallery", str(folder), "--weights", str(run)]
        )
        == 0
    )
