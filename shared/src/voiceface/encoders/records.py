"""What tables of features state about the encoders that computed them."""

import json
from collections.abc import Iterable

from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.interface import EncoderError, EncoderInfo, Modality

__all__ = ["format_encoders", "stated_encoder", "stated_encoders"]


def format_encoders(infos: Iterable[EncoderInfo]) -> str:
    """Text for `EmbeddingTable.encoder`, one entry per encoder."""
    return json.dumps([info.to_values() for info in infos], sort_keys=True)


def stated_encoders(table: EmbeddingTable) -> tuple[EncoderInfo, ...]:
    """Encoders that a table states; empty: none.

    Raises:
        EncoderError: the statement cannot be read.
    """
    if not table.encoder:
        return ()
    try:
        values = json.loads(table.encoder)
        if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
            raise ValueError("no list of encoders")
        return tuple(EncoderInfo.from_values(each) for each in values)
    except ValueError as error:
        raise EncoderError(f"what a table states about its encoder cannot be read ({error})") from None


def stated_encoder(table: EmbeddingTable, modality: Modality) -> EncoderInfo | None:
    """The encoder of one modality that a table states; another one where it states no such; None: none."""
    found = stated_encoders(table)
    return next((info for info in found if info.modality == modality), found[0] if found else None)
