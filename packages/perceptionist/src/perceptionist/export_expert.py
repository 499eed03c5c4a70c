"""The image-to-3D expert as an ONNX graph: the picture of a face to pose, shape and expression.

Letters: N pictures, S side of a picture, K parameters.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from voiceface.checkpoints.native import fingerprint
from voiceface.export.graph import Graph, Port, example_pictures
from voiceface.runtime.config import to_dict

from perceptionist.face_models.pose import NUM_POSE_PARAMETERS
from perceptionist.image_expert import load_image_expert
from perceptionist.image_expert_model import ImageExpert

if TYPE_CHECKING:
    from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = ["build_expert_graph", "find_expert"]

FRONT_END = (
    "Not in the graph: decoding, cutting out the face ({crop}), and resizing to {side} pixels, bicubic with "
    "antialiasing. In the graph: order of the channels, normalisation, resizing to the input of the network."
)


def find_expert(model: "VoiceToMesh") -> ImageExpert | None:
    """The expert that the demos use with a model: its own, else the bundled one if it fits.

    Args:
        model: from `perceptionist.load`, on the CPU.

    Returns:
        None if the model contains no expert and generates pictures, or its face model is another one than
        that of the bundled expert.

    Raises:
        FileNotFoundError: the bundled expert is needed and this installation has none.
    """
    if model.image_expert is not None:
        return model.image_expert
    if model.generator is None and model.face_model.name == "population":
        return load_image_expert(None, model.face_model)
    return None


def build_expert_graph(expert: ImageExpert, name: str = "") -> Graph:
    """Graph of an expert: RGB pictures (N, 3, S, S), 0...255, to un-whitened pose, shape and expression.

    Args:
        expert: on the CPU.
        name: of the weights, for the metadata; empty: where the expert comes from.
    """
    faces, network = expert.face_model, expert.network
    notices = dict.fromkeys(each for each in (expert.disclaimer, faces.disclaimer) if each)
    side, inner_side = expert.input_size, network.config.image_size
    num_parameters = sum(
        (network.config.pose, network.config.shape, network.config.expression, network.config.texture)
    )

    def predict(pictures: NDArray[np.float32]) -> list[NDArray[Any]]:
        images = [np.ascontiguousarray(each.transpose(1, 2, 0).astype(np.uint8)) for each in pictures]
        found = faces.unwhiten(expert.predict(images))
        return [found.pose.numpy(), found.shape.numpy(), found.expression.numpy()]

    return Graph(
        "expert",
        _ExpertModule(expert).eval(),
        (Port("image", ("N", 3, side, side), "RGB pictures of faces, 0...255"),),
        (
            Port(
                "pose",
                ("N", NUM_POSE_PARAMETERS),
                "row-major 3 x 4 matrices [P | t], pixels of a 120-pixel image, y up",
            ),
            Port("shape", ("N", faces.num_shape), "un-whitened shape coefficients"),
            Port("expression", ("N", faces.num_expression), "un-whitened expression coefficients"),
        ),
        [[picture] for picture in example_pictures(side)],
        predict,
        {
            "system": "perceptionist",
            "name": name or expert.source,
            "notice": " ".join(notices),
            "licence": "as the makers of the weights and of the face model state",
            "weights_sha256": fingerprint(network.state_dict()),
            "face_model": faces.name,
            "num_vertices": str(faces.num_vertices),
            "face_crop": expert.face_crop,
            "resize": "bicubic",
            "front_end": FRONT_END.format(crop=expert.face_crop, side=side),
            "config": to_dict(network.config),
        },
        inner=(
            Port("planes", ("N", 3, inner_side, inner_side), "pictures as the network was trained on"),
            Port("parameters", ("N", num_parameters), "whitened pose, shape, expression and texture"),
        ),
    )


class _ExpertModule(nn.Module):
    """Pictures (N, 3, S, S) to pose, shape and expression, and the inner values."""

    def __init__(self, expert: ImageExpert) -> None:
        super().__init__()
        self.expert = expert
        self.parts = nn.ModuleList([expert.network, expert.face_model])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        planes = self.expert.normalise(image)
        parameters = self.expert.network(planes).parameters
        found = self.expert.face_model.unwhiten(parameters)
        return found.pose, found.shape, found.expression, planes, parameters
