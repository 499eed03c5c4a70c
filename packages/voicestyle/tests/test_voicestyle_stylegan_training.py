"""StyleGAN2 training: steps, resuming, previews, command."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from voiceface.checkpoints.native import fingerprint
from voiceface.runtime.config import ConfigError, load_config
from voiceface.testing.processes import in_two_processes
from voiceface.testing.runs import read_log_without_clock
from voicestyle.__main__ import COMMANDS
from voicestyle.__main__ import main as voicestyle
from voicestyle.stylegan2 import training
from voicestyle.stylegan2.checkpoints import load_generator
from voicestyle.stylegan2.config import StyleGAN2Config
from voicestyle.stylegan2.dataset import ImageDataset, build_synthetic_images, load_square_image, open_images
from voicestyle.stylegan2.images import from_uint8, image_grid, to_uint8
from voicestyle.train_stylegan import train

PROBE = """
import json, sys
from voicestyle.__main__ import main
try:
    code = main(["train-stylegan", "--help"])
except SystemExit as stop:
    code = stop.code or 0
heavy = "av cv2 easydict librosa matplotlib numba numpy pandas PIL pydantic safetensors scipy "
heavy += "tensorboardX torch torchaudio torchvision"
print(json.dumps([code, sorted(set(sys.modules) & set(heavy.split()))]))
"""
TINY = [
    "generator.size=8",
    "generator.channels=[4, 4]",
    "generator.style_dim=4",
    "discriminator.size=8",
    "discriminator.channels=[4, 4]",
    "training.preview_images=4",
    "training.preview_interval=2",
    "training.log_interval=1",
]


def tiny(*overrides: str) -> StyleGAN2Config:
    return load_config("quick_stylegan", StyleGAN2Config, "voicestyle", [*TINY, *overrides])


def image_dataset(count: int = 9, size: int = 8) -> ImageDataset:
    rng = np.random.default_rng(0)
    return ImageDataset(rng.integers(0, 256, (count, size, size, 3), np.uint8), size)


def test_interrupted_training_resumes_to_the_same_bytes(tmp_path):
    everything = [
        "training.max_steps=5",
        "loss.path_weight=2.0",
        "loss.path_interval=2",
        "loss.r1_interval=3",
        "augment.enabled=true",
        "augment.adaptation_interval=2",
        "augment.target=-1.0",
        "augment.adaptation_length=40",
    ]
    config = tiny(*everything)
    full = train(config, image_dataset(), tmp_path / "complete")
    real_step, calls = training.train_step, []

    def dies(step, *args):
        if step == 3 and not calls:
            calls.append(step)
            raise KeyboardInterrupt
        return real_step(step, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train(config, image_dataset(), tmp_path / "parts")
    parts = train(config, image_dataset(), tmp_path / "parts", resume=True)
    assert calls == [3]
    assert fingerprint(full) == fingerprint(parts)
    lines = [
        [{k: v for k, v in json.loads(line).items() if k not in ("time", "seconds")} for line in log.open()]
        for log in (tmp_path / name / "log.jsonl" for name in ("complete", "parts"))
    ]
    assert lines[0] == lines[1] and len(lines[0]) == 5
    assert {"d_loss", "g_loss", "r1", "path_penalty", "augment_p"} <= lines[0][0].keys()
    assert lines[0][-1]["augment_p"] > 0
    for name in ("000000", "000002", "000004", "000005"):
        sheets = [
            np.asarray(Image.open(tmp_path / run / "samples" / f"{name}.png"))
            for run in ("complete", "parts")
        ]
        assert sheets[0].shape == (16, 16, 3) and np.array_equal(*sheets)


def test_previews_are_written_to_tensorboard(tmp_path):
    train(tiny("training.max_steps=1"), image_dataset(), tmp_path / "run")
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"samples" in events.read_bytes() and b"PNG" in events.read_bytes()


def test_saved_generator_is_the_moving_average_with_latent_avg(tmp_path):
    config = tiny("training.max_steps=3", "ema.ramp_up=null", "ema.half_life=1.0e9")
    weights = train(config, image_dataset(), tmp_path / "run")
    kept = load_generator(weights)
    torch.manual_seed(config.training.seed)
    start = training.TrainingState.from_config(config).generator_ema
    for name, value in kept.named_parameters():
        torch.testing.assert_close(value, start.get_parameter(name), atol=1e-5, rtol=1e-5)
    mean = kept.mean_latent(
        config.training.latent_avg_samples, torch.Generator().manual_seed(config.training.seed)
    )
    torch.testing.assert_close(kept.latent_avg, mean)


def test_moving_average_follows_its_half_life_and_keeps_buffers():
    config = tiny("ema.half_life=4.0", "ema.ramp_up=null")
    state = training.TrainingState.from_config(config)
    target, average = state.generator, state.generator_ema
    noise = average.stored_noise()[0].clone()
    with torch.no_grad():
        for value in target.parameters():
            value.add_(1.0)
        target.stored_noise()[0].add_(1.0)
    apart = [(b - a).clone() for a, b in zip(average.parameters(), target.parameters())]
    for step in range(4):
        training.update_ema(average, target, training.ema_decay(config, step))
    for a, b, before in zip(average.parameters(), target.parameters(), apart):
        torch.testing.assert_close(b - a, before / 2, atol=1e-4, rtol=1e-4)
    assert torch.equal(average.stored_noise()[0], noise)
    published = load_config("stylegan2_256", StyleGAN2Config, "voicestyle")
    assert training.ema_decay(published, 7) == pytest.approx(0.5 ** (32 / 10_000), rel=1e-12)
    ramped = tiny("ema.half_life=100.0", "ema.ramp_up=0.5")
    assert training.ema_decay(ramped, 3) == pytest.approx(0.5 ** (1 / 2))


def test_lazy_regularisation_corrects_learning_rate_and_betas():
    config = load_config("stylegan2_256", StyleGAN2Config, "voicestyle")
    small = tiny("loss.path_weight=2.0")
    module = torch.nn.Linear(1, 1)
    generated = training.build_lazy_adam(module, config, 4).param_groups[0]
    judged = training.build_lazy_adam(module, config, 16).param_groups[0]
    assert generated["lr"] == pytest.approx(0.002 * 4 / 5) and generated["betas"] == (
        0.0,
        pytest.approx(0.99 ** (4 / 5)),
    )
    assert judged["lr"] == pytest.approx(0.002 * 16 / 17)
    state = training.TrainingState.from_config(small)
    assert state.g_optim.param_groups[0]["lr"] == pytest.approx(small.optimiser.lr * 4 / 5)
    without = training.TrainingState.from_config(tiny("loss.path_weight=0.0")).g_optim.param_groups[0]["lr"]
    assert without == small.optimiser.lr


def test_training_learns_a_colour(tmp_path):
    red = np.zeros((8, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    config = tiny(
        "training.max_steps=150",
        "training.batch_size=4",
        "training.preview_interval=1000",
        "optimiser.lr=0.02",
        "ema.half_life=5.0",
    )
    generated = load_generator(train(config, ImageDataset(red, 8), tmp_path / "run"))
    shown = generated(torch.randn(16, 4), randomize_noise=False)[0].mean((0, 2, 3))
    assert shown[0] > 0.3 and shown[1] < -0.3 and shown[2] < -0.3


def test_invalid_sizes_raise_before_training(tmp_path):
    with pytest.raises(ValueError, match="images of 16 pixels for a generator of 8"):
        train(tiny(), image_dataset(size=16), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"generator.size is 8, discriminator.size 16"):
        tiny("discriminator.size=16", "discriminator.channels=[4, 4, 4]")
    with pytest.raises(ConfigError, match="does not divide into groups of 4"):
        tiny("training.batch_size=6")


def test_images_are_cropped_to_squares(tmp_path):
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, :10] = 255  # outside the middle square
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "one.png")
    Image.fromarray(wide[:, :, 0]).save(tmp_path / "two.PNG")
    (tmp_path / "words.txt").write_text("no image")
    found = open_images(tmp_path, 8)
    assert len(found) == 2 and found.read(0).shape == (8, 8, 3)
    assert load_square_image(tmp_path / "a" / "one.png", 10).max() < 40


def test_empty_directories_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match="no images"):
        open_images(tmp_path, 8)
    with pytest.raises(FileNotFoundError, match="no directory"):
        open_images(tmp_path / "absent", 8)


def test_mirror_probability():
    half = np.zeros((1, 8, 8, 3), np.uint8)
    half[:, :, :4] = 255
    rng = np.random.default_rng(1)
    mirrored = [ImageDataset(half, 8).sample(0, rng)["image"][0, 0, 0] < 0 for _ in range(400)]
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.1)
    plain = [ImageDataset(half, 8, flip=False).sample(0, rng)["image"][0, 0, 0] for _ in range(20)]
    assert set(plain) == {1.0}


def test_conversion_of_bytes_and_floats():
    values = np.random.default_rng(2).integers(0, 256, (2, 3, 4, 3), np.uint8)
    assert np.abs(to_uint8(from_uint8(values)).astype(int) - values).max() <= 1  # truncation may lose one
    assert to_uint8(torch.tensor([-2.0, 0.0, 2.0]).reshape(1, 3, 1, 1)).tolist() == [[[[0, 127, 255]]]]
    sheet = image_grid(values, columns=1)
    assert sheet.shape == (6, 4, 3) and np.array_equal(sheet[3:], values[1])


def test_command_trains_on_synthetic_identities(tmp_path, capsys):
    words = ["--cfg", "quick_stylegan", "--population", "--out", str(tmp_path / "run"), "--device", "cpu"]
    overrides = [*TINY, "data.num_identities=4", "data.images_per_identity=1", "training.max_steps=2"]
    assert voicestyle(["train-stylegan", *words, *overrides]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    found = load_generator(tmp_path / "run" / "model.safetensors")
    assert found(torch.randn(1, 4))[0].shape == (1, 3, 8, 8)
    assert voicestyle(["train-stylegan", *words, *overrides]) == 1  # not empty, and no --resume
    assert voicestyle(["train-stylegan", *words, *overrides, "--resume"]) == 0


def test_synthetic_images_are_of_training_identities():
    from voiceface.synthetic.presets import get_split_ids

    config = tiny("data.num_identities=3", "data.images_per_identity=2", "data.nuisance=0.0").data
    found = build_synthetic_images(config, 8, num_workers=1, progress=False)
    assert len(found) == 6 and found.disclaimer
    assert set(range(309, 312)) <= set(get_split_ids("standard", "train"))


def test_people_with_glasses_are_left_out_if_asked_for(monkeypatch):
    from voiceface.synthetic.head import glasses

    values = ("data.num_identities=6", "data.images_per_identity=1", "data.nuisance=0.0")
    everybody = build_synthetic_images(tiny(*values).data, 16, num_workers=1, progress=False)
    owners = glasses.own_glasses(0, range(309, 315))
    assert owners.tolist() == [False, False, False, True, True, False]
    without = tiny(*values, "data.glasses=false").data
    rest = build_synthetic_images(without, 16, num_workers=1, progress=False)
    assert np.array_equal(rest.images, everybody.images[~owners])
    monkeypatch.setattr(glasses, "own_glasses", lambda _, ids: np.ones(len(ids), bool))
    with pytest.raises(ValueError, match=r"^data\.glasses: all 6 .* raise data\.num_identities$"):
        build_synthetic_images(without, 16, num_workers=1, progress=False)


def test_help_is_light_and_fast():
    assert set(COMMANDS) >= {"train-stylegan"}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert time.perf_counter() - began < 20
    text, _, last = done.stdout.rstrip().rpartition("\n")
    code, heavy = json.loads(last)
    assert code == 0 and "voicestyle train-stylegan" in text.partition("\n")[0]
    assert not heavy, heavy


def test_two_processes_take_the_steps_of_one(tmp_path):
    config = tiny(
        "training.max_steps=4",
        "training.batch_size=8",
        "loss.path_weight=2.0",
        "loss.path_interval=2",
        "loss.path_batch_shrink=2",
        "loss.mixing_prob=0.5",
        "loss.r1_interval=3",
        "augment.enabled=true",
        "augment.adaptation_interval=2",
        "augment.target=-1.0",
        "augment.adaptation_length=40",
    )
    torch.set_num_threads(1)
    train(config, image_dataset(16), tmp_path / "one")
    in_two_processes(train, config, image_dataset(16), tmp_path / "two")
    one, two = (read_log_without_clock(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 4 and one[-1]["augment_p"] > 0 and "path_penalty" in one[2]
    for row, other in zip(two, one):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)
    assert (tmp_path / "two" / "samples" / "000004.png").is_file()


def test_path_length_needs_images_for_every_process(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "world_size", lambda: 2)
    config = tiny("loss.path_weight=2.0", "loss.path_batch_shrink=16", "training.batch_size=8")
    with pytest.raises(ValueError, match="1 images of the path length cannot be shared equally by 2"):
        train(config, image_dataset(), tmp_path / "run")
