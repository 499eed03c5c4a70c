"""Experiment files: reading, overriding, checking, and the messages for what is wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import pytest
from voiceface.runtime.config import (
    Config,
    ConfigError,
    bundled_configs,
    load_config,
    to_dict,
    to_yaml,
    validate_config,
)


class Training(Config):
    lr: Annotated[float, pydantic.Field(gt=0)] = 0.01
    max_steps: Annotated[int, pydantic.Field(ge=1)] = 100
    milestones: tuple[int, ...] = (10, 20)
    loss_weight: tuple[float, float, float] = (1.0, 1.0, 1.0)
    optimiser: Literal["sgd", "adam"] = "sgd"
    nesterov: bool = False
    weights: Path | None = None
    clip: float | None = None


class Experiment(Config):
    name: str
    seed: int = 1
    training: Training = Training()
    notes: dict[str, float] = pydantic.Field(default_factory=dict)


GOOD = "name: demo\ntraining:\n  lr: 1e-4\n  milestones: [3, 4]\n  loss_weight: [1, 2e-1, .5]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    package = tmp_path / "made_up_package"
    (package / "configs").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "configs" / "main.yaml").write_text(GOOD)
    (package / "configs" / "quick.yaml").write_text(GOOD + "  max_steps: 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("made_up_package", None)
    return tmp_path


def read(folder, text, *overrides):
    (folder / "own.yaml").write_text(text)
    return load_config(folder / "own.yaml", Experiment, "made_up_package", overrides)


def message(folder, text, *overrides):
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    return str(caught.value)


def test_values_are_typed_and_frozen(folder):
    config = load_config("main", Experiment, "made_up_package")
    assert config.training.lr == 1e-4
    assert config.training.milestones == (3, 4)
    assert config.training.loss_weight == (1.0, 0.2, 0.5)
    with pytest.raises(pydantic.ValidationError):
        config.training.lr = 3


def test_a_copy_with_an_unknown_key_is_refused():
    class Section(Config):
        steps: int = 3

    assert Section().model_copy(update={"steps": 5}).steps == 5
    with pytest.raises(ConfigError, match="Section has no step"):
        Section().model_copy(update={"step": 5})


def test_bare_name_is_bundled_and_path_is_a_file(folder):
    assert bundled_configs("made_up_package") == ["main", "quick"]
    assert load_config("quick", Experiment, "made_up_package").training.max_steps == 2
    assert read(folder, "name: mine").name == "mine"


def test_unknown_name_lists_the_bundled_ones(folder):
    with pytest.raises(ConfigError, match=r"'quik'.*Did you mean 'quick'.*main, quick.*\.yaml"):
        load_config("quik", Experiment, "made_up_package")
    with pytest.raises(ConfigError, match=r"missing\.yaml does not exist.*main, quick"):
        load_config("missing.yaml", Experiment, "made_up_package")


def test_overrides_are_yaml_and_the_last_wins(folder):
    config = read(
        folder, GOOD, "training.lr=2.0e-3", "seed=5", "seed=6", "training.milestones=[7]",
        "training.weights=some/file.pth", "training.clip=1e1", "notes={a: 1e2}", "training.nesterov=true",
    )  # fmt: skip
    assert (config.training.lr, config.seed, config.training.milestones) == (2e-3, 6, (7,))
    assert config.training.weights == Path("some/file.pth")
    assert (config.training.clip, config.notes, config.training.nesterov) == (10.0, {"a": 100.0}, True)


def test_override_may_open_a_section_that_the_file_leaves_out(folder):
    assert read(folder, "name: a", "training.max_steps=3").training.max_steps == 3
    assert read(folder, "name: a\ntraining:\n", "training.max_steps=3").training.max_steps == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("a..b=3", "expected section.key=value"),
        ("seed.deeper=3", "seed is a whole number, not a section"),
        ("seed=[1", "not readable YAML"),
        ("trainig.lr=3", "trainig: unknown key; did you mean training?"),
        ("training.max_itr=3", "training.max_itr: unknown key; did you mean training.max_steps?"),
    ],
)
def test_wrong_override_is_named(folder, override, words):
    assert words in message(folder, "name: a\nseed: 1", override)


def test_unknown_key_names_the_nearest(folder):
    assert "training.lrr: unknown key; did you mean training.lr?" in message(folder, GOOD + "  lrr: 1.0\n")
    assert "max_iter: unknown key; did you mean training.max_steps?" in message(
        folder, "name: a\nmax_iter: 3"
    )
    for word in ("lr", "learning_rate"):
        assert f"{word}: unknown key; did you mean training.lr?" in message(folder, "name: a", f"{word}=0.1")
    assert "training.learning_rate: unknown key; did you mean training.lr?" in message(
        folder, "name: a", "training.learning_rate=0.1"
    )


def test_unknown_key_without_a_similar_one_lists_the_keys_of_its_section(folder):
    assert message(folder, "name: a\nzzz: 3").endswith("known keys: name, seed, training, notes")
    assert "keys of training: training.lr, training.max_steps," in message(
        folder, "name: a", "training.zzz=1"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lr: fast", "training.lr: expected a valid number, found 'fast' (text)"),
        ("lr: -1.0", "training.lr: expected greater than 0, found -1.0 (a number)"),
        ("lr: true", "training.lr: expected a valid number, found True (true/false)"),
        ("max_steps: 2.5", "training.max_steps: expected a valid integer, found 2.5 (a number)"),
        ("max_steps: '3'", "training.max_steps: expected a valid integer, found '3' (text)"),
        ("nesterov: 1", "training.nesterov: expected a valid boolean, found 1 (a whole number)"),
        ("optimiser: adm", "training.optimiser: expected 'sgd' or 'adam', found 'adm' (text)"),
        ("milestones: 4", "training.milestones: expected a valid array, found 4 (a whole number)"),
        ("milestones: [1, x]", "training.milestones.1: expected a valid integer, found 'x' (text)"),
    ],
)
def test_wrong_value_says_found_and_expected(folder, line, words):
    assert words in message(folder, f"name: a\ntraining:\n  {line}\n")


def test_all_faults_are_told_at_once(folder):
    text = message(folder, "seed: x\ntraining: 3")
    for words in ("own.yaml", "name: missing", "seed: expected", "training: expected"):
        assert words in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b", "found a list at the top"),
        ("", "found nothing (null) at the top"),
        ("name: [", "not readable YAML"),
        ("name: a\nname: b", "'name' stands twice"),
        ("name: a\nnotes: {1: 2}", "key notes.1 is a whole number, expected text"),
    ],
)
def test_file_that_is_no_configuration(folder, text, words):
    assert words in message(folder, text)


def aliases(first, step, times=30):
    return "a0: &a0 " + first + "\n" + "".join(
        f"a{n}: &a{n} {step.format(n - 1)}\n" for n in range(1, times)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (aliases("{x: 1, y: 2}", "{{x: *a{0}, y: *a{0}}}"), "aliases repeat values beyond"),
        (aliases("[x, x]", "[*a{0}, *a{0}]"), "aliases repeat values beyond"),
        (aliases("{x: 1}", "{{<<: [*a{0}, *a{0}]}}"), "aliases repeat values beyond"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("a: " + "[" * 30_000, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than"),
        ("a: " + "1:" * 60_000 + "1", "a number of 120001 digits"),
        ("a: " + "9" * 5_000, "a number of 5000 digits"),
        ("a: " + "x" * 300_000, "300,003 characters"),
        ("a: 2001-99-99", "a value that cannot be read"),
        ("? [1, 2]\n: 3\n? {a: 1}\n: 3", "not readable YAML"),
        ("a: !!python/object/apply:os.system [x]", "not readable YAML"),
        ("name: \x1b[2J", "not readable YAML"),
        ("<!DOCTYPE html>\x00", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\x00", "Git LFS"),
    ],
)
def test_hostile_files_are_refused_within_a_second(folder, text, words):
    begin = time.process_time()
    assert words in message(folder, text)
    assert time.process_time() - begin < 2


def test_files_in_other_encodings(folder):
    path = folder / "wide.yaml"
    path.write_bytes(GOOD.encode("utf-16"))
    assert load_config(path, Experiment, "made_up_package") == read(folder, GOOD)
    path.write_bytes("name: Zo\u00eb".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"wide\.yaml is not UTF-8 text"):
        load_config(path, Experiment, "made_up_package")
    os.mkfifo(folder / "pipe.yaml")
    with pytest.raises(ConfigError, match="a named pipe"):
        load_config(folder / "pipe.yaml", Experiment, "made_up_package")


def test_yaml_text_reads_back_equal(folder):
    config = read(folder, GOOD, "training.weights=a/ü.pth", "training.clip=1.0e-7")
    again = read(folder, to_yaml(config))
    assert again == config
    assert validate_config(to_dict(config), Experiment) == config


def test_import_is_light():
    code = "import sys, voiceface.runtime.config; assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
