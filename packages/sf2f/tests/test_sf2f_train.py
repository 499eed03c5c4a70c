"""Training of both stages: outputs of a run, bit-identical resume, effect of options."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sf2f.config import Sf2fConfig, config_to_dict
from sf2f.data import synthetic_speakers
from sf2f.generation import embed_speakers
from sf2f.models import DISCRIMINATORS_FILE, load_sf2f_model
from sf2f.speakers import Speakers
from sf2f.train import InitialWeights, build_lr_schedules, train
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.checkpoints.published import CheckpointError
from voiceface.commandline.dispatch import run_main
from voiceface.runtime.config import ConfigError, load_config
from voiceface.testing import configurations, runs
from voiceface.testing.processes import in_two_processes

SMALL = (
    "generator.encoder.channels=[8,8]",
    "generator.encoder.embedding_dim=16",
    "discriminators.hidden_dim=8",
    "data.frames.min_crop=20",
    "data.frames.max_crop=24",
    "data.windows.width=20",
    "data.windows.stride=20",
    "data.windows.max_windows=4",
    "training.batch_size=4",
    "training.num_workers=0",
    "training.log_interval=1",
    "training.checkpoint_interval=1",
    "training.preview_interval=1",
)
BACKBONE = "[{arch: 'C4-4-2,C4-8-2', normalisation: batch, padding: valid, activation: leakyrelu-0.1}]"
TINY = {
    "quick_v2f": ("generator.decoder.channels=[8,8,8,8]", f"discriminators.identity={BACKBONE}"),
    "quick_1st_stage": (
        "generator.decoder.channels=[8,8,8,8]",
        f"discriminators.identity={BACKBONE}",
        f"discriminators.image={BACKBONE}",
    ),
}
TINY["quick_fuser"] = TINY["quick_1st_stage"]
RELEASED = ("v2f", "sf2f_1st_stage", "sf2f_fuser", "sf2f_mid_1st_stage", "sf2f_mid_fuser")
SIZES = {"train": 8, "val": 6, "test": 6, "clip_seconds": 1.2, "render_size": 32}


def tiny_config(name: str, *words: str, steps: int = 2) -> Sf2fConfig:
    overrides = (
        *SMALL,
        *TINY[name],
        f"training.max_steps={steps}",
        "training.validation_interval=null",
        *words,
    )
    return load_config(name, Sf2fConfig, "sf2f", overrides)


def run_outcome(run: Path) -> tuple[Any, ...]:
    """Bytes of generator and discriminators, and the log without timestamps."""
    return runs.run_outcome(run, MODEL_FILE, DISCRIMINATORS_FILE)


def load_state(run: Path, name: str = MODEL_FILE) -> dict[str, torch.Tensor]:
    return load_model(run / name).state


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Bit-identity needs a fixed number of threads."""
    runs.use_one_thread()


@pytest.fixture(scope="module")
def speakers() -> Speakers:
    return synthetic_speakers("tiny", "train", workers=1, progress=False, **SIZES)


@pytest.fixture(scope="module")
def validation_speakers() -> Speakers:
    return synthetic_speakers("tiny", "val", workers=1, progress=False, **SIZES)


