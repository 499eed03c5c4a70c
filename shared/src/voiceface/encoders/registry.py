"""Encoders by name: what is installed, what is missing, and how to get it."""

import importlib.util
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

from voiceface.encoders.interface import POPULATION, Encoder, EncoderError, Modality
from voiceface.encoders.names import REAL_DIMENSIONS, REAL_NETWORKS
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import find_installed

__all__ = ["NAME_FORMS", "EncoderStatus", "list_encoders", "load_encoder"]

NAME_FORMS = "real, onnx:FILE, the name of an association system (cmpc2), SYSTEM:CHECKPOINT, or table:FILE"
"""Forms of names that `load_encoder` accepts, for help texts and messages."""
HOW_TO_GET_REAL = "`voiceface models get real` fetches it"
HOW_TO_GET_ONNX = "`pip install 'voiceface-shared[onnx]'` brings onnxruntime"
HOW_TO_GET_KALDI = "`pip install 'voiceface-shared[augmentation]'` brings torchaudio, for Kaldi's filter bank"
TABLE_HINT = (
    "features made elsewhere: .npz, .parquet, .arrow, .feather, or FOP's .csv (VGGFace 4096, voices 512)"
)


@dataclass(frozen=True)
class EncoderStatus:
    """One line of `voiceface encoders`.

    Attributes:
        name: for `load_encoder`.
        modality: "voice" or "face".
        installed: whether it can be used now.
        dimension: length of a feature; 0: depends on the file or the weights.
        licence: of the weights; "" if it depends on the file.
        trained_on: as `EncoderInfo.trained_on`.
        hint: how to get it, or how to name it; one sentence.
    """

    name: str
    modality: Modality
    installed: bool
    dimension: int = 0
    licence: str = ""
    trained_on: tuple[str, ...] = ()
    hint: str = ""


def load_encoder(name: str, modality: Modality, *, device: str = "cpu") -> Encoder:
    """Load an encoder by name.

    Args:
        name: "real" (`voiceface models get real`); "onnx:FILE", where "onnx:FILE#kaldi80" or "#arcface112"
            names the front end (default: that of the modality); the name of an installed association system,
            whose bundled weights are used, or "SYSTEM:CHECKPOINT"; "table:FILE" (.npz, .parquet, .arrow,
            .feather, or FOP's .csv).
        modality: "voice" or "face".
        device: "cpu", "cuda" or "auto".

    Returns:
        The encoder.

    Raises:
        EncoderError: no such encoder, or a file that is none; states the remedy.
        voiceface.real.installation.MissingModelError: a network was not fetched; names the command.
        voiceface.checkpoints.published.CheckpointError: a checkpoint that cannot be used.
        ModuleNotFoundError: a package is missing; names the extra.
    """
    if modality not in get_args(Modality):
        raise EncoderError(f"modality is {modality!r}, expected voice or face")
    kind, _, rest = name.partition(":")
    if kind == "real" and not rest:
        from voiceface.encoders.real_encoders import load_real

        return load_real(modality, device)
    if kind in ("onnx", "table") and not rest:
        raise EncoderError(f"encoder {name!r} names no file, expected {kind}:FILE")
    if kind == "onnx":
        from voiceface.encoders.onnx_encoders import load_onnx

        return load_onnx(rest, modality)
    if kind == "table":
        from voiceface.encoders.table_encoders import load_table

        return load_table(rest, modality)
    from voiceface.encoders.system_encoders import find_association_systems, load_system

    systems = find_association_systems()
    if kind in systems and (rest or ":" not in name):
        return load_system(kind, modality, rest, device)
    known = ["real", "onnx", "table", *systems]
    near = get_close_matches(kind, known, 1)
    hint = f"did you mean {name.replace(kind, near[0], 1)!r}?" if near and near[0] != kind else ""
    raise EncoderError(f"no encoder {name!r}; {hint or f'expected {NAME_FORMS}'}")


def list_encoders() -> list[EncoderStatus]:
    """List the encoders that have a name, installed or not, and the forms of names, without loading any."""
    return [*_list_real(), *_list_systems(), *_list_forms()]


def _list_real() -> list[EncoderStatus]:
    found = []
    for modality, dimension in REAL_DIMENSIONS.items():
        needed = REAL_NETWORKS[modality]
        model = MODELS[needed[0]]
        installed = all(find_installed(each) is not None for each in needed)
        hint = "" if installed else HOW_TO_GET_REAL
        found.append(
            EncoderStatus("real", modality, installed, dimension, model.licence, model.trained_on, hint)
        )
    return found


def _list_systems() -> list[EncoderStatus]:
    from voiceface.encoders.system_encoders import (
        KNOWN_SYSTEMS,
        explain_unusable,
        find_association_systems,
    )

    installed, found = find_association_systems(), []
    for name in (*KNOWN_SYSTEMS, *sorted(set(installed) - set(KNOWN_SYSTEMS))):
        hint = f"`pip install ./packages/{name}` installs it"
        if name in installed:
            hint = explain_unusable(installed[name])
        bundled = not hint
        for modality in get_args(Modality):
            licence, people = ("MIT, as the project", (POPULATION,)) if bundled else ("", ())
            found.append(
                EncoderStatus(name, modality, bundled, licence=licence, trained_on=people, hint=hint)
            )
    return found


def _list_forms() -> list[EncoderStatus]:
    """Encoders by path, and whether their packages are installed."""
    onnx = importlib.util.find_spec("onnxruntime") is not None
    kaldi = importlib.util.find_spec("torchaudio") is not None
    missing = [hint for there, hint in ((onnx, HOW_TO_GET_ONNX), (kaldi, HOW_TO_GET_KALDI)) if not there]
    speaker = "; ".join(missing) or "speaker models on 80 bands of Kaldi: WeSpeaker, 3D-Speaker, sherpa-onnx"
    face = "ArcFace models of 112 pixels" if onnx else HOW_TO_GET_ONNX
    return [
        EncoderStatus("onnx:FILE", "voice", not missing, hint=speaker),
        EncoderStatus("onnx:FILE", "face", onnx, hint=face),
        *(EncoderStatus("table:FILE", modality, True, hint=TABLE_HINT) for modality in get_args(Modality)),
    ]
