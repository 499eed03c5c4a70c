"""Translation of option files of the published code to configurations of this package.

The published decoders ignore options for norm, activation, input width and image size; files may keep them as
long as the values are known to the published code, and sizes are those that it builds.
"""

from collections.abc import Mapping
from typing import Any

from voiceface.runtime.config import ConfigError, validate_config

from sf2f.discriminator_config import ACTIVATION_PATTERN, DiscriminatorsConfig
from sf2f.network_config import GeneratorConfig, LossConfig

__all__ = [
    "ATTN_DEFAULTS",
    "DECODER_DEFAULTS",
    "ENCODER_DEFAULTS",
    "FACEGAN_DEFAULTS",
    "FUSER_DEFAULTS",
    "FUSER_KINDS",
    "MR_DEFAULTS",
    "NORMS",
    "OPTIM_DEFAULTS",
    "SIZE_SUFFIXES",
    "V2F_DEFAULTS",
    "OptionTree",
    "discriminators_config_from_options",
    "generator_config_from_options",
    "loss_config_from_options",
]

OptionTree = Mapping[str, Any]
SIZE_SUFFIXES = ("", "_low", "_mid", "_high")
NORMS = ("none", "batch", "instance")
ENCODER_DEFAULTS = {
    "input_channel": 40,
    "channels": [256, 384, 576, 864],
    "output_channel": 512,
    "normalize_embedding": False,
    "add_noise": False,
    "inception_mode": False,
    "segments_fusion": False,
    "normalize_fusion": False,
    "return_seq": False,
    "fuser_arch": "AttentionFuserV1",
    "fuser_kwargs": {},
}
FUSER_DEFAULTS = {
    "dimensions": 512,
    "dim_out": None,
    "attention_type": "general",
    "ignore_tanh": False,
    "linear_out_layer": True,
}
FUSER_KINDS = {"AttentionFuserV1": "v1", "AttentionFuserV2": "v2", "AttentionFuserV3": "v3"}
V2F_DEFAULTS = {
    "input_channel": 512,
    "channels": [1024, 512, 256, 128, 64],
    "output_channel": 3,
    "normalization": "none",
}
FACEGAN_DEFAULTS = {
    "noise_dim": 512,
    "mlp_normalization": "none",
    "normalization": "batch",
    "activation": "leakyrelu-0.1",
    "image_size": None,
}
MR_DEFAULTS = {
    "input_channel": 512,
    "base_block_channels": [1024, 512, 256, 128, 64],
    "mid_block_channel": 32,
    "high_block_channel": None,
    "output_channel": 3,
    "normalization": "none",
    "use_up_block": False,
    "extra_feature_map": False,
}
ATTN_DEFAULTS = {
    "input_channel": 512,
    "cnn_channels": [1024, 512, 256, 128, 64],
    "attn_channels": [0, 0, 64, 0, 0],
    "output_channel": 3,
    "seq_in_dim": 512,
    "normalization": "none",
}
DECODER_DEFAULTS = {
    "V2FDecoder": V2F_DEFAULTS,
    "FaceGanDecoder": FACEGAN_DEFAULTS,
    "FaceGanDecoder_v2": FACEGAN_DEFAULTS,
    "MRDecoder": MR_DEFAULTS,
    "AttnV2FDecoder": ATTN_DEFAULTS,
}
OPTIM_DEFAULTS = {
    "d_loss_weight": 1.0,
    "d_img_weight": 1.0,
    "ac_loss_weight": 1.0,
    "cond_loss_weight": 1.0,
    "gan_loss_type": "gan",
    "l1_pixel_loss_weight": 0.0,
    "perceptual_loss_weight": -1.0,
    "cos_percept_loss_weight": 0.0,
}


