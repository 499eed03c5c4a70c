"""Commands fid, ppl and factorise."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from published_stylegan2 import save_published_checkpoint
from voiceface.metrics.frechet import FeatureStatistics, Gaussian, frechet_distance
from voiceface.models.inception import Inception, preprocess_images
from voiceface.models.lpips import LPIPS
from voicestyle import fid as fid_command
from voicestyle.__main__ import COMMANDS
from voicestyle.__main__ import main as voicestyle
from voicestyle.factorise import render_direction_rows
from voicestyle.ppl import load_distance
from voicestyle.stylegan2 import fid
from voicestyle.stylegan2.bundled import load_bundled_generator, open_generator
from voicestyle.stylegan2.dataset import ImageDataset
from voicestyle.stylegan2.factorise import factorise, load_directions
from voicestyle.stylegan2.generator import Generator, GeneratorConfig
from voicestyle.stylegan2.images import to_uint8

PROBE = """
import json, sys
from voicestyle.__main__ import main
for command in sys.argv[1:]:
    try:
        main([command, "--help"])
    except SystemExit as stop:
        assert not stop.code, stop
heavy = "av cv2 easydict librosa matplotlib numba numpy pandas PIL pydantic safetensors scipy "
heavy += "tensorboardX torch torchaudio torchvision"
print(json.dumps(sorted(set(sys.modules) & set(heavy.split()))))
"""


@pytest.fixture
def weights(tmp_path):
    """A published file of a tiny generator that draws 32 pixels."""
    torch.manual_seed(0)
    config = GeneratorConfig(size=32, channels=(6, 5, 4, 4), style_dim=5, n_mlp=2)
    save_published_checkpoint(tmp_path / "tiny.pt", Generator(config))
    return tmp_path / "tiny.pt"


@pytest.fixture
def folder(tmp_path):
    """Twelve images of 32 pixels."""
    (tmp_path / "real").mkdir()
    rng = np.random.default_rng(1)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"real/{number:02d}.png")
    return tmp_path / "real"


def test_help_imports_no_heavy_modules():
    commands = ["fid", "ppl", "factorise"]
    assert set(commands) <= set(COMMANDS)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *commands], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.rstrip().rpartition("\n")[2]) == []
    assert all(f"usage: voicestyle {command}" in done.stdout for command in commands)


def test_fid_is_the_distance_of_two_sets_of_features(tmp_path, weights, folder, capsys):
    words = [
        "--weights",
        str(weights),
        "--features",
        "attributes",
        "--seed",
        "3",
        "--num-samples",
        "10",
        "--batch",
        "4",
    ]
    result, kept = tmp_path / "fid.json", tmp_path / "kept.npz"
    out = ["--json", str(result), "--save-statistics", str(kept)]
    assert voicestyle(["fid", *words, "--data", str(folder), *out]) == 0
    said, found = capsys.readouterr(), json.loads(result.read_text())
    assert f"FID {found['fid']:.4f}" in said.out and "synthetic faces" in said.err
    features = fid_command.load_features("attributes")
    files = sorted(folder.iterdir())
    real = torch.stack([torch.from_numpy(np.asarray(Image.open(path)).copy()) for path in files])
    generated = torch.cat(
        list(fid.generate_images(open_generator(weights).generator, 10, batch_size=4, seed=3))
    )
    with torch.no_grad():
        rows = [features(each) for each in (real.permute(0, 3, 1, 2) / 127.5 - 1, generated)]
    assert found["fid"] == pytest.approx(frechet_distance(*rows), rel=1e-3)
    assert (found["num_real"], found["num_samples"], found["real"]) == (12, 10, "real") and found[
        "disclaimer"
    ]
    again = tmp_path / "again.json"
    assert voicestyle(["fid", *words, "--statistics", str(kept), "--json", str(again)]) == 0
    assert json.loads(again.read_text())["fid"] == pytest.approx(found["fid"], rel=1e-6)
    expected = FeatureStatistics().update(rows[0]).gaussian()
    torch.testing.assert_close(
        fid.load_statistics(kept).covariance, expected.covariance, atol=1e-6, rtol=1e-3
    )


def test_fid_of_synthetic_identities(tmp_path, capsys):
    words = ["--features", "attributes", "--population", "--num-real", "6", "--num-samples", "6"]
    assert voicestyle(["fid", *words, "--json", str(tmp_path / "one.json")]) == 0
    found = json.loads((tmp_path / "one.json").read_text())
    assert found["num_real"] == 6 and found["real"] == "synthetic identities" and found["size"] == 64
    assert found["fid"] > 0 and "stylegan2_population" in capsys.readouterr().out


def test_better_generators_have_smaller_fid(tmp_path):
    statistics, words = tmp_path / "real.npz", ["--features", "attributes", "--num-samples", "48"]
    population = ["--population", "--num-real", "96", "--save-statistics", str(statistics)]
    assert voicestyle(["fid", *words, *population, "--json", str(tmp_path / "good.json")]) == 0
    torch.manual_seed(1)
    untrained = Generator(load_bundled_generator().config)
    save_published_checkpoint(tmp_path / "untrained.pt", untrained)
    words += ["--weights", str(tmp_path / "untrained.pt"), "--statistics", str(statistics)]
    assert voicestyle(["fid", *words, "--json", str(tmp_path / "bad.json")]) == 0
    good, bad = (json.loads((tmp_path / f"{name}.json").read_text())["fid"] for name in ("good", "bad"))
    assert 0 < 5 * good < bad


def test_published_features_of_a_file_are_those_of_the_network(tmp_path, weights, folder):
    torch.manual_seed(2)
    network = Inception(width_divisor=16).eval()
    torch.save(network.state_dict(), tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    features = fid_command.load_features("inception", tmp_path)
    given = torch.rand(2, 3, 40, 40) * 2 - 1
    with torch.no_grad():
        expected = network.forward_features(preprocess_images((given + 1) * 127.5, "pytorch")).pooled
        torch.testing.assert_close(features(given), expected, rtol=1e-4, atol=1e-5)
    words = [
        "--weights",
        str(weights),
        "--data",
        str(folder),
        "--inception",
        str(tmp_path),
        "--num-samples",
        "3",
    ]
    assert voicestyle(["fid", *words, "--json", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["disclaimer"] == ""


def test_real_images_are_ordered_and_mirrored():
    items = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    images = ImageDataset(items, 8)
    plain = torch.cat(list(fid_command.iterate_real_images(images, num_images=4, batch_size=3)))
    assert np.abs(to_uint8(plain).astype(int) - items[:4]).max() <= 1
    both = list(fid_command.iterate_real_images(images, mirror=True, batch_size=3))
    assert [len(batch) for batch in both] == [6, 4]
    assert torch.equal(both[0][3:], both[0][:3].flip(3)) and torch.equal(both[0][:3], plain[:3])
    assert sum(len(batch) for batch in fid_command.iterate_real_images(images, num_images=99)) == 5


def test_fid_errors(tmp_path, weights, folder, capsys):
    words = ["fid", "--weights", str(weights)]

    def said(*more):
        assert voicestyle([*words, *more]) == 1
        return capsys.readouterr().err

    text = said("--data", str(folder))
    assert "fetch inception-2015-fid" in text and "--features attributes" in text
    with_attributes = ["--features", "attributes", "--num-samples", "4"]
    absent = str(tmp_path / "absent")
    assert f"--data: nothing at {absent}" in said("--data", absent, *with_attributes)
    text = said("--data", absent, "--inception", str(tmp_path), "--weights", f"{absent}.pt")
    assert f"--data: nothing at {absent}; --weights: nothing at {absent}.pt; --inception: " in text
    other = Gaussian(torch.zeros(3).double(), torch.eye(3).double())
    fid.save_statistics(tmp_path / "other.npz", other, features="inception", size=32, num_images=9)
    assert "'inception', not with --features attributes" in said(
        "--statistics", str(tmp_path / "other.npz"), *with_attributes
    )
    np.savez(tmp_path / "bare.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert "3 and 96 features" in said("--statistics", str(tmp_path / "bare.npz"), *with_attributes)
    np.savez(tmp_path / "torn.npz", mu=np.zeros(3), sigma=np.eye(4))
    assert "do not fit each other" in said("--statistics", str(tmp_path / "torn.npz"), *with_attributes)
    np.savez(tmp_path / "empty.npz", a=np.zeros(3))
    assert "keys mu and sigma" in said("--statistics", str(tmp_path / "empty.npz"), *with_attributes)
    (tmp_path / "words.npz").write_text("no arrays")
    assert "not a .npz file" in said("--statistics", str(tmp_path / "words.npz"), *with_attributes)
    assert "--statistics: nothing at" in said("--statistics", str(tmp_path / "absent.npz"), *with_attributes)
    assert "--num-samples: expected at least 2" in said(
        "--data", str(folder), "--features", "attributes", "--num-samples", "1"
    )
    assert ".npz" in said(
        "--data", str(folder), *with_attributes, "--save-statistics", str(tmp_path / "x.pkl")
    )


def test_no_code_of_statistics_is_executed(tmp_path):
    np.savez(tmp_path / "evil.npz", mu=np.array([print], object), sigma=np.eye(1))
    with pytest.raises(ValueError, match="it holds pickled objects"):
        fid.load_statistics(tmp_path / "evil.npz")


def test_ppl_by_the_bundled_network_and_by_published_files(tmp_path, weights, capsys):
    words = ["ppl", "--weights", str(weights), "--num-samples", "6", "--batch", "4"]
    assert voicestyle([*words, "--features", "perceptual", "--json", str(tmp_path / "a.json")]) == 0
    said, found = capsys.readouterr(), json.loads((tmp_path / "a.json").read_text())
    assert f"PPL {found['ppl']:.4f}" in said.out and "synthetic faces" in said.err and found["ppl"] > 0
    assert (found["num_samples"], found["space"], found["sampling"]) == (6, "w", "end")
    assert voicestyle([*words, "--lpips", str(tmp_path)]) == 1
    text = capsys.readouterr().err
    assert "fetch torchvision-vgg16" in text and "fetch lpips-v0.1-vgg" in text, "both files are absent"
    assert text.count("--features perceptual") == 1
    assert voicestyle([*words, "--features", "perceptual", "--num-samples", "0"]) == 1
    assert "--num-samples: expected at least 1" in capsys.readouterr().err


def test_every_flag_of_ppl_reaches_the_metric(weights, monkeypatch, capsys):
    calls = []

    def measure(generator, distance, **options):
        calls.append(options)
        return 2.5

    monkeypatch.setattr("voicestyle.stylegan2.ppl.perceptual_path_length", measure)
    flags = "--num-samples 6 --batch 4 --sampling full --epsilon 0.01 --crop --seed 3"
    assert voicestyle(["ppl", "--weights", str(weights), "--features", "perceptual", *flags.split()]) == 0
    options = {"num_samples": 6, "batch_size": 4, "sampling": "full", "epsilon": 0.01, "crop": True}
    assert calls == [{**options, "seed": 3}]
    assert "PPL 2.5000" in capsys.readouterr().out


@torch.no_grad()
def test_published_distance_is_lpips_of_vgg(tmp_path):
    torch.manual_seed(3)
    network = LPIPS("vgg")
    heads = {key: value.abs() for key, value in network.state_dict().items() if key.startswith("lin")}
    backbone = {key: value for key, value in network.state_dict().items() if key.startswith("features.")}
    network.load_state_dict(heads, strict=False)
    (tmp_path / "v0.1").mkdir()
    torch.save(heads, tmp_path / "v0.1" / "vgg.pth")
    torch.save(backbone, tmp_path / "vgg16-397923af.pth")
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    found = load_distance("lpips", tmp_path)(a, b).flatten()
    torch.testing.assert_close(found, network(a, b).flatten(), rtol=1e-3, atol=1e-6)


def test_directions_are_written_in_both_forms_and_applied(tmp_path, weights, capsys):
    generator = open_generator(weights).generator
    expected = factorise(generator).directions
    for name in ("factor.safetensors", "factor.pt"):
        assert voicestyle(["factorise", "--weights", str(weights), "--out", str(tmp_path / name)]) == 0
        vectors, checkpoint = load_directions(tmp_path / name)
        assert torch.equal(vectors, expected) and checkpoint == "tiny.pt"
    assert "factor.pt (5 of them" in capsys.readouterr().out
    words = ["--weights", str(weights), "--index", "2", "--degree", "1.5", "--columns", "3", "--seed", "4"]
    direct, read = tmp_path / "direct.png", tmp_path / "read.png"
    assert voicestyle(["factorise", *words, "--apply", str(direct)]) == 0
    factor = ["--directions", str(tmp_path / "factor.pt")]
    assert voicestyle(["factorise", *words, *factor, "--apply", str(read)]) == 0
    sheet = np.asarray(Image.open(direct))
    assert sheet.shape == (96, 96, 3) and np.array_equal(sheet, np.asarray(Image.open(read)))
    same = render_direction_rows(generator, expected[:, 2], step_length=1.5, columns=3, seed=4)
    assert np.array_equal(sheet, same)


def test_rows_are_moved_forward_unchanged_and_backward(weights):
    generator = open_generator(weights).generator
    direction = torch.eye(5)[1]
    sheet = render_direction_rows(generator, direction, step_length=2.0, columns=2, truncation=1.0, seed=7)
    w = generator.mapping(torch.randn(2, 5, generator=torch.Generator().manual_seed(7)))
    for row, step in enumerate((2.0, 0.0, -2.0)):
        alone, _ = generator(w + step * direction, input_is_latent=True, randomize_noise=False)
        expected = np.concatenate(list(to_uint8(alone)), 1).astype(int)
        assert np.abs(sheet[32 * row : 32 * (row + 1)].astype(int) - expected).max() <= 1
    back = render_direction_rows(generator, -direction, step_length=2.0, columns=2, truncation=1.0, seed=7)
    assert np.abs(back[:32].astype(int) - sheet[64:]).max() <= 1
    still = render_direction_rows(generator, direction, step_length=0.0, columns=2, truncation=0.5, seed=7)
    assert np.array_equal(still[:32], still[32:64]) and not np.array_equal(still[:32], sheet[32:64])


def test_factorise_errors(tmp_path, weights, capsys):
    def said(*more):
        assert voicestyle(["factorise", "--weights", str(weights), *more]) == 1
        return capsys.readouterr().err

    assert "nothing to do" in said()
    image = ["--apply", str(tmp_path / "x.png")]
    assert "--index: expected 0 to 4, found 5" in said(*image, "--index", "5")
    assert "--columns" in said(*image, "--columns", "0")
    torch.save({"ckpt": "a", "eigvec": torch.eye(7)}, tmp_path / "seven.pt")
    assert "directions of 7 numbers for latents of 5" in said(
        *image, "--directions", str(tmp_path / "seven.pt")
    )
    torch.save({"a": torch.eye(7)}, tmp_path / "none.pt")
    assert "expected a matrix under eigvec" in said(*image, "--directions", str(tmp_path / "none.pt"))
    assert not (tmp_path / "x.png").exists()


def test_default_generator_and_missing_run(tmp_path):
    opened = open_generator()
    assert (
        opened.disclaimer
        and opened.data_config["num_identities"] == 2800
        and opened.generator.config.size == 64
    )
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError):
        open_generator(tmp_path / "run")
