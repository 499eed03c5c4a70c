"""How alike two faces are to a face recogniser: IR-SE50 of ArcFace and the ID loss. Specification, 13.2.

The network reads the middle of a picture: of 256 pixels, rows 35 to 222 and columns 32 to 219, which is where
a face of FFHQ is. Letters: N pictures, S their side, D features.
"""

from pathlib import Path
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn
from voiceface.association.pretrained_backbones import infer_face_config
from voiceface.checkpoints.native import load_into, load_model, save_model
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.models.conv_prepacked import replace_with_prepacked
from voiceface.models.fuse_batchnorm import fuse_batchnorm
from voiceface.models.iresnet import BLOCKS, IR

SYSTEM, KIND = "voicestyle", "identity"
REFERENCE_SIDE = 256
CROP_ROWS, CROP_COLUMNS = (35, 223), (32, 220)
INPUT_SIDE = 112


def build_ir_se50() -> IR:
    """The published network with random weights: 43,797,696 parameters, 512 features of 112 pixels."""
    return IR(BLOCKS["ir50"], image_size=INPUT_SIDE, features=512, squeeze_excitation=True)


def load_ir_se50(path: str | Path) -> IR:
    """The face recogniser of a file, in evaluation and frozen.

    Args:
        path: `model_ir_se50.pth`, a flat state dict, or a file that `save_ir_se50` wrote. Sizes are read
            off the shapes.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    source = str(path)
    if Path(path).suffix == ".safetensors":
        state = load_model(path, system=SYSTEM, kind=KIND).state
    else:
        state = extract_state_dict(read_published(path), "state_dict", source=source)
    if "body.0.res_layer.5.fc1.weight" not in state or "output_layer.3.weight" not in state:
        found = ", ".join(list(state)[:4]) or "nothing"
        raise CheckpointError(
            f"{source} holds no IR-SE network: expected body.0.res_layer.5.fc1.weight and "
            f"output_layer.3.weight, as model_ir_se50.pth has them; found {found}"
        )
    sizes = infer_face_config(state, "")
    features = int(state["output_layer.3.weight"].shape[0])
    network = IR(sizes.units, sizes.widths, sizes.image_size, features, squeeze_excitation=True)
    load_into(network, state, ignore=["*.num_batches_tracked"], source=source)
    return network.eval().requires_grad_(False)


def save_ir_se50(path: str | Path, network: IR, extra: dict[str, Any] | None = None) -> None:
    """Write a recogniser as our model file, which is read as data alone.

    Args:
        path: a name that ends in .safetensors.
        network: with its output layer, not folded.
        extra: further JSON values.
    """
    save_model(path, network.state_dict(), system=SYSTEM, kind=KIND, config={}, extra=extra)


def crop_face(images: Tensor, side: int = INPUT_SIDE) -> Tensor:
    """The part that the recogniser reads: averaged to 256 pixels where the height differs, cut, averaged.

    Args:
        images: (N, 3, H, W).
        side: of the result.

    Returns:
        (N, 3, side, side).
    """
    if images.shape[2] != REFERENCE_SIDE:
        images = F.adaptive_avg_pool2d(images, (REFERENCE_SIDE, REFERENCE_SIDE))
    return F.adaptive_avg_pool2d(images[:, :, slice(*CROP_ROWS), slice(*CROP_COLUMNS)], (side, side))


class IRIdentityEncoder(nn.Module):
    """A frozen recogniser in evaluation: norms worked into the convolutions before them, weights packed.

    Features are those of the network as it was, to rounding. Gradients reach the pictures. The packed weights
    of the published network take 230 MB beside its 175 MB.
    """

    def __init__(self, network: IR) -> None:
        """Take a copy of a recogniser, for example what `load_ir_se50` gave.

        Raises:
            ValueError: it has no output layer.
        """
        super().__init__()
        if network.output_layer is None:
            raise ValueError("a recogniser needs its output layer: make the network with `features`")
        self.side = network.image_size
        self.network = fuse_batchnorm(network)
        replace_with_prepacked(self.network)

    def train(self, mode: bool = True) -> Self:
        """Nothing changes: the network stays in evaluation."""
        return super().train(False)

    def features(self, images: Tensor) -> Tensor:
        """Rows (N, D) of length 1 of pictures (N, 3, S, S) in -1...1.

        Raises:
            ValueError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"pictures must be (N, 3, S, S), found {tuple(images.shape)}")
        return F.normalize(self.network(crop_face(images, self.side)), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """The same as `features`."""
        return self.features(images)


def identity_distance(features: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of rows of length 1, picture by picture; no gradient reaches the target.

    The published ID loss is its mean.

    Args:
        features: (N, D), as `IRIdentityEncoder.features` gives them.
        target: (N, D), or (1, D) for one target of all.

    Returns:
        (N,), 0...2.

    Raises:
        ValueError: the shapes do not fit.
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