def generator_config_from_options(tree: OptionTree, name: str = "the option file") -> GeneratorConfig:
    """Translate the section `generator`, checked against `data.image_size` if present.

    Args:
        tree: of an option file, or of a checkpoint's `options`.
        name: of the source, for messages.

    Raises:
        ConfigError: an unknown key or value, or inconsistent sizes.
    """
    section = _require_section(tree, "generator", name)
    where = f"{name}: generator"
    _require_one_of(section.get("arch", "EncoderDecoder"), ("EncoderDecoder",), f"{where}.arch")
    options = _require_section(section, "options", where)
    where += ".options"
    _require_known_keys(options, ("encoder_arch", "encoder_kwargs", "decoder_arch", "decoder_kwargs"), where)
    _require_one_of(options.get("encoder_arch", "V2F1DCNN"), ("V2F1DCNN",), f"{where}.encoder_arch")
    encoder = _with_defaults(options.get("encoder_kwargs", {}), ENCODER_DEFAULTS, f"{where}.encoder_kwargs")
    kind = _require_one_of(
        options.get("decoder_arch", "V2FDecoder"), tuple(DECODER_DEFAULTS), f"{where}.decoder_arch"
    )
    given = options.get("decoder_kwargs", {})
    decoder = _with_defaults(given, DECODER_DEFAULTS[kind], f"{where}.decoder_kwargs")
    for key in ("input_channel", "noise_dim", "seq_in_dim"):
        _require_equal(
            decoder.get(key), encoder["output_channel"], f"{where}.decoder_kwargs.{key}", "output_channel"
        )
    config = validate_config(
        {
            "encoder": {
                "n_mels": encoder["input_channel"],
                "channels": list(encoder["channels"]),
                "embedding_dim": encoder["output_channel"],
                "inception": encoder["inception_mode"],
                "normalise": encoder["normalize_embedding"],
                "noise_std": 0.05 if encoder["add_noise"] else 0.0,
            },
            "fuser": _fuser_values(encoder, f"{where}.encoder_kwargs")
            if encoder["segments_fusion"]
            else None,
            "decoder": _decoder_values(kind, decoder, f"{where}.decoder_kwargs"),
        },
        GeneratorConfig,
        where,
    )
    for place, size in (
        (f"{name}: data.image_size", _optional_section(tree, "data").get("image_size")),
        (f"{where}.decoder_kwargs.image_size", decoder.get("image_size")),
    ):
        if size is not None and list(size) != [config.image_sizes[-1]] * 2:
            raise ConfigError(
                f"{place} is {list(size)}, but {kind} always generates images of {config.image_sizes[-1]} "
                "pixels; state that size, or write a configuration of this package with other channels"
            )
    return config


def discriminators_config_from_options(
    tree: OptionTree, name: str = "the option file"
) -> DiscriminatorsConfig:
    """Translate the section `discriminator`, without those disabled by a negative weight in `optim`.

    Args:
        tree: of an option file.
        name: of the source, for messages.

    Raises:
        ConfigError: an unknown key, or an invalid backbone.
    """
    section = _require_section(tree, "discriminator", name)
    optim = _with_defaults(_optional_section(tree, "optim"), OPTIM_DEFAULTS, f"{name}: optim")
    kinds = {"image": "image", "identity": "identity", "condition": "cond"}
    known_keys = {
        "generic",
        "pgan_dis",
        "condition",
        *(k + suffix for k in kinds.values() for suffix in SIZE_SUFFIXES),
    }
    _require_known_keys(section, tuple(known_keys), f"{name}: discriminator")
    if section.get("pgan_dis"):
        raise ConfigError(f"{name}: discriminator.pgan_dis: the published code cannot run it; remove it")
    weights = {"image": "d_img_weight", "identity": "ac_loss_weight", "condition": "cond_loss_weight"}
    values: dict[str, list[Any]] = {}
    for kind, prefix in kinds.items():
        removed = optim["d_loss_weight"] < 0 or optim[weights[kind]] < 0
        sections = [prefix + suffix for suffix in SIZE_SUFFIXES if prefix + suffix in section]
        if kind == "condition":
            sections += ["condition"] * ("condition" in section)
        backbones = [_backbone_values(section, place, f"{name}: discriminator") for place in sections]
        values[kind] = [] if removed else backbones
    return validate_config(values, DiscriminatorsConfig, f"{name}: discriminator")


def loss_config_from_options(tree: OptionTree, name: str = "the option file") -> LossConfig:
    """Translate the section `optim`; negative weights become 0.

    Args:
        tree: of an option file, or any tree with a section `optim`.
        name: of the source, for messages.

    Raises:
        ConfigError: an unknown key, a wrong type, or a perceptual network other than FaceNet.
    """
    optim = _with_defaults(_require_section(tree, "optim", name), OPTIM_DEFAULTS, f"{name}: optim")
    _require_one_of(
        _optional_section(tree, "perceptual").get("arch", "FaceNetLoss"),
        ("FaceNetLoss",),
        f"{name}: perceptual.arch",
    )
    weight_keys = {
        "pixel": "l1_pixel_loss_weight",
        "adversarial": "d_loss_weight",
        "image": "d_img_weight",
        "identity": "ac_loss_weight",
        "condition": "cond_loss_weight",
        "perceptual": "perceptual_loss_weight",
        "cosine": "cos_percept_loss_weight",
    }
    weights = {
        field: _loss_weight(optim[option], f"{name}: optim.{option}") for field, option in weight_keys.items()
    }
    return validate_config({"gan_type": optim["gan_loss_type"], **weights}, LossConfig, f"{name}: optim")


