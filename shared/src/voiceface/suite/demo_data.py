"""The synthetic identities of a demo: test identities and the identities shown on cards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.io.foreign_files import read_json

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.suite.inference import GalleryEntry, Utterance
    from voiceface.synthetic.layout import PopulationSettings

__all__ = [
    "PRESET",
    "DemoData",
    "build_gallery",
    "build_utterances",
    "choose_card_rows",
    "generate_demo_data",
    "read_settings",
    "strip_number",
]

PRESET = "quick"
VOICES_PER_GENDER = 2
GENDER_LABELS = {"f": "woman", "m": "man", "": "sex not known"}


@dataclass(frozen=True)
class DemoData:
    """The synthetic identities of a demo.

    Attributes:
        root: population folder.
        settings: its settings.
        corpus: its test identities.
        ids: numbers of the test identities.
    """

    root: Path
    settings: "PopulationSettings"
    corpus: "Corpus"
    ids: tuple[int, ...]


def generate_demo_data(
    root: Path, *, pretrained: bool, num_identities: int | None = None, workers: int | None = None
) -> DemoData:
    """Generate the population; `pretrained` omits the training identities, all other files are the same."""
    from voiceface.association.data import load_split
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationSettings, build_settings, get_face_name
    from voiceface.synthetic.writer import write_population

    settings = build_settings(PRESET)
    if num_identities is not None:
        settings = replace(settings, test=num_identities)
    if pretrained:
        settings = replace(settings, train=0)
    if (root / POPULATION_FILE).is_file():  # it may have more identities than needed
        existing = PopulationSettings(**read_settings(root))
        splits = ("train", "val", "test")
        counts = {split: max(getattr(settings, split), getattr(existing, split)) for split in splits}
        settings = replace(settings, **counts)
    write_population(root, settings, workers=workers)
    corpus = load_split(root, "test")
    if num_identities is not None:
        corpus = corpus.subset(range(min(num_identities, len(corpus))))
    ids = {get_face_name(k, settings): k for k in settings.ids("test")}
    return DemoData(root, settings, corpus, tuple(ids[record.identity.face_id] for record in corpus.records))


def read_settings(root: Path) -> dict[str, Any]:
    """Read the settings of a population folder, finished or not."""
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationError

    marker = root / POPULATION_FILE
    remedy = "start again in a new folder"
    state = read_json(marker, PopulationError, "settings of a population", remedy=remedy)
    if not isinstance(state.get("settings"), dict):
        raise PopulationError(f"{marker} has no settings; {remedy}")
    return state["settings"]


def choose_card_rows(data: DemoData, training_identities: Sequence[Sequence[str]]) -> list[int]:
    """Rows of the first female and male test identities that occur in no training set."""
    training_names = {name for names in training_identities for name in names}
    by_gender: dict[str, list[int]] = {"f": [], "m": []}
    for row, record in enumerate(data.corpus.records):
        rows, names = by_gender[record.identity.gender], {record.identity.face_id, record.identity.name}
        if len(rows) < VOICES_PER_GENDER and not training_names & names:
            rows.append(row)
    return [*by_gender["f"], *by_gender["m"]]


def build_utterances(data: DemoData) -> "list[Utterance]":
    """The first utterance of every test identity."""
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
