"""The invented people of a demo: those who are judged, and those whose voices are shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.suite.inference import Face, Voice
    from voiceface.synthetic.layout import Settings

PRESET = "quick"
VOICES_OF_A_SEX = 2
SEXES = {"f": "woman", "m": "man", "": "sex not known"}


@dataclass(frozen=True)
class Material:
    """The invented people of a demo.

    Attributes:
        root: population folder.
        settings: how it was made.
        corpus: its test people.
        ids: their identity numbers.
    """

    root: Path
    settings: "Settings"
    corpus: "Corpus"
    ids: tuple[int, ...]


def invent(root: Path, *, quick: bool, people: int | None = None, workers: int | None = None) -> Material:
    """The population, or of a quick demo its test and validation people alone; the same files either way."""
    from voiceface.association.data import open_split
    from voiceface.synthetic.layout import MARKER, Settings, name_of, settings_of
    from voiceface.synthetic.writer import write_population

    settings = settings_of(PRESET)
    if people is not None:
        settings = replace(settings, test=people)
    if quick:
        settings = replace(settings, train=0)
    if (root / MARKER).is_file():  # what is there may hold more people than are needed
        there = Settings(**read_settings(root))
        counts = {
            word: max(getattr(settings, word), getattr(there, word)) for word in ("train", "val", "test")
        }
        settings = replace(settings, **counts)
    write_population(root, settings, workers=workers)
    corpus = open_split(root, "test")
    if people is not None:
        corpus = corpus.subset(range(min(people, len(corpus))))
    numbers = {name_of(k, settings): k for k in settings.ids("test")}
    return Material(root, settings, corpus, tuple(numbers[p.identity.face_id] for p in corpus.people))


def read_settings(root: Path) -> dict[str, Any]:
    """Settings in the marker of a population folder, a finished one or not."""
    from voiceface.synthetic.layout import MARKER, PopulationError

    marker = root / MARKER
    try:
        found: dict[str, Any] = json.loads(marker.read_text("utf-8"))["settings"]
    except (ValueError, KeyError) as error:
        raise PopulationError(f"{marker} cannot be read ({error}); start again in a new folder") from error
    return found


def choose_voices(material: Material, trained_on: Sequence[Sequence[str]]) -> list[int]:
    """Rows of the first women and men of the test people whom nobody was trained on."""
    met = {name for names in trained_on for name in names}
    by_sex: dict[str, list[int]] = {"f": [], "m": []}
    for row, person in enumerate(material.corpus.people):
        rows = by_sex[person.identity.gender]
        if len(rows) < VOICES_OF_A_SEX and not met & {person.identity.face_id, person.identity.name}:
            rows.append(row)
    return [*by_sex["f"], *by_sex["m"]]


def voices_of(material: Material) -> "list[Voice]":
    """The first clip of every test person."""
    from voiceface.suite.inference import Voice

    corpus = material.corpus
    return [
        Voice(
            plain_name(person.identity.face_id),
            corpus.voice_path(person.voices[0]),
            person.identity.face_id,
            f"{SEXES[person.identity.gender]}, test person {k}",
        )
        for person, k in zip(corpus.people, material.ids)
    ]


def faces_of(material: Material) -> "list[Face]":
    """The first picture of every test person."""
    from voiceface.suite.inference import Face

    corpus = material.corpus
    return [
        Face(
            plain_name(person.identity.face_id), (corpus.face_path(person.faces[0]),), person.identity.face_id
        )
        for person in corpus.people
    ]


def plain_name(name: str) -> str:
    """The name of an invented person without its number."""
    return name.split(".")[0].replace("_", " ")
