"""The image-to-3D expert on photographs: pose, shape and expression of the face in an image.

Letters: B images, K parameters, S image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.generator import resize_bilinear
from perceptionist.image_to_3d import ImageTo3D
from perceptionist.sampling import image_to_planes

__all__ = ["ImageExpert"]


@dataclass(frozen=True)
class ImageExpert:
    """An image-to-3D network with the face model of its parameters and the input that it was trained with.

    Attributes:
        network: in evaluation mode.
        face_model: of its parameters.
        input_size: side in pixels that images are first resized to.
        published_input: BGR, (x - 127.5) / 128, instead of RGB, -1...1.
        disclaimer: to show with every result.
        source: where the weights come from.
        face_crop: convention of the faces that it was trained on, a key of
            `voiceface.faces.crops.CROP_CONVENTIONS`. Published ones are given VGG_ALL_FRONTAL.
    """

    network: ImageTo3D
    face_model: LinearFaceModel
    input_size: int
    published_input: bool = False
    disclaimer: str = ""
    source: str = ""
    face_crop: str = "vggface_frontal"

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Whitened parameters (B, K) of square face images, each (S, S, 3) uint8 RGB.

        Raises:
            ValueError: parameters that are not finite.
        """
        planes = np.stack([image_to_planes(image, self.input_size) for image in images])
        parameters = self.regress(torch.from_numpy(planes).to(self.face_model.mean.device))
        if not torch.isfinite(parameters).all():
            raise ValueError(f"the expert {self.source} predicts parameters that are not finite")
        return parameters

    def regress(self, planes: Tensor) -> Tensor:
        """Whitened parameters (B, K) of RGB planes (B, 3, S, S), 0...255, S the input size."""
        return self.network(self.normalise(planes)).parameters

    def normalise(self, planes: Tensor) -> Tensor:
        """What the network is given for RGB planes (B, 3, S, S), 0...255: in its range, order and size."""
        images = (planes - 127.5) / 127.5
        if self.published_input:
            images = images.flip(1) * (127.5 / 128)
        return resize_bilinear(images, self.network.config.image_size)
