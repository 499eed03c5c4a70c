"""Exported graphs: front ends, the check against PyTorch, and files that are refused."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from voiceface.audio.exportable_frontends import PerceptionistGraph, SeekingShapeGraph, repeat_samples
from voiceface.audio.frontends import PerceptionistLogMel, SeekingShapeLogMel
from voiceface.export.conversion import convert
from voiceface.export.graph import Graph, Port, example_lengths, example_pictures, example_voices
from voiceface.export.inspection import GraphError, read_graph, sign_graph
from voiceface.export.running import open_graph, open_parts
from voiceface.export.writing import export_graph, output_error
from voiceface.testing.onnx_graphs import write_arcface

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
LENGTHS = [1, 160, 320, 399, 400, 401, 479, 480, 560, 561, 1600, 16000, 16079, 30011]


class Loudness(nn.Module):
    """Mean of the squares of whole seconds, and the number of samples."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return (repeat_samples(samples, 16000) ** 2).mean(1, keepdim=True) * self.factor


def loudness_graph(factor: float = 1.0, **changes: Any) -> Graph:
    """A small graph whose reference has the factor 1."""
    reference = Loudness()
    values: dict[str, Any] = {
        "kind": "voice",
        "module": Loudness(factor),
        "inputs": (Port("samples", ("N", "T"), "waveforms"),),
        "outputs": (Port("loudness", ("N", 1), "mean square"),),
        "examples": [[voice] for voice in example_voices(example_lengths(16000))],
        "reference": lambda samples: [reference(torch.from_numpy(samples)).numpy()],
        "facts": {"system": "test", "notice": "none", "config": {"a": [1]}},
    }
    return Graph(**(values | changes))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The small graph as a file."""
    return export_graph(loudness_graph(), tmp_path / "new" / "g.onnx").path


def to_graph(module: nn.Module, tmp_path: Path) -> Any:
    """A module from waveforms to bands, run by onnxruntime."""
    graph = loudness_graph(
        module=module,
        outputs=(Port("bands", ("N", "M", "frames"), "bands"),),
        examples=[[voice] for voice in example_voices([8000, 20000])],
        reference=lambda samples: [module(torch.from_numpy(samples)).numpy()],
    )
    return open_graph(export_graph(graph, tmp_path / "bands.onnx").path)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_front_end_of_perceptionist_is_the_same_as_a_graph(
    perceptionist: tuple[Any, Any], length: int
) -> None:
    front_end, graph = perceptionist
    (voice,) = example_voices([length])
    expected = front_end(torch.from_numpy(np.concatenate([voice, voice[:, ::-1]]))).numpy()
    (found,) = graph(np.concatenate([voice, voice[:, ::-1]]))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.fixture(scope="module")
def perceptionist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The front end with utterances of 50 frames at least, and the same as a graph."""
    front_end = PerceptionistLogMel(min_frames=50)
    return front_end, to_graph(PerceptionistGraph(front_end), tmp_path_factory.mktemp("p"))


def test_the_front_end_of_seeking_shape_is_the_same_as_a_graph(tmp_path: Path) -> None:
    front_end = SeekingShapeLogMel()
    graph = to_graph(SeekingShapeGraph(front_end), tmp_path)
    fixed = SeekingShapeGraph(front_end, 16079)
    for length in (201 + 56, 16000, 16079, 30011):
        (voice,) = example_voices([length])
        expected = front_end.double()(torch.from_numpy(voice).double()).float().numpy()
        np.testing.assert_allclose(graph(voice)[0], expected, atol=1e-4)
        if length == 16079:
            np.testing.assert_allclose(fixed(torch.from_numpy(voice)).numpy(), expected, atol=1e-4)


def test_digital_silence_stays_exactly_zero(perceptionist: tuple[Any, Any]) -> None:
    assert not perceptionist[1](np.zeros((1, 5000)))[0].any()


@pytest.mark.parametrize("length", [1, 7, 99, 100, 101, 250])
def test_waveforms_are_repeated_as_by_numpy(length: int) -> None:
    samples = np.arange(2 * length, dtype=np.float32).reshape(2, -1)
    expected = np.stack([np.resize(row, 100) if length < 100 else row[:100] for row in samples])
    assert (repeat_samples(torch.from_numpy(samples), 100).numpy() == expected).all()


