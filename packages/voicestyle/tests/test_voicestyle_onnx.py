"""Mapping and synthesis of StyleGAN2 as ONNX files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from voiceface.export.inspection import GraphError
from voiceface.export.running import open_graph
from voicestyle.__main__ import main
from voicestyle.export import export_onnx
from voicestyle.stylegan2.bundled import LoadedGenerator, load_bundled_generator
from voicestyle.stylegan2.generator import Generator, GeneratorConfig

pytest.importorskip("onnxruntime")


def small_generator() -> Generator:
    """A generator of 16 pixels with random weights, noise and biases."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(size=16, channels=(8, 6, 5), style_dim=12, n_mlp=2))
    with torch.no_grad():
        for name, values in generator.named_parameters():
            if name.endswith(("noise.weight", "bias")):
                values.add_(torch.randn_like(values) * 0.2)
    return generator.requires_grad_(False).eval()


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


def test_wrong_uses_write_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    assert main(["export", "--out", str(tmp_path / "g.bin")]) == 1
    assert "named *.onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "a", "--weights", "b", "--out", str(tmp_path / "g.onnx")])
    monkeypatch.setattr("voiceface.export.packages.importlib.util.find_spec", lambda _: None)
    assert main(["export", "--out", str(tmp_path / "g.onnx")]) == 1
    assert "voiceface-shared[onnx]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
