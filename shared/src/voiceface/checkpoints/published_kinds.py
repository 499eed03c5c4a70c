"""Kinds of published files that the systems read, recognised by the names and shapes of their tensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from voiceface.checkpoints.published import CheckpointError

__all__ = ["PUBLISHED_KINDS", "PublishedKind", "flatten_tensors", "identify", "stated_digest_prefix"]

Shape = tuple[int | None, ...]
MAX_DEPTH, MAX_CONTAINERS = 50, 100_000
STATE_NAMES = ("state_dict", "model", "model_state")  # their keys stand for themselves


class PublishedKind(NamedTuple):
    """Kind of published file.

    Attributes:
        title: description.
        readers: commands and functions that read it.
        keys: regular expressions, each of which must match a whole key; with the shape of its tensor, None
            for any length, or None for any shape.
    """

    title: str
    readers: str
    keys: Mapping[str, Shape | None]


def _kind(title: str, readers: str, *keys: str, **shapes: Shape) -> PublishedKind:
    """Build a kind; `shapes` are shapes by key, dots written as two underscores."""
    named = {re.escape(key.replace("__", ".")): shape for key, shape in shapes.items()}
    return PublishedKind(title, readers, {**dict.fromkeys(keys), **named})


SEEKING, ARCHETYPE = "seeking_shape", "archetype_agnostic"
BACKBONES = f"{SEEKING} train, {ARCHETYPE} train"
# The first kind whose keys are all there counts: complete models before their parts.
PUBLISHED_KINDS = (
    _kind(
        "seeking_shape, full model",
        f"{SEEKING} --weights, train --checkpoint",
        r"F\.model\.input_layer\..*",
        r"V\.model\.conv1\..*",
    ),
    _kind("seeking_shape, face branch", "none: not a complete model", r"F\.model\.input_layer\..*"),
    _kind("seeking_shape, voice branch", "none: not a complete model", r"V\.model\.conv1\..*"),
    _kind("seeking_shape, identity weights", f"{SEEKING} train --id-weights", center__weight=(None,)),
    _kind(
        "archetype_agnostic, full model",
        f"{ARCHETYPE} --weights, train --checkpoint",
        r"vNet\.model\.input_layer\..*",
        r"aNet\.model\.conv1\..*",
    ),
    _kind(
        "fop, full model",
        "fop --weights, train --checkpoint",
        r"voice_branch\.fc1\.0\.weight",
        r"face_branch\.fc1\.0\.weight",
        r"logits_layer\.weight",
    ),
    _kind(
        "cmpc2 (CMPC), full model",
        "cmpc2 --weights, cmpc2 train --checkpoint, voicestyle --cmpc",
        r"voice_subnet\.conv1\..*",
        r"face_subnet\.conv1\..*",
    ),
    _kind(
        "cmpc2 (CMPC), prototype memory of the training videos",
        "cmpc2 nearest --memory, voicestyle --memory",
        r"centroids\.\d+",
        r"inst2cluster\.\d+",
    ),
    _kind(
        "sf2f, checkpoint of the published trainer",
        "sf2f --weights, train --checkpoint",
        r"encoder\.model\..*",
        r"decoder\..*",
    ),
    _kind(
        "perceptionist, expert with its face model (SynergyNet)",
        "perceptionist --weights FOLDER, train --expert",
        r"(module\.)?w_shp",
        r"(module\.)?\w+\.backbone\.features\.0\.0\.weight",
    ),
    _kind(
        "perceptionist, student (image to 3-D)",
        "perceptionist --weights FOLDER",
        r"(module\.)?backbone\.features\.0\.0\.weight",
    ),
    _kind(
        "perceptionist, supervised head",
        "perceptionist --weights FOLDER",
        classifier_scale__1__weight=(None, None),
    ),
    _kind(
        "voice network of voice2face and perceptionist",
        "perceptionist --weights FOLDER, train --voice-network; sf2f infer --voice2face FOLDER",
        model__0__weight=(None, None, None),
    ),
    _kind(
        "generator of voice2face and perceptionist",
        "perceptionist --weights FOLDER, sf2f infer --voice2face FOLDER",
        model__0__weight=(None, None, 4, 4),
    ),
    _kind(
        "face embedding of perceptionist",
        "perceptionist train",
        model__0__weight=(None, None, 1, 1),
    ),
    _kind(
        "StyleGAN2, checkpoint of the published trainer (g_ema is used)",
        "voicestyle --stylegan",
        r"g_ema\.style\.1\.weight",
        r"g_ema\.conv1\.conv\.weight",
    ),
    _kind(
        "StyleGAN2, generator",
        "voicestyle --stylegan",
        r"style\.1\.weight",
        r"conv1\.conv\.weight",
        r"to_rgb1\..*",
    ),
    _kind(
        "IR-SE face network (ArcFace)",
        f"voicestyle --identity, {BACKBONES} --face-backbone",
        r"input_layer\.0\.weight",
        r"body\.0\.res_layer\.5\.fc1\.weight",
    ),
    _kind(
        "face backbone IR of face.evoLVe",
        f"{BACKBONES} --face-backbone",
        r"input_layer\.0\.weight",
        r"body\.0\.res_layer\..*",
    ),
    _kind(
        "voice backbone thin ResNet of voxceleb_trainer",
        f"{BACKBONES} --voice-backbone",
        r"(__S__\.)?conv1\..*",
        r"(__S__\.)?sap_linear\..*",
    ),
    _kind(
        "CLIP ViT of open_clip",
        "voicestyle --clip",
        r"visual\.transformer\.resblocks\.0\..*",
        r"token_embedding\.weight",
        visual__conv1__weight=(None, 3, None, None),
    ),
    _kind(
        "FaceNet (Inception-ResNet v1)",
        "sf2f --facenet",
        r"conv2d_1a\.conv\.weight",
        r"last_linear\.weight",
    ),
    _kind(
        "Inception graph of 2015",
        "sf2f test --inception, voicestyle fid --inception",
        r"Mixed_5b\.branch1x1\.conv\.weight",
        r"fc\.weight",
    ),
    _kind(
        "linear weights of LPIPS",
        "sf2f test --lpips, voicestyle --lpips",
        r"lin0\.model\.1\.weight",
    ),
    _kind(
        "SqueezeNet of torchvision",
        "voicestyle --lpips",
        r"features\.3\.squeeze\.weight",
        r"features\.0\.weight",
    ),
    _kind(
        "AlexNet of torchvision",
        "sf2f test --lpips, voicestyle --lpips",
        r"classifier\.6\.weight",
        features__0__weight=(None, 3, 11, 11),
    ),
    _kind(
        "VGG of torchvision",
        "voicestyle --lpips",
        r"classifier\.6\.weight",
        features__0__weight=(None, 3, 3, 3),
    ),
    _kind(
        "ResNet-50 classifier of VGGFace2",
        "sf2f test --vggface",
        r"layer1\.0\.conv3\.weight",
        fc__weight=(8631, None),
    ),
    _kind(
        "ResNet of torchvision (ImageNet)",
        "cmpc2 train --imagenet",
        r"layer1\.0\.conv1\.weight",
        r"layer4\.0\.downsample\.0\.weight",
        fc__weight=(None, None),
    ),
)


def identify(shapes: Mapping[str, tuple[int, ...]]) -> PublishedKind | None:
    """Recognise a published file; None: unknown.

    Args:
        shapes: shape of every tensor by key, from `flatten_tensors`.
    """

    def fits(pattern: str, wanted: Shape | None) -> bool:
        return any(
            re.fullmatch(pattern, key) and (wanted is None or _has_shape(shape, wanted))
            for key, shape in shapes.items()
        )

    for kind in PUBLISHED_KINDS:
        if all(fits(pattern, wanted) for pattern, wanted in kind.keys.items()):
            return kind
    return None


def flatten_tensors(content: Any) -> dict[str, Any]:
    """Collect the tensors and arrays of a published file by dotted key.

    Keys of the state dict itself have no prefix; states of optimisers are skipped.

    Args:
        content: nested mappings, lists and tuples.

    Raises:
        CheckpointError: containers that contain themselves, or more of them than any checkpoint has.
    """
    found: dict[str, Any] = {}
    visited = 0

    def collect(value: Any, prefix: str, depth: int) -> None:
        nonlocal visited
        visited += 1
        if depth > MAX_DEPTH or visited > MAX_CONTAINERS:
            raise CheckpointError("the file nests its values without end: it is no checkpoint")
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in pairs:
            name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
            if hasattr(item, "shape") and hasattr(item, "dtype"):
                found[prefix + name] = item
            elif isinstance(item, Mapping | list | tuple) and "optim" not in name:
                collect(item, prefix if name in STATE_NAMES else f"{prefix}{name}.", depth + 1)

    collect(content, "", 0)
    return found


def stated_digest_prefix(path: str | Path) -> str:
    """First digits of the SHA-256 digest in a file name of torchvision (``name-HEX.pth``); "" if none."""
    stated = re.search(r"-([0-9a-f]{8,64})\.pth$", Path(path).name)
    return stated[1] if stated else ""


def _has_shape(shape: tuple[int, ...], wanted: Shape) -> bool:
    """Whether a shape is the wanted one."""
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted))
