"""What tables of embeddings state about the encoders that computed them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

__all__ = ["POPULATION", "EncoderInfo", "Modality", "format_encoders"]

Modality = Literal["voice", "face"]
POPULATION = "population"
"""Name in `EncoderInfo.trained_on` of the synthetic population."""


@dataclass(frozen=True)
class EncoderInfo:
    """What is known about an encoder.

    Attributes:
        name: by which `voiceface.encoders.load_encoder` loads it.
        modality: "voice" or "face".
        dimension: length D of a feature.
        licence: of the weights, as their makers state it.
        wants: a sentence about its input.
        trained_on: names of the data sets that it was trained on, in small letters; empty: not known.
        disclaimer: text to show with every output, or empty.
        fingerprint: hash of weights and front end; features of one fingerprint may be mixed.
        identities: names of its training identities, where its checkpoint states them.
    """

    name: str
    modality: Modality
    dimension: int
    licence: str = ""
    wants: str = ""
    trained_on: tuple[str, ...] = ()
    disclaimer: str = ""
    fingerprint: str = ""
    identities: tuple[str, ...] = ()

    def to_values(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "EncoderInfo":
        """Build from values of `to_values`.

        Raises:
            ValueError: missing values or values of other types.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        texts = ("name", "modality", "licence", "wants", "disclaimer", "fingerprint")
        lists = ("trained_on", "identities")
        if not {"name", "modality", "dimension"} <= set(known):
            raise ValueError("it has no name, modality and dimension of an encoder")
        if known["modality"] not in get_args(Modality) or type(known["dimension"]) is not int:
            raise ValueError(
                f"no encoder of modality {known['modality']!r}, dimension {known['dimension']!r}"
            )
        if not all(isinstance(known.get(name, ""), str) for name in texts):
            raise ValueError(f"an encoder with a value that is no text among {', '.join(texts)}")
        for name in lists:
            value = known.get(name, ())
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                raise ValueError(f"an encoder whose {name} is no list of names")
            known[name] = tuple(value)
        return cls(**known)


def format_encoders(infos: Iterable[EncoderInfo]) -> str:
    """Text for `EmbeddingTable.encoder`, one entry per encoder."""
    return json.dumps([info.to_values() for info in infos], sort_keys=True)
