"""Published network files read without their libraries, from hand-made TFLite and dlib files."""

import numpy as np
import pytest
import torch
from real_files import (
    TfliteGraph,
    blazeface_names,
    dlib_number,
    dlib_string,
    dlib_tensor,
    face_mesh_names,
    write_dat,
    write_layers,
)
from voiceface.checkpoints.published import CheckpointError
from voiceface.real import conversion
from voiceface.real.dlib_dat import DatError, read_dlib_layers
from voiceface.real.networks import BlazeFace, ChipResNet, FaceMeshNetwork, SpeakerLstm
from voiceface.real.tflite import TfliteError, read_tflite


def small_networks():
    torch.manual_seed(0)
    return {
        "blazeface": BlazeFace(widths=(4, 4, 6, 8), blocks=1),
        "face_mesh": FaceMeshNetwork(widths=(4, 6, 8, 8, 8), head=4),
    }


def make_graph():
    graph = TfliteGraph()
    graph.tensors.append(None)
    kernel = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    bias = np.array([0.5, -1], np.float32)
    hidden = graph.apply("CONV_2D", 0, graph.constant(kernel), graph.constant(bias))
    half = graph.apply("DEQUANTIZE", graph.constant(np.array([[[1.5, -2]]], np.float16)))
    graph.apply("PRELU", hidden, half)
    return graph.to_bytes(), kernel, bias


def test_operators_of_a_tflite_graph_come_in_order_with_their_constants():
    data, kernel, bias = make_graph()
    conv, prelu = read_tflite(data)
    assert (conv.name, prelu.name) == ("CONV_2D", "PRELU")
    assert prelu.inputs[0] == conv.outputs[0]
    np.testing.assert_array_equal(conv.constants[0], kernel)
    np.testing.assert_array_equal(conv.constants[1], bias)
    assert prelu.constants[0].dtype == np.float32 and prelu.constants[0].tolist() == [[[1.5, -2]]]


@pytest.mark.parametrize("position", range(0, 400, 7))
def test_a_truncated_tflite_file_is_a_tflite_error(position):
    data, _, _ = make_graph()
    with pytest.raises(TfliteError):
        read_tflite(data[: min(position, len(data) - 1)])


def test_changed_bytes_of_a_tflite_file_give_a_result_or_a_tflite_error():
    data, rng, refused = make_graph()[0], np.random.default_rng(0), 0
    for _ in range(500):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        try:
            read_tflite(bytes(changed))
        except TfliteError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ["blazeface", "face_mesh"])
def test_networks_come_back_from_their_tflite_file(name, half):
    network, other = small_networks()[name], small_networks()[name]
    names = {"blazeface": blazeface_names, "face_mesh": face_mesh_names}[name](network)
    convert = {"blazeface": conversion.convert_blazeface, "face_mesh": conversion.convert_face_mesh}[name]
    for parameter in other.parameters():
        parameter.data.normal_()
    state = convert(read_tflite(write_layers(network, names, half)), other)
    assert set(state) == set(network.state_dict())
    for key, value in network.state_dict().items():
        expected = value.half().float() if half else value
        torch.testing.assert_close(state[key], expected, rtol=0, atol=0)


def test_a_tflite_file_of_another_network_is_refused():
    networks = small_networks()
    names = blazeface_names(networks["blazeface"])
    operators = read_tflite(write_layers(networks["blazeface"], names))
    with pytest.raises(CheckpointError, match="another network: "):
        conversion.convert_face_mesh(operators, networks["face_mesh"])
    with pytest.raises(CheckpointError, match="do not fit BlazeFace"):
        conversion.convert_blazeface(operators, BlazeFace(widths=(4, 4, 6, 10), blocks=1))
    with pytest.raises(CheckpointError, match=f"{len(names)} layers"):
        conversion.convert_blazeface(operators, BlazeFace(widths=(4, 4, 6, 8), blocks=2))


def test_values_that_are_not_finite_are_refused():
    network = small_networks()["blazeface"]
    network.stem.conv.bias.data[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"stem\.conv\.bias"):
        conversion.convert_blazeface(read_tflite(write_layers(network, blazeface_names(network))), network)


