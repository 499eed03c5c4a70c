"""The synthetic identities of a demo: test identities and the identities shown on cards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.suite.inference import GalleryEntry, Utterance
    from voiceface.synthetic.layout import PopulationSettings

PRESET = "quick"
VOICES_PER_GENDER = 2
GENDER_LABELS = {"f": "woman", "m": "man", "": "sex not known"}


@dataclass(frozen=True)
class DemoData:
    """The synthetic identities of a demo.

    Attributes:
        root: population folder.
        settings: how it was made.
        corpus: its test identities.
        ids: their identity numbers.
    """

    root: Path
    settings: "PopulationSettings"
    corpus: "Corpus"
    ids: tuple[int, ...]


def generate_demo_data(
    root: Path, *, pretrained: bool, num_identities: int | None = None, workers: int | None = None
) -> DemoData:
    """The population, or of a quick demo its test and validation identities alone; the same files either
    way.
    """
    from voiceface.association.data import load_split
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationSettings, build_settings, get_face_name
    from voiceface.synthetic.writer import write_population

    settings = build_settings(PRESET)
    if num_identities is not None:
        settings = replace(settings, test=num_identities)
    if pretrained:
        settings = replace(settings, train=0)
    if (root / POPULATION_FILE).is_file():  # what is there may hold more identities than are needed
        there = PopulationSettings(**read_settings(root))
        counts = {
            word: max(getattr(settings, word), getattr(there, word)) for word in ("train", "val", "test")
        }
        settings = replace(settings, **counts)
    write_population(root, settings, workers=workers)
    corpus = load_split(root, "test")
    if num_identities is not None:
        corpus = corpus.subset(range(min(num_identities, len(corpus))))
    numbers = {get_face_name(k, settings): k for k in settings.ids("test")}
    return DemoData(root, settings, corpus, tuple(numbers[p.identity.face_id] for p in corpus.records))


def read_settings(root: Path) -> dict[str, Any]:
    """Settings in the marker of a population folder, a finished one or not."""
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationError

    marker = root / POPULATION_FILE
    try:
        found: dict[str, Any] = json.loads(marker.read_text("utf-8"))["settings"]
    except (ValueError, KeyError) as error:
        raise PopulationError(f"{marker} cannot be read ({error}); start again in a new folder") from error
    return found


def choose_card_rows(data: DemoData, training_identities: Sequence[Sequence[str]]) -> list[int]:
    """Rows of the first women and men of the test identities whom nobody was trained on."""
    met = {name for names in training_identities for name in names}
    by_sex: dict[str, list[int]] = {"f": [], "m": []}
    for row, person in enumerate(data.corpus.records):
        rows = by_sex[person.identity.gender]
        if len(rows) < VOICES_PER_GENDER and not met & {person.identity.face_id, person.identity.name}:
            rows.append(row)
    return [*by_sex["f"], *by_sex["m"]]


def build_utterances(data: DemoData) -> "list[Utterance]":
    """The first clip of every test identity."""
    from voiceface.suite.inference import Utterance

    corpus = data.corpus
    return [
        Utterance(
            strip_number(person.identity.face_id),
            corpus.voice_path(person.voices[0]),
            person.identity.face_id,
            f"{GENDER_LABELS[person.identity.gender]}, test identity {k}",
        )
        for person, k in zip(corpus.records, data.ids)
    ]


def build_gallery(data: DemoData) -> "list[GalleryEntry]":
    """The first image of every test identity."""
    from voiceface.suite.inference import GalleryEntry

    corpus = data.corpus
    return [
        GalleryEntry(
            strip_number(person.identity.face_id),
            (corpus.face_path(person.faces[0]),),
            person.identity.face_id,
        )
        for person in corpus.records
    ]


def strip_number(name: str) -> str:
    """The name of a synthetic identity without its number."""
    return name.split(".")[0].replace("_", " ")