def _fuser_values(encoder: OptionTree, where: str) -> dict[str, Any]:
    """Values of `FuserConfig`."""
    kind = FUSER_KINDS[_require_one_of(encoder["fuser_arch"], tuple(FUSER_KINDS), f"{where}.fuser_arch")]
    values = _with_defaults(encoder["fuser_kwargs"], FUSER_DEFAULTS, f"{where}.fuser_kwargs")
    for key in ("dimensions", "dim_out"):
        _require_equal(
            values[key], encoder["output_channel"], f"{where}.fuser_kwargs.{key}", "output_channel"
        )
    return {
        "kind": kind,
        "attention": values["attention_type"],
        "ignore_tanh": values["ignore_tanh"],
        "linear_out": values["linear_out_layer"],
        "normalise": encoder["normalize_fusion"],
    }


def _decoder_values(kind: str, values: OptionTree, where: str) -> dict[str, Any]:
    """Values of the decoder configuration."""
    if kind in ("FaceGanDecoder", "FaceGanDecoder_v2"):
        for key in ("normalization", "mlp_normalization"):
            _require_one_of(values[key], NORMS, f"{where}.{key}")
        if not ACTIVATION_PATTERN.fullmatch(str(values["activation"])):
            raise ConfigError(
                f"{where}.activation: expected relu, leakyrelu-SLOPE or none, found {values['activation']!r}"
            )
        return {"kind": "facegan_v2" if kind.endswith("_v2") else "facegan"}
    plain = {"image_channels": values["output_channel"], "normalisation": values["normalization"]}
    if kind == "MRDecoder":
        own = {
            "kind": "mr",
            "channels": list(values["base_block_channels"]),
            "mid_channels": values["mid_block_channel"],
            "high_channels": values["high_block_channel"],
            "use_up_blocks": values["use_up_block"],
            "extra_feature_map": values["extra_feature_map"],
        }
    elif kind == "AttnV2FDecoder":
        own = {
            "kind": "attn_v2f",
            "channels": list(values["cnn_channels"]),
            "attention_channels": list(values["attn_channels"]),
        }
    else:
        own = {"kind": "v2f", "channels": list(values["channels"])}
    return own | plain


def _backbone_values(section: OptionTree, place: str, where: str) -> dict[str, Any]:
    """Values of `BackboneConfig`: the section's own options override those of `generic`."""
    own, generic = (_require_section(section, each, where) for each in (place, "generic"))
    _require_known_keys(generic, ("normalization", "padding", "activation"), f"{where}.generic")
    _require_known_keys(
        own, ("arch", "num_id", "cond_dim", "normalization", "padding", "activation"), f"{where}.{place}"
    )
    values = {**generic, **own}
    if "arch" not in values:
        raise ConfigError(f"{where}.{place}.arch: missing, and it has no default")
    padding = values.get("padding", "same")
    return {
        "arch": values["arch"],
        "normalisation": values.get("normalization", "batch"),
        "activation": values.get("activation", "relu"),
        "padding": "explicit" if padding == "unused" else padding,
    }


def _loss_weight(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: expected a number, found {value!r}")
    return max(float(value), 0.0)


def _require_section(tree: OptionTree, key: str, where: str) -> OptionTree:
    if not isinstance(tree.get(key), Mapping):
        raise ConfigError(f"{where}: expected a section {key}, found {tree.get(key)!r}")
    return tree[key]


def _optional_section(tree: OptionTree, key: str) -> OptionTree:
    found = tree.get(key)
    return found if isinstance(found, Mapping) else {}


def _with_defaults(given: Any, defaults: OptionTree, where: str) -> dict[str, Any]:
    """Options merged into the defaults of the published constructor."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected a section, found {given!r}")
    _require_known_keys(given, tuple(defaults), where)
    return {**defaults, **given}


def _require_known_keys(section: OptionTree, keys: tuple[str, ...], where: str) -> None:
    import difflib

    for key in section:
        if key not in keys:
            matches = difflib.get_close_matches(str(key), keys, 1)
            hint = f"; did you mean {matches[0]}?" if matches else f"; known keys: {', '.join(sorted(keys))}"
            raise ConfigError(f"{where}: the published code has no key {key}{hint}")


def _require_one_of(value: Any, words: tuple[str, ...], where: str) -> str:
    if value not in words:
        raise ConfigError(f"{where}: expected {' or '.join(words)}, found {value!r}")
    return value


def _require_equal(value: Any, wanted: Any, where: str, other: str) -> None:
    if value is not None and value != wanted:
        raise ConfigError(f"{where} is {value!r}, but the encoder's {other} is {wanted!r}; they must agree")
