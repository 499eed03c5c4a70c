"""Identity loss: cosine distance of IR-SE50 features (ArcFace), as in the published inversion.

The network sees the middle of an image: rows 35 to 222 and columns 32 to 219 of 256, where FFHQ has faces.
Letters: N images, S their side, D features.
"""

from pathlib import Path
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn
from voiceface.association.pretrained_backbones import infer_face_config
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.models.conv_prepacked import replace_with_prepacked
from voiceface.models.fuse_batchnorm import fuse_batchnorm
from voiceface.models.iresnet import BLOCKS, IR

__all__ = [
    "IRIdentityEncoder",
    "build_ir_se50",
    "crop_face",
    "identity_distance",
    "load_ir_se50",
]

REFERENCE_SIDE = 256
CROP_ROWS, CROP_COLUMNS = (35, 223), (32, 220)
INPUT_SIDE = 112


def build_ir_se50() -> IR:
    """Build the published network with random weights: 43,797,696 parameters, 512 features, 112 pixels."""
    return IR(BLOCKS["ir50"], image_size=INPUT_SIDE, features=512, squeeze_excitation=True)


def load_ir_se50(path: str | Path) -> IR:
    """Load a face recognition network, frozen and in evaluation mode.

    Args:
        path: `model_ir_se50.pth`, a flat state dict. The architecture is inferred from the shapes.

    Raises:
        CheckpointError: the file is corrupt, unsafe, or belongs to another network.
        FileNotFoundError: the file is missing.
    """
    source = str(path)
    state = extract_state_dict(read_published(path), "state_dict", source=source)
    if "body.0.res_layer.5.fc1.weight" not in state or "output_layer.3.weight" not in state:
        keys = ", ".join(list(state)[:4]) or "nothing"
        raise CheckpointError(
            f"{source} holds no IR-SE network: expected body.0.res_layer.5.fc1.weight and "
            f"output_layer.3.weight, as model_ir_se50.pth has them; found {keys}"
        )
    sizes = infer_face_config(state, "")
    features = int(state["output_layer.3.weight"].shape[0])
    network = IR(sizes.units, sizes.widths, sizes.image_size, features, squeeze_excitation=True)
    load_into(network, state, ignore=["*.num_batches_tracked"], source=source)
    return network.eval().requires_grad_(False)


def crop_face(images: Tensor, side: int = INPUT_SIDE) -> Tensor:
    """Crop the part that the network sees: pool to 256 pixels if the height differs, crop, pool.

    Args:
        images: (N, 3, H, W).
        side: side of the result.

    Returns:
        (N, 3, side, side).
    """
    if images.shape[2] != REFERENCE_SIDE:
        images = F.adaptive_avg_pool2d(images, (REFERENCE_SIDE, REFERENCE_SIDE))
    return F.adaptive_avg_pool2d(images[:, :, slice(*CROP_ROWS), slice(*CROP_COLUMNS)], (side, side))


class IRIdentityEncoder(nn.Module):
    """Frozen face recognition network in evaluation mode, with fused batch norms and prepacked weights.

    Features equal those of the original network up to rounding. Images get gradients. The packed weights of
    the published network take 230 MB besides its 175 MB.
    """

    def __init__(self, network: IR) -> None:
        """Copy a network, such as the result of `load_ir_se50`.

        Raises:
            ValueError: the network has no output layer.
        """
        super().__init__()
        if network.output_layer is None:
            raise ValueError("a recogniser needs its output layer: make the network with `features`")
        self.side = network.image_size
        self.network = fuse_batchnorm(network)
        replace_with_prepacked(self.network)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: the network stays in evaluation mode."""
        return super().train(False)

    def features(self, images: Tensor) -> Tensor:
        """Return unit features (N, D) of images (N, 3, S, S) in -1...1.

        Raises:
            ValueError: the images have another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, S, S), found {tuple(images.shape)}")
        return F.normalize(self.network(crop_face(images, self.side)), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Same as `features`."""
        return self.features(images)


def identity_distance(features: Tensor, target: Tensor) -> Tensor:
    """Return 1 - cosine of unit features, image by image; the target gets no gradient.

    The published ID loss is its mean.

    Args:
        features: (N, D), from `IRIdentityEncoder.features`.
        target: (N, D), or (1, D) for one common target.

    Returns:
        (N,), in 0...2.

    Raises:
        ValueError: the shapes do not match.
    """
    if features.ndim != 2 or target.shape not in (
        features.shape,
        features.shape[-1:],
        (1, features.shape[-1]),
    ):
        raise ValueError(
            f"expected features (N, D) and targets (N, D) or (1, D), found {tuple(features.shape)} and "
            f"{tuple(target.shape)}"
        )
    return 1 - (features * target.detach()).sum(1)
