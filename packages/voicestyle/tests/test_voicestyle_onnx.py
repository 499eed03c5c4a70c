"""Mapping and synthesis of StyleGAN2 as ONNX files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from voiceface.checkpoints.native import save_model
from voiceface.export.inspection import GraphError
from voiceface.export.running import open_graph
from voiceface.runtime.config import to_dict
from voiceface.testing.corrupt_files import assert_mentions
from voicestyle.__main__ import main
from voicestyle.export import export_onnx
from voicestyle.onnx_generator import load_onnx_generator
from voicestyle.stylegan2.bundled import (
    LoadedGenerator,
    ensure_latent_avg,
    load_bundled_generator,
    open_generator,
)
from voicestyle.stylegan2.generator import Generator, GeneratorConfig

pytest.importorskip("onnxruntime")


def small_generator(seed: int = 3) -> Generator:
    """A generator of 16 pixels with random weights, noise and biases."""
    torch.manual_seed(seed)
    generator = Generator(GeneratorConfig(size=16, channels=(8, 6, 5), style_dim=12, n_mlp=2))
    with torch.no_grad():
        for name, values in generator.named_parameters():
            if name.endswith(("noise.weight", "bias")):
                values.add_(torch.randn_like(values) * 0.2)
    return generator.requires_grad_(False).eval()


def write_generator(path: Path, generator: Generator) -> Path:
    """Write a checkpoint."""
    config = {"generator": to_dict(generator.config)}
    save_model(path, generator.state_dict(), system="voicestyle", kind="generator", config=config)
    return path


def test_graphs_generate_the_images_of_pytorch(tmp_path: Path) -> None:
    generator = small_generator()
    results = export_onnx(LoadedGenerator(generator, "small", "not trained"), tmp_path / "g.onnx")
    assert [result.path.name for result in results] == ["g_mapping.onnx", "g_synthesis.onnx"]
    assert all(result.max_error < 1e-4 for result in results)
    mapping, synthesis = (open_graph(result.path, system="voicestyle") for result in results)
    assert synthesis.facts["notice"] == "not trained"
    assert {node for node in map(str, synthesis.outputs)} == {"image"}
    z = np.random.default_rng(9).standard_normal((5, 12)).astype(np.float32)
    for psi in (0.0, 0.7, 1.0):
        (latents,) = mapping(z, np.array([psi]))
        expected = generator.expand_latents(torch.from_numpy(z), truncation=psi)
        np.testing.assert_allclose(latents, expected, atol=1e-5)
    mixed = np.concatenate([latents[:2, :3], latents[2:4, 3:]], 1)
    image = generator.synthesise(torch.from_numpy(mixed), generator.stored_noise())
    assert image.std() > 0.1
    np.testing.assert_allclose(synthesis(mixed)[0], image, atol=1e-4 * float(image.abs().max()))


def test_the_bundled_generator_is_exported_by_its_command(tmp_path: Path, capsys: Any) -> None:
    assert main(["export", "--out", str(tmp_path / "g.onnx")]) == 0
    assert "g_synthesis.onnx: synthesis" in capsys.readouterr().out
    mapping, synthesis = (open_graph(tmp_path / f"g_{kind}.onnx") for kind in ("mapping", "synthesis"))
    z = np.random.default_rng(5).standard_normal((1, 128)).astype(np.float32)
    (latents,) = mapping(z, np.array([0.8]))
    generator = load_bundled_generator()
    with torch.inference_mode():
        image, _ = generator(torch.from_numpy(z), truncation=0.8, randomize_noise=False)
    np.testing.assert_allclose(synthesis(latents)[0], image, atol=1e-4)
    content = bytearray((tmp_path / "g_synthesis.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "g_synthesis.onnx").write_bytes(content)
    with pytest.raises(GraphError, match=r"g_synthesis\.onnx is damaged"):
        open_graph(tmp_path / "g_synthesis.onnx")


def test_factorise_renders_the_same_images_with_exported_files(tmp_path: Path, capsys: Any) -> None:
    weights = write_generator(tmp_path / "g.safetensors", small_generator())
    directions = tmp_path / "d.safetensors"
    assert main(["factorise", "--weights", str(weights), "--out", str(directions)]) == 0
    assert main(["export", str(weights), "--out", str(tmp_path / "g.onnx")]) == 0
    for psi in ("0.6", "1"):
        words = ["factorise", "--directions", str(directions), "--columns", "9", "--truncation", psi]
        ways = {"torch": ["--weights", str(weights)], "onnx": ["--onnx", str(tmp_path / "g.onnx")]}
        for way, source in ways.items():
            assert main([*words, *source, "--apply", str(tmp_path / f"{way}.png")]) == 0
        found, expected = (np.asarray(Image.open(tmp_path / f"{way}.png"), int) for way in ways)
        assert found.shape == (48, 9 * 16, 3) and expected.std() > 5
        assert np.abs(found - expected).max() <= 1
    generator, graphs = open_generator(weights).generator, load_onnx_generator([tmp_path / "g.onnx"])
    ensure_latent_avg(generator)
    z = torch.randn(9, 12)
    w = generator.mapping(z)
    torch.testing.assert_close(graphs.mapping(z), w, atol=1e-5, rtol=0)
    torch.testing.assert_close(graphs.render(w, 0.6), generator.render(w, 0.6), atol=1e-5, rtol=1e-5)


def test_factorise_refuses_wrong_files(tmp_path: Path, capsys: Any) -> None:
    for number, name in enumerate("ab"):
        weights = write_generator(tmp_path / f"{name}.safetensors", small_generator(seed=number))
        assert main(["export", str(weights), "--out", str(tmp_path / f"{name}.onnx")]) == 0
    capsys.readouterr()
    apply = ["--directions", "none.safetensors", "--apply", str(tmp_path / "out.png")]
    for words, message in (
        (["--onnx", "a.onnx", "--out", "d.safetensors"], ["give --apply FILE and --directions FILE"]),
        (["--onnx", "a_mapping.onnx", *apply], ["a_mapping.onnx alone makes no image", "*_synthesis.onnx"]),
        (["--onnx", "a_mapping.onnx", "b_synthesis.onnx", *apply], ["different weights"]),
        (["--onnx", "c.onnx", *apply], ["c.onnx", "c_mapping.onnx or c_synthesis.onnx"]),
        (["--onnx", "a.onnx", "--weights", "a.safetensors", *apply], ["either --weights or --onnx"]),
        (["--onnx", "a.onnx", *apply], ["none.safetensors"]),
        ([*apply, "--out", "d.safetensors"], ["--out d.safetensors", "leave one of them out"]),
    ):
        given = [str(tmp_path / word) if word.endswith(".onnx") else word for word in words]
        assert main(["factorise", *given]) == 1
        assert_mentions(capsys.readouterr().err, *message)
    assert not (tmp_path / "out.png").exists()


def test_wrong_uses_write_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    assert main(["export", "--out", str(tmp_path / "g.bin")]) == 1
    assert "named *.onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "a", "--weights", "b", "--out", str(tmp_path / "g.onnx")])
    monkeypatch.setattr("voiceface.export.packages.importlib.util.find_spec", lambda _: None)
    assert main(["export", "--out", str(tmp_path / "g.onnx")]) == 1
    assert "voiceface-shared[onnx]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