def test_a_file_states_what_it_holds(written: Path) -> None:
    graph = open_graph(written, system="test", kinds=["voice"])
    facts = graph.facts
    assert graph.inputs == ["samples"] and graph.outputs == ["loudness"]
    assert graph.values("inputs") == [{"name": "samples", "shape": ["N", "T"], "meaning": "waveforms"}]
    assert graph.values("config") == {"a": [1]} and facts["kind"] == "voice"
    assert float(facts["max_error"]) < 1e-5 and len(graph.values("checked_shapes")) == 10
    assert len({shape[0][1] for shape in graph.values("checked_shapes")}) == 10
    assert [path.name for path in written.parent.iterdir()] == ["g.onnx"]
    with pytest.raises(GraphError, match="no 'identities'"):
        graph.values("identities")


def test_both_exporters_of_pytorch_give_the_same_answers(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = convert(loudness_graph(), dynamo=True)
    path = tmp_path / "dynamo.onnx"
    path.write_bytes(sign_graph(model, {"system": "test"}))
    (voice,) = example_voices([4321])
    expected = Loudness()(torch.from_numpy(voice)).numpy()
    assert output_error(open_graph(path)(voice), [expected]) < 1e-5


class Squares(Loudness):
    """The same, and the waveform before it is squared."""

    def forward(self, samples: torch.Tensor) -> Any:
        repeated = repeat_samples(samples, 16000)
        return (repeated**2).mean(1, keepdim=True) * self.factor, repeated


@pytest.mark.parametrize("dynamo", [False, True])
def test_graphs_are_cut_at_their_inner_values(dynamo: bool, tmp_path: Path) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    graph = loudness_graph(module=Squares(), inner=(Port("repeated", ("N", "L"), "whole seconds"),))
    model = convert(graph, dynamo=dynamo)
    assert [value.name for value in model.graph.output] == ["loudness"]
    path = tmp_path / "g.onnx"
    path.write_bytes(sign_graph(model, {"system": "test", "kind": "voice"}))
    cuts = {"first": (("samples",), ("repeated",)), "second": (("repeated",), ("loudness",))}
    parts, whole = open_parts(path, cuts, system="test", kinds=("voice",)), open_graph(path)
    (voice,) = example_voices([20_000])
    (repeated,) = parts["first"](voice)
    assert np.array_equal(repeated, repeat_samples(torch.from_numpy(voice), 16000).numpy())
    np.testing.assert_allclose(parts["second"](repeated)[0], whole(voice)[0], rtol=1e-6)
    assert parts["second"].facts["kind"] == "voice" and parts["second"].inputs == ["repeated"]
    with pytest.raises(GraphError, match=r"g\.onnx has no value named other, third: export"):
        open_parts(path, {"x": (("third",), ("other",))})
    with pytest.raises(GraphError, match=r"g\.onnx: onnxruntime refuses the graph"):
        open_parts(path, {"x": (("loudness",), ("repeated",))})  # needs more than what goes in
    del model.graph.node[-1].output[0]
    model.graph.node[-1].output.append(model.graph.node[0].output[0])
    path.write_bytes(sign_graph(model, {}))
    with pytest.raises(GraphError, match=r"g\.onnx cannot be cut at samples"):
        open_parts(path, cuts)


def test_a_graph_that_differs_is_not_written(tmp_path: Path) -> None:
    for factor, reason in ((1.01, r"0\.01 of its largest value on one of 11"), (float("nan"), "nan")):
        with pytest.raises(ValueError, match=rf"g\.onnx was not written: .* by {reason}"):
            export_graph(loudness_graph(factor), tmp_path / "g.onnx")
    with pytest.raises(ValueError, match=r"shapes \[\(1, 1\)\], expected \[\(1,\)\]"):
        export_graph(loudness_graph(reference=lambda _: [np.zeros(1)]), tmp_path / "g.onnx")
    with pytest.raises(ValueError, match=r"named \*\.onnx, found .*g.bin"):
        export_graph(loudness_graph(), tmp_path / "g.bin")
    assert not list(tmp_path.iterdir())


class OneRow(nn.Module):
    """Right for one voice at a time."""

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return Loudness()(samples).reshape(len(samples), 1)


def test_a_graph_for_one_input_alone_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"g\.onnx: the graph cannot be computed for samples \(3, 16000\)"):
        export_graph(loudness_graph(module=OneRow()), tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


class Untraceable(nn.Module):
    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(samples)


def test_a_module_without_operators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the voice graph cannot be exported to ONNX: .*bessel_j0"):
        export_graph(loudness_graph(module=Untraceable()), tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_wrong_inputs_are_told_with_the_file(written: Path) -> None:
    with pytest.raises(GraphError, match=r"g\.onnx: the graph cannot be computed for samples \(2, 3, 4\)"):
        open_graph(written)(np.zeros((2, 3, 4)))


def test_damaged_files_are_refused(written: Path, tmp_path: Path) -> None:
    content = written.read_bytes()
    for at in range(0, len(content), max(1, len(content) // 40)):
        changed = bytearray(content)
        changed[at] ^= 4
        written.write_bytes(changed)
        with pytest.raises(GraphError, match=r"g\.onnx"):
            open_graph(written)
        written.write_bytes(content[:at])
        with pytest.raises(GraphError, match=r"g\.onnx"):
            open_graph(written)
    with pytest.raises(FileNotFoundError):
        open_graph(tmp_path / "none.onnx")


def test_other_onnx_files_are_refused(written: Path, tmp_path: Path) -> None:
    other = write_arcface(tmp_path / "arcface.onnx")
    with pytest.raises(GraphError, match=r"arcface\.onnx is an ONNX file of another kind"):
        open_graph(other)
    with pytest.raises(GraphError, match=r"a graph of test \(voice\), expected one of sf2f: `sf2f export`"):
        open_graph(written, system="sf2f")
    with pytest.raises(GraphError, match=r"a graph of test \(voice\), expected face"):
        open_graph(written, kinds=["face"])


def resign(written: Path, change: Any) -> None:
    """Write a file anew after a change, with a digest that agrees."""
    model = onnx.load(str(written))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    change(model)
    for key in ("format", "sha256"):
        facts.pop(key)
    written.write_bytes(sign_graph(model, facts))


def test_values_in_other_files_are_not_read(written: Path) -> None:
    """Neither those of initialisers nor those of constants, also inside of branches."""

    def outside(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")

    def of_initialiser(model: Any) -> None:
        outside(model.graph.initializer[0])

    def of_constant(model: Any) -> None:
        constants = [node for node in model.graph.node if node.op_type == "Constant"]
        outside(constants[0].attribute[0].t)

    def inside_a_branch(model: Any) -> None:
        tensor = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "inner")
        inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
        outside(inner.initializer[0])
        model.graph.node.append(
            onnx.helper.make_node("If", ["samples"], ["x"], then_branch=inner, else_branch=inner)
        )

    content = written.read_bytes()
    for change in (of_initialiser, of_constant, inside_a_branch):
        written.write_bytes(content)
        resign(written, change)
        with pytest.raises(GraphError, match="lie in another file, which is not read"):
            read_graph(written)


def test_operators_of_others_are_refused(written: Path) -> None:
    def custom(model: Any) -> None:
        model.graph.node[0].domain = "com.example"

    def custom_set(model: Any) -> None:
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))

    def old(model: Any) -> None:
        model.opset_import[0].version = 9

    content = written.read_bytes()
    for change, words in (
        (custom, "of com.example, expected operators of ai.onnx alone"),
        (custom_set, r"uses the operators .*com\.example 1"),
        (old, r"uses the operators ai\.onnx 9, expected ai\.onnx 17"),
    ):
        written.write_bytes(content)
        resign(written, change)
        with pytest.raises(GraphError, match=words):
            read_graph(written)


def test_example_pictures_are_ten_of_one_size() -> None:
    pictures = example_pictures(16)
    assert len(pictures) == 10 and all(picture.shape == (1, 3, 16, 16) for picture in pictures)
    assert all((picture == picture.round()).all() and picture.std() > 20 for picture in pictures)


EXPORT_THEN_FORK = """
import os

import torch
from torch import nn
from voiceface.export.conversion import convert
from voiceface.export.graph import Graph, Port

inputs, outputs = (Port("x", ("N", 2), "values"),), (Port("y", ("N", 3), "values"),)
examples = [[torch.ones(1, 2).numpy()]]
convert(Graph("picture", nn.Linear(2, 3), inputs, outputs, examples, None, {}), dynamo=True)
nn.Linear(2, 1)(torch.ones(1, 2)).sum().backward()
child = os.fork()
if child == 0:
    nn.Linear(2, 1)(torch.ones(1, 2)).sum().backward()
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_processes_forked_after_an_export_can_train() -> None:
    """PyTorch refuses backward passes in a fork of a process whose autograd has started threads."""
    pytest.importorskip("onnxscript")
    ended = subprocess.run([sys.executable, "-c", EXPORT_THEN_FORK], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
