"""Configuration files of both published repositories in our terms."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.published_config import is_published, main, read_published_config, translate
from published_archetype_agnostic_files import EVALUATION, TRAINING
from voiceface.runtime.config import ConfigError, load_config, to_dict


def changed(path: str, value: object) -> dict[str, Any]:
    """TRAINING with one key set."""
    tree = yaml.safe_load(yaml.safe_dump(TRAINING))
    place = tree
    *folders, last = path.split(".")
    for key in folders:
        place = place.setdefault(key, {})
    place[last] = value
    return tree


def bundled() -> dict[str, Any]:
    """Our `published`, with the published number of identities."""
    computed = to_dict(load_config("published", ArchetypeAgnosticConfig, "archetype_agnostic"))
    computed["model"]["num_classes"] = 924
    return computed


def test_published_run_is_the_bundled_published() -> None:
    result = translate(TRAINING)
    assert to_dict(result.config) == bundled()
    assert result.voice_folder == "voxceleb1_id"
    assert result.paths["face backbone"] == "weights/ir152.pth"
    assert result.paths["voice backbone"] == "weights/baseline_lite_ap.model"
    assert result.paths["weights of the test"].endswith("model_best_epoch_xx.pth.tar")
    assert result.paths["images"] == "data/VGG_ALL_FRONTAL"


def test_evaluation_only_files_take_the_published_defaults() -> None:
    result = translate(EVALUATION)
    reference, computed = to_dict(result.config), bundled()
    assert reference["evaluation"].pop("lists") == ["match_v2f_2_test", "reterival_f2v_test"]
    # The file names a list of test identities for the validation, which it never runs.
    assert reference["evaluation"]["validation_list"] == "match_v2f_2_val"
    del computed["evaluation"]["lists"]
    computed["training"]["validation_start"] = 15_000  # as the code has it where the key is absent
    assert reference == computed
    assert result.voice_folder == "vggface1_id"
    assert result.paths["weights of the evaluation"] == "./save/checkpoint_best.pth.tar"
    assert result.paths["recordings of the evaluation"] == "data/voices_test"


@pytest.mark.parametrize(
    ("path", "value", "ours", "expected"),
    [
        ("models.Arch.eqm.temp", 0.2, "loss.temperature", 0.2),
        ("models.Arch.eqm.m_u", 0.3, "regauging.trust_threshold", 0.3),
        ("models.Arch.eqm.m_l", 0.4, "regauging.margin", 0.4),
        ("models.Arch.eqm.H", False, "regauging.form", "circle"),
        ("models.regauge_iter", 7, "regauging.start_step", 7),
        ("models.weighted_enabled", False, "equilibrium.enabled", False),
        ("models.Arch.vNet.freeze", True, "training.freeze", ["face"]),
        ("models.Arch.vNet.pretrained.model", "IR_50", "model.face.arch", "ir50"),
        ("models.Arch.vNet.pretrained.model", "IR_SE_101", "model.face.squeeze_excitation", True),
        ("training.weight_update_iter", -1, "equilibrium.update_interval", None),
        ("training.warm_up", 5, "equilibrium.warm_up", 5),
        ("training.optimizer.weight_decay", "5e-4", "optimiser.weight_decay", 5e-4),
        ("training.optimizer.lr_decay_iter", [3], "schedule.milestones", [3]),
        ("validation.val_iter", -1, "stopping.rule", "max_steps"),
        ("testing.test_lists", ["match_v2f_2_test"], "evaluation.lists", ["match_v2f_2_test"]),
    ],
)
def test_values_are_translated(path: str, value: object, ours: str, expected: object) -> None:
    result: Any = to_dict(translate(changed(path, value)).config)
    before: Any = bundled()
    for key in ours.split("."):
        result, before = result[key], before[key]
    assert result == expected != before


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.batchsize", 64, "did you mean training.batch_size"),
        ("models.Arch.eqm.m_i", 0.1, r"did you mean models\.Arch\.eqm\.m_"),
        ("models.Arch.vNet.pretrained.model", "resnet50", "only 'IR_50'"),
        ("models.Arch.aNet.pretrained.model", "VGGVox", "only 'ResNetSE34'"),
        ("dataset.modal", "image", "only 'both'"),
        ("dataset.input_size", [224, 224], r"only \[112, 112\]"),
        ("models.Arch.aNet.output_channel", 64, "one output_channel"),
        ("training.max_iter", "many", "max_steps"),
    ],
)
def test_values_without_translation_are_named(path: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        translate(changed(path, value))


def test_command_prints_a_configuration_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cfg.yaml").write_text(yaml.safe_dump(EVALUATION))
    assert main([str(tmp_path / "cfg.yaml")]) == 0
    printed = capsys.readouterr()
    (tmp_path / "mine.yaml").write_text(printed.out)
    config = load_config(tmp_path / "mine.yaml", ArchetypeAgnosticConfig, "archetype_agnostic")
    assert (
        load_config(tmp_path / "cfg.yaml", ArchetypeAgnosticConfig, "archetype_agnostic") == config
    )  # recognised as it is
    assert config == read_published_config(tmp_path / "cfg.yaml").config
    assert "embeddings of the evaluation: ./save/features.pth" in printed.err
    assert "vggface1_id" in printed.err
    assert main([str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml" in capsys.readouterr().err
    assert is_published(TRAINING) and not is_published(yaml.safe_load(printed.out))


@pytest.mark.parametrize("module", ["published_config"])
def test_help_of_a_module_without_a_command_is_light(module: str) -> None:
    code = f"import sys\nfrom archetype_agnostic.{module} import main\n"
    code += "try:\n    main(['--help'])\nexcept SystemExit:\n"
    code += "    print(sorted({'torch', 'pydantic', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert module in done.stdout.partition("\n")[0] and done.stdout.endswith("[]\n")
