"""Contract for encoders as ONNX files: `export` to *.onnx, and `embed --onnx`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.records import stated_encoders
from voiceface.export.graph import example_pictures, example_voices
from voiceface.export.running import OnnxGraph, open_graph
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["OnnxExportContract"]

Capture = pytest.CaptureFixture[str]
MAX_ERROR = 1e-4


class OnnxExportContract:
    """Exported encoders give what PyTorch gives."""

    @pytest.fixture(scope="class")
    def exported(self, call: CommandRunner, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Folder with m_voice.onnx, m_voice_2s.onnx and m_face.onnx of the trained run."""
        pytest.importorskip("onnxruntime")
        folder = tmp_path_factory.mktemp("exported")
        assert call("export", trained, "--out", folder / "m.onnx", "--seconds", "2") == 0
        return folder

    @pytest.fixture(scope="class")
    def bundled(self, call: CommandRunner, tmp_path_factory: pytest.TempPathFactory) -> OnnxGraph:
        """The bundled voice encoder."""
        pytest.importorskip("onnxruntime")
        folder = tmp_path_factory.mktemp("bundled")
        assert call("export", "--out", folder / "b.onnx", "--modality", "voice") == 0
        assert [path.name for path in folder.iterdir()] == ["b_voice.onnx"]
        return open_graph(folder / "b_voice.onnx")

    def test_export_writes_one_file_per_encoder(
        self, exported: Path, system: SystemUnderTest, embedder: "Embedder"
    ) -> None:
        names = sorted(path.name for path in exported.iterdir())
        assert names == ["m_face.onnx", "m_voice.onnx", "m_voice_2s.onnx"]
        for name in names:
            graph = open_graph(exported / name, system=system.package)
            facts = graph.facts
            assert facts["kind"] == name.removesuffix(".onnx").split("_")[1]
            assert facts["notice"] == embedder.disclaimer and "state" in facts["licence"]
            assert 0 <= float(facts["max_error"]) < MAX_ERROR and len(graph.values("checked_shapes")) == 10
            assert [each["name"] for each in graph.values("inputs")] == graph.inputs
            assert graph.values("outputs")[0]["shape"] == ["N", embedder.embedding_dim]
            assert facts["kind"] == "face" or facts["sample_rate"] == "16000"
            assert "Not in the graph" in facts["front_end"] and len(facts["weights_sha256"]) == 64
        assert open_graph(exported / "m_voice_2s.onnx").input_shapes[0][-1] == 32000

    def test_embed_with_graphs_writes_the_same_table(
        self,
        call: CommandRunner,
        exported: Path,
        trained: Path,
        utterances: list[Path],
        images: list[Path],
        tmp_path: Path,
    ) -> None:
        words, tables = ["embed", *utterances[:3], *images[:3]], []
        for name, source in (("torch", ["--weights", trained]), ("onnx", ["--onnx", exported / "m.onnx"])):
            out = tmp_path / f"{name}.npz"
            assert call(*words, "--out", out, *source, "--on-corrupt", "salvage") == 0
            tables.append(EmbeddingTable.load(out))
        expected, found = tables
        assert found.items == expected.items and found.fingerprint == expected.fingerprint
        assert np.abs(found.vectors - expected.vectors).max() < MAX_ERROR * np.abs(expected.vectors).max()
        described = [
            [(info.modality, info.fingerprint, info.identities, info.disclaimer) for info in each]
            for each in map(stated_encoders, tables)
        ]
        assert described[0] == described[1]

    def test_a_graph_takes_voices_and_pictures_of_other_sizes_than_the_check(
        self, bundled: OnnxGraph, exported: Path, embedder: "Embedder", system: SystemUnderTest
    ) -> None:
        known = {shape[0][1] for shape in bundled.values("checked_shapes")}
        model = system.load()
        for samples in example_voices([9_321, 40_003, 111_111]):
            assert samples.shape[1] not in known
            rows = np.concatenate([samples, samples[:, ::-1]])
            expected = model.embed_voices(list(rows)).numpy()
            assert np.abs(bundled(rows)[0] - expected).max() < MAX_ERROR * np.abs(expected).max()
        face = open_graph(exported / "m_face.onnx")
        pictures = np.concatenate(example_pictures(face.input_shapes[0][-1], 12)[10:])
        bytes_of = [each.transpose(1, 2, 0).astype(np.uint8) for each in pictures]
        expected = embedder.embed_faces(bytes_of).numpy()
        assert np.abs(face(pictures)[0] - expected).max() < MAX_ERROR * np.abs(expected).max()

    def test_graphs_that_do_not_fit_are_refused_before_anything_is_written(
        self,
        call: CommandRunner,
        exported: Path,
        bundled: OnnxGraph,
        trained: Path,
        utterances: list[Path],
        images: list[Path],
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        damaged = tmp_path / "damaged.onnx"
        content = bytearray((exported / "m_voice.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        renamed = Path(shutil.copy(utterances[0], tmp_path / "sound.onnx"))
        voice, face = exported / "m_voice.onnx", exported / "m_face.onnx"
        pair = [utterances[0], images[0]]
        for inputs, files, words in (
            (pair, [damaged], [damaged, "damaged", "export it again"]),
            (pair, [renamed], [renamed, "expected an ONNX file"]),
            (pair, [voice], [voice, "no faces", "*_face.onnx"]),
            (pair, [voice, voice], [voice, "both of the kind voice"]),
            (pair, [exported / "m_voice_2s.onnx"], ["m_voice_2s.onnx", "32000 samples only"]),
            (pair, [Path(bundled.name), face], ["different weights", "export both from one model"]),
            (pair, [tmp_path / "none.onnx"], ["none.onnx", "none_voice.onnx"]),
            (pair, [voice, face, "--weights", trained], ["either --weights or --onnx"]),
            (pair, [voice, face, "--device", "cuda"], ["--device cuda"]),
        ):
            out = tmp_path / "table.npz"
            assert call("embed", *inputs, "--out", out, "--onnx", *files) == 1
            assert_mentions(capsys.readouterr().err, *words)
            assert not out.exists()

    def test_a_graph_that_differs_is_not_written(
        self,
        call: CommandRunner,
        trained: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: Capture,
    ) -> None:
        pytest.importorskip("onnxruntime")
        monkeypatch.setattr("voiceface.export.writing.output_error", lambda *_: float("nan"))
        assert call("export", trained, "--out", tmp_path / "m.onnx") == 1
        assert_mentions(capsys.readouterr().err, "m_voice.onnx was not written", "differs from PyTorch")
        assert not list(tmp_path.iterdir())

    def test_missing_packages_are_named(
        self,
        call: CommandRunner,
        trained: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: Capture,
    ) -> None:
        monkeypatch.setattr("voiceface.export.packages.importlib.util.find_spec", lambda _: None)
        assert call("export", trained, "--out", tmp_path / "m.onnx") == 1
        assert_mentions(capsys.readouterr().err, "onnx and onnxruntime", "voiceface-shared[onnx]")
