"""Leak guard: which figures are contaminated, because an encoder was trained on the evaluated people."""

import re
from collections.abc import Collection, Iterable, Sequence

from voiceface.datasets.identities import Identity
from voiceface.encoders.interface import POPULATION, EncoderInfo

__all__ = ["PEOPLE_OF", "TITLES", "recognise_datasets", "training_overlap"]

TITLES = {
    "facescrub": "FaceScrub",
    "librispeech": "LibriSpeech",
    "mavceleb": "MAV-Celeb",
    "population": "the synthetic population",
    "vggface": "VGGFace",
    "vggface2": "VGGFace2",
    "voxceleb1": "VoxCeleb1",
    "voxceleb2": "VoxCeleb2",
}
"""Data sets by their names in `EncoderInfo.trained_on`."""
PEOPLE_OF = {"voxceleb1": ("vggface",), "voxceleb2": ("vggface2",)}
"""Data sets whose people are those of others, too: VoxCeleb1 was made for people of VGGFace (Nagrani et al.,
2017, section 3), VoxCeleb2 for people of VGGFace2 (Chung et al., 2018, section 3)."""
_SPELLINGS = (
    ("voxceleb1", re.compile(r"vox(celeb)?[-_ ]?1", re.IGNORECASE)),
    ("voxceleb2", re.compile(r"vox(celeb)?[-_ ]?2", re.IGNORECASE)),
    ("vggface2", re.compile(r"vgg[-_ ]?face[-_ ]?2", re.IGNORECASE)),
    ("vggface", re.compile(r"vgg[-_ ]?face1?(?![-_ ]?2)|VGG_ALL_FRONTAL", re.IGNORECASE)),
    ("librispeech", re.compile(r"libri[-_ ]?speech", re.IGNORECASE)),
    ("facescrub", re.compile(r"face[-_ ]?scrub", re.IGNORECASE)),
    ("mavceleb", re.compile(r"mav[-_ ]?celeb", re.IGNORECASE)),
)
_SYNTHETIC_NAME = re.compile(r".+\.\d{5,7}")
_VOICE_IDS = (("voxceleb1", re.compile(r"id1[01]\d{3}")), ("voxceleb2", re.compile(r"id0\d{4}")))
MIN_SHARE = 0.5
MAX_NAMED = 3


def recognise_datasets(name: str = "", identities: Sequence[Identity | str] = ()) -> tuple[str, ...]:
    """Recognise published data sets by a name, such as that of a folder, and by the ids of their people.

    Args:
        name: of the data set or of its folder.
        identities: rows of an identity table, or names; those of VoxCeleb are recognised by ids such as
            id10270 where at least half of the people have them. Synthetic people, who have such ids, too, are
            recognised by names such as Brumo_Tal.00042.

    Returns:
        Names as in `TITLES`, with those of `PEOPLE_OF`; of synthetic people "population" alone.

    Example:
        >>> recognise_datasets("VoxCeleb1_test")
        ('voxceleb1', 'vggface')
    """
    names = [each if isinstance(each, str) else each.face_id or each.name for each in identities]
    if _is_common(_SYNTHETIC_NAME, names):
        return (POPULATION,)
    found = [dataset for dataset, pattern in _SPELLINGS if pattern.search(name)]
    ids = [each if isinstance(each, str) else each.voice_id for each in identities]
    found += [dataset for dataset, pattern in _VOICE_IDS if _is_common(pattern, ids)]
    also = (each for dataset in found for each in (dataset, *PEOPLE_OF.get(dataset, ())))
    return tuple(dict.fromkeys(also))


def training_overlap(
    encoders: Iterable[EncoderInfo],
    dataset: str = "",
    identities: Sequence[Identity | str] = (),
) -> list[str]:
    """Say which figures are contaminated by the training people of frozen encoders.

    Args:
        encoders: what is known about the encoders.
        dataset: name of the evaluated data set, or of its folder.
        identities: the evaluated people: rows of an identity table, or names.

    Returns:
        One sentence per encoder whose training people are, or may be, among the evaluated ones; none where
        they are known not to be.
    """
    evaluated = [each for each in recognise_datasets(dataset, identities) if each != POPULATION]
    people = [{each} if isinstance(each, str) else {each.name, each.face_id} for each in identities]
    sentences = []
    for encoder in dict.fromkeys(encoders):
        who = f"The {encoder.modality} encoder {encoder.name}"
        common = [each for each in encoder.trained_on if each in evaluated]
        training = set(encoder.identities)
        known = sorted({min(names & training) for names in people if names & training})
        if common:
            sets = " and ".join(TITLES.get(each, each) for each in common)
            sentences.append(
                f"{who} was trained on {sets}, whose people are evaluated here: every figure that uses its "
                f"{encoder.modality} features (matching, verification, retrieval, both directions) is "
                "contaminated and says nothing about people whom it never met."
            )
        elif known:
            sentences.append(
                f"{who} was trained on {len(known)} of the {len(people)} evaluated people "
                f"({_abbreviate(known)}): figures that use its features of them are contaminated."
            )
        elif not encoder.trained_on and not encoder.identities and evaluated:
            sets = " and ".join(TITLES[each] for each in evaluated)
            sentences.append(
                f"It is not known on whom the {encoder.modality} encoder {encoder.name} was trained: if "
                f"people of {sets} are among them, every figure that uses its features is contaminated."
            )
    return sentences


def _is_common(pattern: re.Pattern[str], texts: Sequence[str]) -> bool:
    """Whether at least half of some texts match."""
    matching = sum(pattern.fullmatch(text) is not None for text in texts)
    return bool(texts) and matching >= MIN_SHARE * len(texts)


def _abbreviate(names: Collection[str]) -> str:
    """The first names, and dots for the others."""
    shown = list(names)[:MAX_NAMED]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")
