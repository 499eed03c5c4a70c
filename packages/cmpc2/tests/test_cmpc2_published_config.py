"""The published CONFIG.yaml as a configuration: equal to the bundled `published`."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from cmpc2.config import Cmpc2Config
from cmpc2.published_config import main
from published_cmpc2_files import published_file
from voiceface.runtime.config import ConfigError, load_config


def load(path: Path, tree: dict[str, Any]) -> Cmpc2Config:
    path.write_text(yaml.safe_dump(tree))
    return load_config(path, Cmpc2Config, "cmpc2")


def test_published_file_equals_the_bundled_configuration(tmp_path: Path) -> None:
    expected = load_config("published", Cmpc2Config, "cmpc2")
    assert load(tmp_path / "CONFIG.yaml", published_file()) == expected
    least = {"dataset": {}, "optimizer": {}, "clustering": {}}  # missing keys take the published defaults
    assert load(tmp_path / "CONFIG.yaml", least) == expected


def test_lengths_in_samples_become_steps(tmp_path: Path) -> None:
    tree = published_file()
    tree["dataset"]["batch_size"] = 50
    tree["optimizer"]["iterations"] = 20_000
    tree["clustering"] |= {"warmup_iter": 1_001, "clustering_iter_freq": 520, "num_cluster": [4]}
    config = load(tmp_path / "CONFIG.yaml", tree)
    assert (config.training.max_steps, config.training.batch_size) == (400, 50)
    # Step k begins after 50 k samples: the first step at which 1,001 samples were seen is 21.
    assert (config.clustering.start_step, config.clustering.interval) == (21, 10)
    assert config.optimiser.warm_up == 40 and config.clustering.num_clusters == (4,)


def test_what_was_not_taken_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = published_file()
    tree["model"]["args"]["pretrain"] = "resnet34.pth"
    tree["clustering"]["Nitter"] = 5
    with caplog.at_level(logging.INFO):
        load(tmp_path / "CONFIG.yaml", tree)
    assert "images (--face-root): unzippedFaces" in caplog.text and "data (--data): data" in caplog.text
    assert "ImageNet weights (--imagenet): resnet34.pth" in caplog.text
    unused = next(line for line in caplog.messages if "not used here" in line)
    assert "clustering.Nitter" in unused and "model.args.proj" in unused and "seed" not in unused


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("dataset", "n_mels", 80), ("dataset", "face_size", [224, 256]), ("optimizer", "name", "lars")],
)
def test_values_that_cannot_be_reproduced(section: str, key: str, value: Any, tmp_path: Path) -> None:
    tree = published_file()
    tree[section][key] = value
    with pytest.raises(ConfigError, match=rf"{section}\.{key} is .*can be translated"):
        load(tmp_path / "CONFIG.yaml", tree)


def test_command_prints_a_configuration_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = load(tmp_path / "CONFIG.yaml", published_file())
    assert main([str(tmp_path / "CONFIG.yaml")]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "mine.yaml", Cmpc2Config, "cmpc2") == expected
