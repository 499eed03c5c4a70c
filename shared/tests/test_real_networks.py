"""Networks of `voiceface.real` with random weights: shapes, batches, padding, ONNX graphs."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional
from voiceface.checkpoints.native import fingerprint, save_model
from voiceface.real import backends
from voiceface.real.backends import choose_backend, onnx_network, require_backend, torch_network
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import InstalledModel
from voiceface.real.mobile_blocks import DepthwiseBlock, SamePaddedConv2d
from voiceface.real.networks import (
    BlazeFace,
    ChipResNet,
    FaceMeshNetwork,
    ResidualBlock,
    SpeakerLstm,
    build_network,
)
from voiceface.real.onnx_graphs import build_onnx, write_onnx

INPUTS = {
    "face_detector": (3, 256, 256),
    "face_mesh": (3, 192, 192),
    "face_encoder": (3, 150, 150),
    "voice_encoder": (160, 40),
}
OUTPUTS = {
    "face_detector": [(896, 16), (896,)],
    "face_mesh": [(468, 3), ()],
    "face_encoder": [(128,)],
    "voice_encoder": [(256,)],
}
PARAMETERS = {  # of the published files, in millions
    "face_detector": 0.136,
    "face_mesh": 0.605,
    "face_encoder": 5.607,
    "voice_encoder": 1.424,
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {
        "face_detector": BlazeFace(widths=(4, 4, 6, 8), blocks=1),
        "face_mesh": FaceMeshNetwork(widths=(4, 6, 8, 8, 8), head=4),
        "face_encoder": ChipResNet(widths=(4, 6, 8), blocks=(1, 2, 1)),
        "voice_encoder": SpeakerLstm(width=12, layers=3),
    }


def random_inputs(name, count):
    high = 1 if name == "voice_encoder" else 255
    return np.random.default_rng(0).uniform(0, high, (count, *INPUTS[name])).astype(np.float32)


@pytest.mark.parametrize("name", INPUTS)
def test_published_sizes(name):
    network = build_network(name)
    count = sum(value.numel() for value in network.state_dict().values()) / 1e6
    assert count == pytest.approx(PARAMETERS[name], abs=6e-4)
    outputs = torch_network(MODELS[name], network, "f")(random_inputs(name, 1))
    assert [each.shape for each in outputs] == [(1, *shape) for shape in OUTPUTS[name]]


@pytest.mark.parametrize("name", INPUTS)
def test_a_batch_gives_what_its_members_give_alone(name, networks):
    network, inputs = torch_network(MODELS[name], networks[name], "f"), random_inputs(name, 11)
    together = network(inputs)
    for k in (0, 8, 10):
        for one, all_of_them in zip(network(inputs[k : k + 1]), together):
            np.testing.assert_allclose(one[0], all_of_them[k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", INPUTS)
def test_the_onnx_graph_computes_the_same_from_the_same_file(name, networks, tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    installed = InstalledModel(MODELS[name], tmp_path)
    state = networks[name].state_dict()
    save_model(installed.weights, state, system="real", kind=name, config={})
    graph = build_onnx(networks[name], installed.weights)
    installed.graph.write_bytes(graph.SerializeToString())
    onnx.checker.check_model(str(installed.graph), full_check=True)
    stored = [tensor for tensor in graph.graph.initializer if tensor.external_data]
    assert {tensor.name for tensor in stored} == set(state)
    inputs = random_inputs(name, 3)
    ours = torch_network(MODELS[name], networks[name], "f")(inputs)
    theirs = onnx_network(installed, "f")(inputs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1, abs(a).max()))
    assert installed.graph.stat().st_size < 40_000


def test_a_missing_graph_is_written_beside_the_weights(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network = build_network("voice_encoder")
    installed = InstalledModel(MODELS["voice_encoder"], tmp_path)
    save_model(installed.weights, network.state_dict(), system="real", kind="voice_encoder", config={})
    inputs = random_inputs("voice_encoder", 2)
    found = onnx_network(installed, "f")(inputs)[0]
    expected = torch_network(MODELS["voice_encoder"], network, "f")(inputs)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert installed.graph.is_file()
    with pytest.raises(ValueError, match="beside"):
        write_onnx("voice_encoder", installed.weights, tmp_path / "elsewhere" / "model.onnx")


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_padding_is_that_of_tensorflow(kernel, stride):
    if kernel < stride:
        return
    conv = SamePaddedConv2d(1, 1, kernel, stride).double()
    x = torch.rand(1, 1, 8, 8, dtype=torch.double)
    total = (8 // stride - 1) * stride + kernel - 8  # TensorFlow's formula
    wide = torch.zeros(8 + total, 8 + total, dtype=torch.double)
    wide[total // 2 : total // 2 + 8, total // 2 : total // 2 + 8] = x[0, 0]
    expected = functional.conv2d(wide[None, None], conv.weight, conv.bias, stride)
    torch.testing.assert_close(conv(x), expected)
    assert expected.shape[2] == 8 // stride


def test_new_channels_of_a_block_get_no_shortcut():
    block = DepthwiseBlock(2, 5, 2, prelu=False)
    for parameter in block.parameters():
        parameter.data.zero_()
    x = torch.rand(1, 2, 8, 8)
    y = block(x)
    torch.testing.assert_close(y[:, :2], functional.max_pool2d(x, 2))
    assert not y[:, 2:].any()


def test_a_residual_block_pads_the_smaller_side_with_zeros():
    block = ResidualBlock(2, 3, down=True)
    for parameter in block.parameters():
        parameter.data.zero_()
    block.conv2.bias.data.fill_(1.0)
    x = torch.rand(1, 2, 8, 8)
    y = block(x)
    pooled = functional.avg_pool2d(x, 2)
    assert y.shape == (1, 3, 4, 4)
    torch.testing.assert_close(y[:, :2, :3, :3], pooled[:, :, :3, :3] + 1)
    torch.testing.assert_close(y[:, :2, 3], pooled[:, :, 3])
    assert not y[:, 2, 3].any()


def test_embeddings_of_voices_have_unit_length_and_no_negative_values(networks):
    embeddings = torch_network(MODELS["voice_encoder"], networks["voice_encoder"], "f")(
        random_inputs("voice_encoder", 5)
    )[0]
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert embeddings.min() >= 0


def test_the_fingerprint_is_that_of_the_values(networks):
    state = networks["voice_encoder"].state_dict()
    before = fingerprint(state)
    changed = {key: value.clone() for key, value in state.items()}
    assert fingerprint(changed) == before
    changed["linear.bias"][0] += 1
    assert fingerprint(changed) != before


def test_no_file_of_the_catalogue_is_the_68_point_model():
    text = json.dumps([(model.member, model.title) for model in MODELS.values()])
    assert "68" not in text.replace("468", "")
    assert len({model.sha256 for model in MODELS.values()}) == len(MODELS) == 4


@pytest.mark.parametrize("missing", [None, "onnx", "onnxruntime"])
def test_the_faster_back_end_is_chosen_where_all_of_it_is_installed(monkeypatch, missing):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None if name == missing else name)
    assert choose_backend() == ("onnxruntime" if missing is None else "torch")
    require_backend("torch")
    if missing is None:
        require_backend("onnxruntime")
    else:
        with pytest.raises(ModuleNotFoundError, match=rf"needs {missing}: pip install"):
            require_backend("onnxruntime")
