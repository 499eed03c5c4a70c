"""What tables of features state about the encoders that computed them."""

import json

from voiceface.embeddings.encoder_info import EncoderInfo, Modality, format_encoders
from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.interface import EncoderError

__all__ = ["format_encoders", "is_same_encoder", "stated_encoder", "stated_encoders"]

UNNAMED = "table:"  # begins the name of an encoder that is known by a table of its features alone


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
    """The encoder of one modality that a table states; another one where it states no such; None: none.

    Raises:
        EncoderError: it states several of this modality, or the statement cannot be read.
    """
    found = stated_encoders(table)
    wanted = [info for info in found if info.modality == modality]
    other = next((info for info in wanted if is_same_encoder(info, wanted[0]) is False), None)
    if other is not None:
        raise EncoderError(
            f"the table states two encoders of {modality}s, {wanted[0].name} and {other.name}, expected one; "
            "encode all files with one of them"
        )
    return wanted[0] if wanted else found[0] if found else None


def is_same_encoder(known: EncoderInfo, other: EncoderInfo) -> bool | None:
    """Whether features of two encoders may be mixed: by length, fingerprint, or name where one lacks it.

    Returns:
        None: it cannot be told. Features of tables that state no encoder have no name but the table's.
    """
    if known.dimension != other.dimension:
        return False
    if known.fingerprint and other.fingerprint:
        return known.fingerprint == other.fingerprint
    if any(each.name.startswith(UNNAMED) for each in (known, other)):
        return None
    return known.name == other.name