@pytest.fixture(scope="module")
def stage_one(
    speakers: Speakers, validation_speakers: Speakers, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A stage-1 run of two steps."""
    out = tmp_path_factory.mktemp("runs") / "first"
    config = tiny_config("quick_1st_stage", "training.validation_interval=2")
    train(config, speakers, out, validation_speakers=validation_speakers, threads=1)
    return out


def test_noise_in_evaluation_is_the_same_in_every_evaluation(
    speakers: Speakers, validation_speakers: Speakers, tmp_path: Path
) -> None:
    """The published v2f adds noise in evaluation, too: training validates, and tests are reproducible."""
    noise = ("generator.encoder.noise_std=0.05", "generator.encoder.noise_in_evaluation=true")
    config = tiny_config("quick_v2f", *noise, "training.validation_interval=1")
    train(config, speakers, tmp_path / "run", validation_speakers=validation_speakers, threads=1)
    model = load_sf2f_model(tmp_path / "run")
    first, again, other = (
        torch.cat(embed_speakers(model, validation_speakers, noise_seed=seed).windows) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    encoder = model.generator.encoder
    encoder.config = encoder.config.model_copy(update={"noise_in_evaluation": False})
    clean = torch.cat(embed_speakers(model, validation_speakers).windows)
    # Two unit vectors that differ by noise of 0.05 in 16 dimensions are about 0.05 * sqrt(15) = 0.19 apart.
    for noisy in (first, other):
        distance = (noisy - clean).norm(dim=1).mean()
        assert 0.1 < distance < 0.3
    assert not torch.equal(first, other)


# configurations


def load_bundled(name: str) -> dict[str, Any]:
    return configurations.load_bundled_values("sf2f", name, Sf2fConfig, config_to_dict)


def test_bundled_configurations_are_complete_and_named_after_their_file() -> None:
    names = configurations.assert_complete("sf2f", Sf2fConfig, config_to_dict)
    assert {*RELEASED, *(f"published_{name}" for name in RELEASED), *TINY} <= set(names)


@pytest.mark.parametrize("name", RELEASED)
def test_published_configurations_differ_only_in_documented_options(name: str) -> None:
    meant, published = load_bundled(name), load_bundled(f"published_{name}")
    expected = {
        "name": f"published_{name}",
        "schedule.identity_discriminator_lr": "constant",
        "data.windows.missing": "error",
    }
    if name == "v2f":
        expected["generator.encoder.noise_in_evaluation"] = True
    if name.endswith("fuser"):
        expected["training.frozen_norms"] = "batch_statistics"
    assert configurations.changed_values(meant, published) == expected


def test_released_hyperparameters() -> None:
    """Hyperparameters of the released option files."""
    expected: dict[str, dict[str, Any]] = {
        "v2f": {
            "losses.pixel": 100,
            "losses.identity": 1,
            "losses.perceptual": 0,
            "training.batch_size": 256,
        },
        "sf2f_1st_stage": {"losses.pixel": 10, "losses.identity": 0.05, "losses.perceptual": 100},
        "sf2f_fuser": {"optimiser.lr": 1e-4, "training.max_steps": 50 * 11, "data.windows.max_windows": 20},
        "sf2f_mid_1st_stage": {"losses.pixel": 100, "optimiser.lr": 5e-4, "training.max_steps": 132_000},
        "sf2f_mid_fuser": {"losses.pixel": 100, "data.windows.width": 125, "data.windows.stride": 125},
    }
    for name, values in expected.items():
        found = load_bundled(name)
        assert {key: found[key] for key in values} == values, name


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("v2f", 23_345_859), ("sf2f_1st_stage", 16_414_275), ("sf2f_mid_fuser", 17_212_358)],
)
def test_released_generators_have_the_published_size(name: str, parameters: int) -> None:
    from sf2f.generator import EncoderDecoder

    with torch.device("meta"):
        generator = EncoderDecoder(load_config(name, Sf2fConfig, "sf2f").generator)
    assert sum(each.numel() for each in generator.parameters()) == parameters


def test_the_second_stage_fits_the_first() -> None:
    one, two = load_bundled("quick_1st_stage"), load_bundled("quick_fuser")
    same = [key for key in one if key.startswith(("generator.enc", "generator.dec", "discrim", "data."))]
    assert len(same) > 20 and {key: one[key] for key in same} == {key: two[key] for key in same}


def test_learning_rates_decay_linearly_and_published_identity_rates_stay() -> None:
    config = tiny_config("quick_1st_stage", "schedule.decay_after=5", "optimiser.lr=1.0", steps=10)
    ours, _, identity = build_lr_schedules(config)
    assert [ours(step) for step in (0, 4)] == [1, 1]
    assert ours(5) > ours(6) > ours(9) == pytest.approx(config.schedule.final_lr_fraction, abs=1e-3)
    assert identity(9) < identity(0)
    forgotten = build_lr_schedules(
        tiny_config("quick_1st_stage", "schedule.identity_discriminator_lr=constant", steps=10)
    )[2]
    assert forgotten(9) == forgotten(0)


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("quick_1st_stage", "stage=2", "stage 2"),
        ("quick_fuser", "stage=1", "stage 1"),
        ("quick_1st_stage", "training.train_decoder=true", "stage 2"),
        ("quick_1st_stage", "data.speech.n_mels=64", "must agree"),
        ("quick_1st_stage", "data.frames.min_crop=200", "min_crop must be <= max_crop"),
        ("quick_1st_stage", "losses.pixle=1.0", "losses.pixel"),
    ],
)
def test_inconsistent_configurations_are_rejected(name: str, word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        tiny_config(name, word)


# runs


def test_a_run_writes_a_loadable_checkpoint_and_finite_metrics(stage_one: Path, speakers: Speakers) -> None:
    model = load_sf2f_model(stage_one)
    assert not model.has_fuser and model.name == "quick_1st_stage" and "synthetic" in model.disclaimer
    assert model.identity_names == speakers.identity_names
    found = runs.read_log_without_clock(stage_one)
    steps = [row for row in found if "total_loss" in row]
    assert [row["step"] for row in steps] == [0, 1]
    assert {"L1_pixel_loss", "img_perceptual_loss", "d_img_gan_loss_0", "d_ac_loss_real_0"} <= set(steps[0])
    judged = [row for row in found if "val/pixel_l1" in row]
    assert [row["step"] for row in judged] == [0, 2]
    assert {"val/gender_accuracy", "val/factors", "val/rank_10_identification"} <= set(judged[0])
    assert any((stage_one / "tensorboard").iterdir())


def test_a_stopped_run_resumes_to_the_same_bytes(speakers: Speakers, tmp_path: Path) -> None:
    config = tiny_config("quick_1st_stage", "training.ema_decay=0.5", steps=3)
    uninterrupted = tmp_path / "uninterrupted"
    train(config, speakers, uninterrupted, threads=1)

    class Stop(Exception):
        pass

    import sf2f.training_step

    real, calls = sf2f.training_step.train_step, []

    def stopping(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return real(*args, **options)

    interrupted = tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sf2f.training_step, "train_step", stopping)
        with pytest.raises(Stop):
            train(config, speakers, interrupted, threads=1)
    assert not (interrupted / MODEL_FILE).exists()
    train(config, speakers, interrupted, threads=1, resume=True)
    assert run_outcome(interrupted) == run_outcome(uninterrupted)


def test_noise_of_v2f_is_reproducible(speakers: Speakers, tmp_path: Path) -> None:
    config = tiny_config("quick_v2f")
    assert config.generator.encoder.noise_std and not config.discriminators.image
    one, two = tmp_path / "one", tmp_path / "two"
    train(config, speakers, one, threads=1)
    train(config, speakers, two, threads=1)
    assert run_outcome(one) == run_outcome(two)
    model = load_sf2f_model(one)
    voice = torch.randn(2, 40, 20)
    assert torch.equal(model.embed(voice), model.embed(voice)), "no noise outside training"


def test_the_second_stage_trains_only_the_fuser(stage_one: Path, speakers: Speakers, tmp_path: Path) -> None:
    out = tmp_path / "second"
    train(
        tiny_config("quick_fuser"),
        speakers,
        out,
        initial_weights=InitialWeights(checkpoint=stage_one),
        threads=1,
    )
    before, after = load_state(stage_one), load_state(out)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not changed, "frozen parts, running statistics included"
    assert {key for key in after if key not in before} == {
        key for key in after if key.startswith("encoder.attn_fuser.")
    }
    one, two = load_state(stage_one, DISCRIMINATORS_FILE), load_state(out, DISCRIMINATORS_FILE)
    assert any(not torch.equal(one[key], two[key]) for key in one), "discriminators go on learning"
    model = load_sf2f_model(out)
    assert model.has_fuser and model.pool_embeddings(torch.randn(3, 16)).shape == (1, 16)
    windows = torch.randn(3, 16)
    assert torch.allclose(model.pool_embeddings(windows), model.pool_embeddings(windows.flip(0)), atol=1e-6)


def test_published_statistics_of_the_second_stage_drift(
    stage_one: Path, speakers: Speakers, tmp_path: Path
) -> None:
    out = tmp_path / "drift"
    config = tiny_config("quick_fuser", "training.frozen_norms=batch_statistics")
    train(config, speakers, out, initial_weights=InitialWeights(checkpoint=stage_one), threads=1)
    before, after = load_state(stage_one), load_state(out)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and all("running_" in key or "num_batches" in key for key in changed)


def test_a_stopped_second_stage_resumes_without_its_initial_weights(
    stage_one: Path, speakers: Speakers, tmp_path: Path
) -> None:
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "parts"
    given = InitialWeights(checkpoint=stage_one)
    train(tiny_config("quick_fuser"), speakers, uninterrupted, initial_weights=given, threads=1)

    def interrupt(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*_, **__)

    import sf2f.training_step

    real = sf2f.training_step.train_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sf2f.training_step, "train_step", interrupt)
        with pytest.raises(SystemExit) as left:
            train(tiny_config("quick_fuser"), speakers, interrupted, initial_weights=given, threads=1)
    assert left.value.code == 128 + signal.SIGTERM
    train(tiny_config("quick_fuser"), speakers, interrupted, threads=1, resume=True)
    assert run_outcome(interrupted) == run_outcome(uninterrupted)


def test_options_of_the_training_course(stage_one: Path, speakers: Speakers, tmp_path: Path) -> None:
    def run(name: str, *words: str, steps: int = 2) -> list[dict[str, Any]]:
        config = tiny_config("quick_1st_stage", *words, steps=steps)
        train(config, speakers, tmp_path / name, threads=1)
        return [row for row in runs.read_log_without_clock(tmp_path / name) if "total_loss" in row]

    plain = [row for row in runs.read_log_without_clock(stage_one) if "total_loss" in row]
    without = run("pixel", "training.pixel_loss_until_step=1")
    assert without[0] == plain[0] and without[1]["L1_pixel_loss"] == 0 < plain[1]["L1_pixel_loss"]
    run("fixed", "training.eval_mode_from_step=1", "training.ema_decay=0.0")
    counted = load_state(tmp_path / "fixed")["encoder.model.0.conv_k3.model.1.num_batches_tracked"]
    assert int(counted) == 1, "statistics of one step only"
    unaveraged = run("unaveraged", "training.ema_decay=0.0")
    assert run("averaged", "training.ema_decay=0.9") == unaveraged == plain, "training ignores the average"
    run("one_step", "training.ema_decay=0.0", steps=1)
    one, two, saved = (load_state(tmp_path / name) for name in ("one_step", "unaveraged", "averaged"))
    assert any(not torch.equal(saved[key], two[key]) for key in saved)
    for key in saved:
        if saved[key].is_floating_point():
            torch.testing.assert_close(saved[key], 0.9 * one[key] + 0.1 * two[key], msg=key)


def test_masks_of_identities_with_few_windows_reach_the_fuser(
    stage_one: Path, speakers: Speakers, tmp_path: Path
) -> None:
    """Training works with different numbers of windows in a batch, and padding has no effect."""
    cut = Speakers(
        speakers.names,
        speakers.corpora,
        tuple(voices[: 1 + at % 2] for at, voices in enumerate(speakers.utterances)),
        speakers.faces,
        speakers.genders,
        ground_truth=speakers.ground_truth,
        disclaimer=speakers.disclaimer,
    )
    config = tiny_config("quick_fuser", "data.windows.max_windows=12")
    train(config, cut, tmp_path / "few", initial_weights=InitialWeights(checkpoint=stage_one), threads=1)
    with pytest.raises(ValueError, match="windows"):
        wrong = tiny_config("quick_fuser", "data.windows.max_windows=12", "data.windows.missing=error")
        train(wrong, cut, tmp_path / "error", initial_weights=InitialWeights(checkpoint=stage_one), threads=1)


# what goes wrong


def test_invalid_initial_weights_are_named(stage_one: Path, speakers: Speakers, tmp_path: Path) -> None:
    config = tiny_config("quick_fuser")
    with pytest.raises(ValueError, match="--checkpoint"):
        train(config, speakers, tmp_path / "none", threads=1)
    other = speakers.subset(list(range(7, -1, -1)))
    with pytest.raises(CheckpointError, match="another order"):
        train(
            config,
            other,
            tmp_path / "other",
            initial_weights=InitialWeights(checkpoint=stage_one),
            threads=1,
        )
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes((stage_one / MODEL_FILE).read_bytes())
    with pytest.raises(CheckpointError, match=DISCRIMINATORS_FILE):
        train(config, speakers, tmp_path / "lone", initial_weights=InitialWeights(checkpoint=lone), threads=1)
    wider = tiny_config("quick_fuser", "generator.encoder.embedding_dim=8")
    with pytest.raises(CheckpointError):
        train(
            wider,
            speakers,
            tmp_path / "wider",
            initial_weights=InitialWeights(checkpoint=stage_one),
            threads=1,
        )
    with pytest.raises(FileNotFoundError, match="not finished"):
        load_sf2f_model(tmp_path)


def test_too_few_identities_and_a_missing_facenet_are_named(speakers: Speakers, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        train(tiny_config("quick_1st_stage", "training.batch_size=20"), speakers, tmp_path / "a", threads=1)
    with pytest.raises(FileNotFoundError, match="vggface2"):
        train(
            tiny_config("quick_1st_stage", "perceptual.network=facenet"), speakers, tmp_path / "b", threads=1
        )


def test_the_command_reports_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cfg", "quick_1st_stage", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]
    assert run_main("sf2f.train", words) == 1
    assert "nowhere" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    words[3] = str(tmp_path / "there")
    assert run_main("sf2f.train", [*words, "--checkpoint", str(tmp_path / "gone")]) == 1
    assert "--checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


SCRIPT = """
import os, sys
from pathlib import Path
from sf2f.data import synthetic_speakers
from sf2f.generation import embed_speakers
from sf2f.train import InitialWeights, train
from test_sf2f_train import SIZES, tiny_config
import torch
torch.set_num_threads(1)
name, out, start = sys.argv[1:]
identities = synthetic_speakers("tiny", "train", workers=1, progress=False, **SIZES)
given = InitialWeights(checkpoint=Path(start)) if start else InitialWeights()
train(tiny_config(name, steps=40), identities, out, initial_weights=given, threads=1)
"""


@pytest.mark.parametrize("name", ["quick_1st_stage", "quick_fuser"])
def test_a_killed_run_resumes_to_the_same_bytes(
    name: str, speakers: Speakers, stage_one: Path, tmp_path: Path
) -> None:
    """SIGKILL after the first save, in the middle of a step or of another save."""
    given = InitialWeights(checkpoint=stage_one) if name == "quick_fuser" else InitialWeights()
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "parts"
    train(tiny_config(name, steps=40), speakers, uninterrupted, initial_weights=given, threads=1)
    words = [sys.executable, "-c", SCRIPT, name, str(interrupted), str(given.checkpoint or "")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as child:
        state, deadline = interrupted / "state.safetensors", time.monotonic() + 120
        while not state.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.05)
        child.kill()
        said = child.communicate()[1]
    assert state.exists(), said.decode()
    if not (interrupted / MODEL_FILE).exists():
        train(
            tiny_config(name, steps=40), speakers, interrupted, initial_weights=given, threads=1, resume=True
        )
    assert run_outcome(interrupted) == run_outcome(uninterrupted)


def test_preview_shows_generated_above_real_images() -> None:
    from sf2f.validation import build_preview

    generated, real = torch.zeros(3, 3, 4, 4), torch.ones(3, 3, 4, 4)
    shown = build_preview(generated, real, "standard", count=2)
    assert shown.shape == (2 * 6 + 2, 2 * 6 + 2, 3)
    assert np.unique(shown[2:6, 2:6]).tolist() == [128] and np.unique(shown[8:12, 2:6]).tolist() == [255]


@pytest.mark.parametrize("name", ["quick_v2f", "quick_1st_stage", "quick_fuser"])
def test_two_processes_take_the_steps_of_one(
    name: str, stage_one: Path, speakers: Speakers, validation_speakers: Speakers, tmp_path: Path
) -> None:
    noise = ("generator.encoder.noise_std=0.5",) if name == "quick_v2f" else ()
    config = tiny_config(name, "training.batch_size=8", "training.validation_interval=2", *noise, steps=4)
    given = InitialWeights(checkpoint=stage_one) if name == "quick_fuser" else InitialWeights()

    def go(out: str) -> None:
        options = {"validation_speakers": validation_speakers, "initial_weights": given, "threads": 1}
        train(config, speakers, tmp_path / out, **options)  # type: ignore[arg-type]

    go("one")
    in_two_processes(go, "two")
    logs = [runs.read_log_without_clock(tmp_path / out) for out in ("one", "two")]
    assert any("val/pixel_l1" in row for row in logs[0])
    for row, other in zip(*logs, strict=True):  # readers of faces magnify differences of generated images
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5 if "total_loss" in row else 5e-3)
