"""How alike two faces are to a face recogniser: IR-SE50 of ArcFace and the ID loss. Specification, 13.2.

The network reads the middle of a picture: of 256 pixels, rows 35 to 222 and columns 32 to 219, which is where
a face of FFHQ is. Letters: N pictures, S their side, D features.
"""

from pathlib import Path
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn
from voiceface.association.pretrained_backbones import face_architecture
from voiceface.checkpoints.native import load_into, load_model, save_model
from voiceface.checkpoints.published import CheckpointError, read_published, state_dict_of
from voiceface.models.conv_prepacked import with_packed_convolutions
from voiceface.models.fuse_batchnorm import folded
from voiceface.models.iresnet import BLOCKS, IR

SYSTEM, KIND = "voicestyle", "identity"
FRAME = 256
ROWS, COLUMNS = (35, 223), (32, 220)
SIDE = 112


def ir_se50() -> IR:
    """The published network with random weights: 43,797,696 parameters, 512 features of 112 pixels."""
    return IR(BLOCKS["ir50"], side=SIDE, features=512, squeeze=True)


def load_ir_se50(path: str | Path) -> IR:
    """The face recogniser of a file, in evaluation and frozen.

    Args:
        path: `model_ir_se50.pth`, a flat state dict, or a file that `save_identity` wrote. Sizes are read
            off the shapes.

    Raises:
        CheckpointError: damaged, unsafe, or another network's.
        FileNotFoundError: no such file.
    """
    source = str(path)
    if Path(path).suffix == ".safetensors":
        state = load_model(path, system=SYSTEM, kind=KIND).state
    else:
        state = state_dict_of(read_published(path), "state_dict", source=source)
    if "body.0.res_layer.5.fc1.weight" not in state or "output_layer.3.weight" not in state:
        found = ", ".join(list(state)[:4]) or "nothing"
        raise CheckpointError(
            f"{source} holds no IR-SE network: expected body.0.res_layer.5.fc1.weight and "
            f"output_layer.3.weight, as model_ir_se50.pth has them; found {found}"
        )
    sizes = face_architecture(state, "")
    features = int(state["output_layer.3.weight"].shape[0])
    network = IR(sizes.units, sizes.widths, sizes.side, features, squeeze=True)
    load_into(network, state, ignore=["*.num_batches_tracked"], source=source)
    return network.eval().requires_grad_(False)


def save_identity(path: str | Path, network: IR, extra: dict[str, Any] | None = None) -> None:
    """Write a recogniser as our model file, which is read as data alone.

    Args:
        path: a name that ends in .safetensors.
        network: with its output layer, not folded.
        extra: further JSON values.
    """
    save_model(path, network.state_dict(), system=SYSTEM, kind=KIND, config={}, extra=extra)


def face_crop(pictures: Tensor, side: int = SIDE) -> Tensor:
    """The part that the recogniser reads: averaged to 256 pixels where the height differs, cut, averaged.

    Args:
        pictures: (N, 3, H, W).
        side: of the result.

    Returns:
        (N, 3, side, side).
    """
    if pictures.shape[2] != FRAME:
        pictures = F.adaptive_avg_pool2d(pictures, (FRAME, FRAME))
    return F.adaptive_avg_pool2d(pictures[:, :, slice(*ROWS), slice(*COLUMNS)], (side, side))


class IdentityNetwork(nn.Module):
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
        self.side = network.side
        self.network = folded(network)
        with_packed_convolutions(self.network)

    def train(self, mode: bool = True) -> Self:
        """Nothing changes: the network stays in evaluation."""
        return super().train(False)

    def features(self, pictures: Tensor) -> Tensor:
        """Rows (N, D) of length 1 of pictures (N, 3, S, S) in -1...1.

        Raises:
            ValueError: another shape.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(f"pictures must be (N, 3, S, S), found {tuple(pictures.shape)}")
        return F.normalize(self.network(face_crop(pictures, self.side)), dim=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """The same as `features`."""
        return self.features(pictures)


def identity_distance(ours: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of rows of length 1, picture by picture; no gradient reaches the target.

    The published ID loss is its mean.

    Args:
        ours: (N, D), as `IdentityNetwork.features` gives them.
        target: (N, D), or (1, D) for one target of all.

    Returns:
        (N,), 0...2.

    Raises:
        ValueError: the shapes do not fit.
    """
    if ours.ndim != 2 or target.shape not in (ours.shape, ours.shape[-1:], (1, ours.shape[-1])):
        raise ValueError(
            f"expected features (N, D) and targets (N, D) or (1, D), found {tuple(ours.shape)} and "
            f"{tuple(target.shape)}"
        )
    return 1 - (ours * target.detach()).sum(1)