def test_layers_of_a_dlib_file_come_in_order():
    data = b"\x01\x03xyz" + dlib_string("con_4") + dlib_tensor(np.array([1, 2, 3.5]))
    data += b"\x01\x01" + dlib_string("affine_") + dlib_tensor(np.array([4.0, 5]))
    data += dlib_string("fc_2") + dlib_number(2) + dlib_number(300) + dlib_tensor(np.eye(2))
    layers = read_dlib_layers(data)
    assert [layer.layer for layer in layers] == ["con_4", "affine_", "fc_2"]
    assert layers[0].values.ravel().tolist() == [1, 2, 3.5]
    assert layers[2].values.shape == (2, 2, 1, 1)


def test_a_name_inside_the_values_of_a_tensor_is_no_layer():
    hidden = np.frombuffer(dlib_string("con_4") + b"\0", "<f4")
    layers = read_dlib_layers(dlib_string("con_4") + dlib_tensor(np.concatenate([hidden, hidden])))
    assert len(layers) == 1


def test_what_is_no_dlib_file_is_refused():
    head = dlib_string("con_4")
    for data, words in (
        (b"nothing", "no layer of dlib"),
        (head, "no whole number"),
        (head + dlib_number(3) + b"\x01\x01" * 4, "tensor version 3"),
        (head + dlib_tensor(np.ones(9))[:-1], "truncated"),
        (head + dlib_number(2) + dlib_number(-4) + b"\x01\x01" * 3, "sizes"),
        (head + dlib_number(2) + dlib_number(2**40) * 4, "at most"),
        (head + b"\x09" + b"\x01" * 20, "no whole number"),
    ):
        with pytest.raises(DatError, match=words):
            read_dlib_layers(data)


def test_affine_layers_are_folded_into_the_convolutions():
    torch.manual_seed(0)
    network = ChipResNet(widths=(4, 6), blocks=(1, 1), features=5).eval()
    names = ["stem", *(f"blocks.{k}.conv{i}" for k in range(2) for i in (1, 2))]
    rng = np.random.default_rng(0)
    factors = {name: rng.uniform(0.5, 2, network.get_submodule(name).out_channels) for name in names}
    layers = read_dlib_layers(write_dat(network, factors))
    other = ChipResNet(widths=(4, 6), blocks=(1, 1), features=5).eval()
    other.load_state_dict(conversion.convert_chip_resnet(layers, other))
    conv = network.stem
    x = torch.rand(2, 3, 20, 20)
    expected = conv(x) * torch.tensor(factors["stem"]).float()[:, None, None] + 0.25
    torch.testing.assert_close(other.stem(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other.output.weight, network.output.weight, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match=r"blocks\.1\.conv1"):
        conversion.convert_chip_resnet(layers, ChipResNet(widths=(4, 8), blocks=(1, 1), features=5))
    with pytest.raises(CheckpointError, match="another network"):
        conversion.convert_chip_resnet(layers[2:], other)


def test_the_voice_encoder_leaves_out_what_only_training_needs():
    network = SpeakerLstm(bands=4, width=6, layers=2, features=5)
    state = network.state_dict()
    content = {
        "step": 3,
        "model_state": {**state, "similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)},
        "optimizer_state": {"param_groups": []},
    }
    assert set(conversion.convert_speaker_lstm(content, network)) == set(state)
    del content["model_state"]["linear.bias"]
    with pytest.raises(CheckpointError, match=r"linear\.bias"):
        conversion.convert_speaker_lstm(content, network)


@pytest.mark.parametrize("name", ["face_detector", "face_mesh", "face_encoder", "voice_encoder"])
def test_a_damaged_file_is_named_in_the_message(name, tmp_path):
    for data in (b"", b"\x1c\0\0\0TFL3" + b"\xff" * 40, b"text " * 50):
        path = tmp_path / "network.bin"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"network\.bin"):
            conversion.convert_file(name, path)
