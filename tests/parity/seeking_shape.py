"""Which check serves which case of seeking_shape."""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from parity.case import Book, Case


class Check(NamedTuple):
    """Module of the function that bears the case's name, and what tells such a case under another name."""

    module: str
    arrays: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()


CHECKS = {
    "audio_loading": Check("readers", fields=frozenset({"cases", "wave_rule"})),
    "checkpoint_layout": Check("networks", fields=frozenset({"training_checkpoint"})),
    "evaluation_end_to_end": Check("whole", fields=frozenset({"result_lines"})),
    "face_embedder": Check("networks", arrays=frozenset({"images_bgr_u8", "feat512", "embedding"})),
    "identity_reweighting": Check("course", arrays=frozenset({"hardness_f64", "weights"})),
    "image_transforms": Check("readers", fields=frozenset({"augmentations"})),
    "list_parsing": Check("readers", fields=frozenset({"triplet_resolution"})),
    "losses": Check("networks", arrays=frozenset({"z_face", "z_voice", "class_weight"})),
    "metrics": Check("figures", arrays=frozenset({"features", "identity"})),
    "published_lists_evaluation": Check("figures", fields=frozenset({"list_statistics"})),
    "schedule": Check("course", fields=frozenset({"schedules"})),
    "train_step": Check("networks", arrays=frozenset({"images_bgr_u8", "waves_i16", "losses"})),
    "voice_embedder": Check("networks", arrays=frozenset({"waves_i16", "feat512", "embedding"})),
    "voice_frontend": Check("networks", arrays=frozenset({"wave_i16", "window", "mel_fb"})),
}


def serves(name: str) -> bool:
    """Whether a case's name is one of ours, or one of ours with something added."""
    return _by_name(name) is not None


def check_for(case: Case) -> Callable[[Case, Book], None] | None:
    """The check of a case: by its name, else by what is in it."""
    name = _by_name(case.name)
    if name is None:
        arrays, fields = set(case.arrays), set(case.meta)
        fitting = [
            name for name, check in CHECKS.items() if check.arrays <= arrays and check.fields <= fields
        ]
        name = fitting[0] if len(fitting) == 1 else None
    if name is None:
        return None
    return getattr(importlib.import_module(f"parity.{CHECKS[name].module}"), name)


def _by_name(name: str) -> str | None:
    """The longest name of ours that is part of this one."""
    return max((ours for ours in CHECKS if ours in name), key=len, default=None)
