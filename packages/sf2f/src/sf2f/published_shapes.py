"""Generator configuration inferred from the shapes of a published state dict."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sf2f.network_config import (
    AnyDecoderConfig,
    AttnV2FDecoderConfig,
    EncoderConfig,
    FaceGanDecoderConfig,
    FaceGanV2DecoderConfig,
    FuserConfig,
    GeneratorConfig,
    MRDecoderConfig,
    V2FDecoderConfig,
)

__all__ = [
    "State",
    "generator_config_from_shapes",
]

State = Mapping[str, Tensor]


def generator_config_from_shapes(state: State) -> GeneratorConfig:
    """Infer the configuration of a generator with published parameter names.

    What shapes do not show is assumed as in the released option files of SF2F: normalised embeddings, no
    noise, no tanh.

    Raises:
        LookupError, ValueError: keys are missing, or the shapes match no network.
    """
    encoder = _encoder_config(state)
    return GeneratorConfig(
        encoder=encoder, fuser=_fuser_config(state, encoder.embedding_dim), decoder=_decoder_config(state)
    )


def _encoder_config(state: State) -> EncoderConfig:
    inception = "encoder.model.0.conv_k3.model.0.weight" in state
    kernel = "conv_k3.model.0.weight" if inception else "weight"
    convolutions = {
        int(m[1]): value
        for key, value in state.items()
        if (m := re.fullmatch(rf"encoder\.model\.(\d+)\.(?:{kernel}|weight)", key)) and value.ndim == 3
    }
    *inner, last = (convolutions[number] for number in sorted(convolutions))
    return EncoderConfig(
        n_mels=inner[0].shape[1],
        channels=tuple(len(weight) * (4 if inception else 1) for weight in inner),
        embedding_dim=len(last),
        inception=inception,
    )


def _fuser_config(state: State, embedding_dim: int) -> FuserConfig | None:
    keys = [key for key in state if key.startswith("encoder.attn_fuser.")]
    if not keys:
        return None
    has_two_layers = any(".attention_2." in key for key in keys)
    second = state.get("encoder.attn_fuser.attention_2.linear_out.weight")
    is_v3 = second is not None and second.shape[1] == 4 * embedding_dim
    return FuserConfig(
        kind="v3" if is_v3 else "v2" if has_two_layers else "v1",
        attention="general" if any("linear_in" in key for key in keys) else "dot",
        linear_out=any("linear_out" in key for key in keys),
    )


def _decoder_config(state: State) -> AnyDecoderConfig:
    def widths(pattern: str, axis: int, share: int = 1) -> tuple[int, ...]:
        found = {
            int(m[1]): value.shape[axis] // share
            for key, value in state.items()
            if (m := re.fullmatch(rf"decoder\.{pattern}", key))
        }
        return tuple(found[number] for number in sorted(found))

    norm = any(
        re.search(r"(base_block|DeConv2DBLK|model)\.?\d+\.model\.2\.running_var", key) for key in state
    )
    normalisation: Any = "batch" if norm else "none"
    if "decoder.fc.0.weight" in state:
        first = len(state["decoder.fc.0.weight"]) // 32
        if "decoder.up_mid_layer.1.weight" in state:
            return FaceGanV2DecoderConfig(
                channels=(first, *widths(r"up_low_layers\.(\d+)\.1\.weight", 0, 2)),
                mid_channels=len(state["decoder.up_mid_layer.1.weight"]) // 2,
                image_channels=len(state["decoder.gnet_low.2.weight"]),
            )
        return FaceGanDecoderConfig(
            channels=(first, *widths(r"up_layers\.(\d+)\.1\.weight", 0, 2)),
            image_channels=len(state["decoder.gnet.2.weight"]),
        )
    if "decoder.low_output_layer.model.0.weight" in state:
        outputs = {
            level: state.get(f"decoder.{level}_output_layer.model.0.weight")
            for level in ("low", "mid", "high")
        }
        low, mid, high = (None if weight is None else weight.shape for weight in outputs.values())
        assert low is not None
        return MRDecoderConfig(
            channels=widths(r"base_block\.(\d+)\.model\.0\.weight", 1),
            mid_channels=(mid or low)[0],
            high_channels=high[0] if high else None,
            normalisation=normalisation,
            use_up_blocks="decoder.mid_hidden_layer.1.weight" in state,
            extra_feature_map="decoder.mid_ef_block.projection.weight" in state,
            image_channels=low[1],
        )
    if "decoder.DeConv2DBLK0.model.0.weight" in state:
        *channels, image_channels = widths(r"DeConv2DBLK(\d+)\.model\.0\.weight", 1)
        keys = [f"decoder.AttnBlock{n}.attn_layer.attention.linear_out.weight" for n in range(len(channels))]
        attention = tuple(len(state[key]) if key in state else 0 for key in keys)
        return AttnV2FDecoderConfig(
            channels=tuple(channels),
            attention_channels=attention,
            normalisation=normalisation,
            image_channels=image_channels,
        )
    *channels, image_channels = widths(r"model\.(\d+)\.model\.0\.weight", 1)
    return V2FDecoderConfig(
        channels=tuple(channels), normalisation=normalisation, image_channels=image_channels
    )
