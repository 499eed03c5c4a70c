"""Utterances to generate meshes from: of a corpus split, or of the published layout."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "LAST_VALIDATION_ID",
    "IdentityUtterances",
    "find_corpus_utterances",
    "find_published_utterances",
    "iterate_utterances",
]


LAST_VALIDATION_ID = "id10309"  # of VoxCeleb1: names from A to E


@dataclass(frozen=True)
class IdentityUtterances:
    """Utterances of one identity.

    Attributes:
        identity: name, and folder of its meshes.
        files: recordings or feature files.
        stems: name of each file's mesh, without suffix.
    """

    identity: str
    files: tuple[Path, ...]
    stems: tuple[str, ...]


def find_published_utterances(root: Path, utterances_per_identity: int = 3) -> list[IdentityUtterances]:
    """Find the identities and feature files that the published evaluation program uses.

    Ids in order up to id10309, named by the metadata, if `A2E_val/NAME` exists; the first files by video,
    then utterance.

    Args:
        root: folder with `vox1_meta.csv`, `fbank/` and `A2E_val/`.
        utterances_per_identity: at most.

    Raises:
        FileNotFoundError: a part is missing, or no identity is left.
    """
    from perceptionist.dataset.published_lists import read_identity_names

    for part in ("vox1_meta.csv", "fbank", "A2E_val"):
        if not (root / part).exists():
            raise FileNotFoundError(f"{root} has no {part}; expected vox1_meta.csv, fbank and A2E_val.")
    names = read_identity_names(root / "vox1_meta.csv")
    identities = []
    for folder in sorted(path for path in (root / "fbank").iterdir() if path.is_dir()):
        if folder.name > LAST_VALIDATION_ID:
            break
        name = names.get(folder.name)
        files = tuple(sorted(folder.glob("*/*.npy"))[:utterances_per_identity])
        if name and files and (root / "A2E_val" / name).is_dir():
            stems = tuple(f"{path.parent.name}_{path.stem}" for path in files)
            identities.append(IdentityUtterances(name, files, stems))
    if not identities:
        raise FileNotFoundError(
            f"No identity in {root / 'fbank'} up to {LAST_VALIDATION_ID} has a folder in {root / 'A2E_val'}."
        )
    return identities


def find_corpus_utterances(
    root: Path, split: str, utterances_per_identity: int = 3
) -> list[IdentityUtterances]:
    """Find the identities of a corpus split and some recordings of each, spread over its videos.

    Raises:
        FileNotFoundError, voiceface.datasets.corpus.CorpusError: no such corpus, or no recordings in the
        split.
    """
    from voiceface.datasets.corpus import open_corpus

    corpus = open_corpus(root, split, on_missing="skip")
    identities = []
    for record in corpus.records:
        voices = _select_evenly(record.voices, utterances_per_identity)
        stems = tuple("_".join(Path(voice).with_suffix("").parts[1:]) for voice in voices)
        files = tuple(Path(corpus.voice_path(voice)) for voice in voices)
        if voices:
            identities.append(IdentityUtterances(record.identity.face_id, files, stems))
    if not identities:
        raise FileNotFoundError(f"No identity in split {split} of {root} has recordings.")
    return identities


def iterate_utterances(
    identities: Iterable[IdentityUtterances],
) -> Iterator[tuple[IdentityUtterances, Path, str]]:
    """Iterate over (identity, file, stem of its mesh)."""
    for identity in identities:
        for path, stem in zip(identity.files, identity.stems, strict=True):
            yield identity, path, stem


def _select_evenly(items: Sequence[str], count: int) -> list[str]:
    """`count` items spread evenly over all of them."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
