"""Rank images for a voice, or voices for an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.embedding import add_videos, find_files
from voiceface.io.file_facts import FileFacts
from voiceface.io.own_files import LeftOut, is_sound

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.metrics.impostor_scores import ImpostorScores
    from voiceface.report import RetrievalExamples

__all__ = [
    "RankedCandidate",
    "build_gallery",
    "describe_best",
    "describe_notes",
    "join_notes",
    "rank_gallery",
]


@dataclass(frozen=True)
class RankedCandidate:
    """Candidate of a query with its score.

    Attributes:
        name: file, or folder if files are grouped by folder.
        score: cosine, -1...1.
        files: the candidate's files.
        percentile: share of impostor pairs that score lower, 0...1; None if the weights hold no such scores.
        facts: what is known about the files, as far as they were measured.
    """

    name: str
    score: float
    files: tuple[Path, ...]
    percentile: float | None = None
    facts: tuple[FileFacts, ...] = ()

    @property
    def note(self) -> str:
        """What makes the score doubtful, in a few words; empty for most."""
        return join_notes(self.facts)

    def to_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        files = [each.to_values() for each in self.facts]
        return {"name": self.name, "score": self.score, "percentile": self.percentile, "files": files}


def rank_gallery(
    model: "Embedder",
    queries: Sequence[Path],
    gallery: Sequence[Path],
    *,
    by_folder: bool = False,
    workers: int = 2,
    left_out: list[LeftOut] | None = None,
    facts: dict[str, FileFacts] | None = None,
) -> tuple[dict[Path, list[RankedCandidate]], dict[str, str]]:
    """Rank candidates of the other modality for every query.

    Args:
        model: trained model.
        queries: utterances or images, all of one modality.
        gallery: files and folders of the other modality. Of a video the people are candidates for a voice,
            where faces are looked for, and the sound is one for a face.
        by_folder: treat each folder as one candidate, the mean of its files' unit embeddings.
        workers: loading threads.
        left_out: receives files of folders that are neither recordings nor pictures; None: they are logged.
        facts: receives what is known about the queries, by their names in the rankings.

    Returns:
        (query -> candidates, best first, ties by name; unreadable query or candidate -> reason).

    Raises:
        ValueError: mixed queries, no candidate of the other modality, or no readable query or candidate.
    """
    import numpy as np
    import torch

    from voiceface.association.embedding import embed

    query_voices, query_faces = find_files(queries, left_out)
    if query_voices and query_faces:
        raise ValueError("found utterances and images among the queries: give queries of one modality")
    voices, faces = find_files(gallery, left_out)
    candidates = add_videos(model, faces, voices) if query_voices else voices
    if not candidates:
        expected = "images" if query_voices else "utterances"
        hint = ""
        if query_voices and voices and not model.pictures.finds_faces:
            hint = "; people in videos are candidates with the networks of `voiceface models get real`"
        raise ValueError(
            f"no {expected} in the gallery {', '.join(map(str, gallery))}: nothing to rank{hint}"
        )
    query_table = embed(model, query_voices, query_faces, workers=workers)
    table = embed(model, *(([], candidates) if query_voices else (candidates, [])), workers=workers)
    if facts is not None:
        facts.update(query_table.facts)
    groups: dict[str, list[str]] = {}
    for item in table.items:
        groups.setdefault(str(Path(item).parent) if by_folder else item, []).append(item)
    items = list(groups.values())
    means = table.group_means(items)
    scores = model.score(torch.from_numpy(query_table.vectors), torch.from_numpy(means)).numpy()
    names = list(groups)
    known = model.impostor_scores
    # Of a folder the mean of the cosines with its files is compared, as impostor pairs are single files.
    shares = None if known is None else known.percentiles(scores * table.mean_resultant_lengths(items))
    rankings = {}
    for row, query in enumerate(query_table.items):
        order = np.lexsort((names, -scores[row]))
        rankings[Path(query)] = [
            RankedCandidate(
                names[i],
                float(scores[row, i]),
                tuple(dict.fromkeys(_file_of(item, table.facts) for item in items[i])),
                None if shares is None else float(shares[row, i]),
                tuple(table.facts[item] for item in items[i] if item in table.facts),
            )
            for i in order
        ]
    return rankings, query_table.failed | table.failed


def build_gallery(
    rankings: dict[Path, list[RankedCandidate]],
    *,
    title: str,
    top: int = 8,
    note: str = "",
    impostor_scores: "ImpostorScores | None" = None,
    facts: Mapping[str, FileFacts] | None = None,
    gallery_size: int | None = None,
) -> "RetrievalExamples":
    """Build the report entry of rankings without identity labels: queries with their best candidates.

    Args:
        rankings: from `rank_gallery`.
        title: title on the page.
        top: candidates shown of each query.
        note: a sentence below the title.
        impostor_scores: of the model; the page says whether the best candidate stands out.
        facts: what is known about the queries, from `rank_gallery`; the page shows their notes.
        gallery_size: number of candidates; None: the rankings hold all of them.
    """
    from voiceface.report import AudioSource, Photograph, ProbeRanking, RankedCandidate, RetrievalExamples

    def media(path: Path, known: FileFacts | None) -> dict:
        is_voice = is_sound(path) if known is None else known.kind == "recording"
        face = None if known is None else known.face
        return (
            {"audio": AudioSource(str(path), is_own=True)} if is_voice else {"image": Photograph(path, face)}
        )

    facts = facts or {}

    queries = []
    for query, ranked in rankings.items():
        candidates = [
            RankedCandidate(
                _short_name(each),
                rank,
                False,
                each.score,
                percentile=each.percentile,
                note=each.note,
                **media(each.files[0], _facts_of(each.files[0], each.facts)),
            )
            for rank, each in enumerate(ranked[:top], 1)
        ]
        queries.append(
            ProbeRanking(
                _with_folder(query),
                candidates,
                gallery_size=gallery_size or len(ranked),
                labels_known=False,
                note=" ".join(
                    text
                    for text in (
                        describe_notes(facts.get(query.as_posix())),
                        "" if impostor_scores is None else describe_best(ranked, gallery_size),
                    )
                    if text
                ),
                **media(_file_of(query.as_posix(), facts), facts.get(query.as_posix())),
            )
        )
    voices = queries[0].audio is not None
    if impostor_scores is not None:
        note = f"{note} Percentages: {impostor_scores.describe()}.".strip()
    return RetrievalExamples(title, "v2f" if voices else "f2v", queries, note)


def join_notes(facts: Sequence[FileFacts]) -> str:
    """Short notes about several files, each once: "small, blurred"."""
    return ", ".join(dict.fromkeys(note for each in facts for note in each.short_notes))


def describe_notes(facts: FileFacts | None) -> str:
    """Notes about a file as sentences; empty without notes."""
    return "" if facts is None else " ".join(f"{note[0].upper()}{note[1:]}." for note in facts.notes)


def describe_best(ranked: Sequence[RankedCandidate], gallery_size: int | None = None) -> str:
    """Say whether the best candidate of a query stands out, as a sentence; empty without percentiles.

    Args:
        ranked: candidates, best first.
        gallery_size: number of candidates; None: all are in `ranked`.
    """
    from voiceface.metrics.impostor_scores import ImpostorScores

    if ranked[0].percentile is None:
        return ""
    text = ImpostorScores.describe_best(ranked[0].percentile, gallery_size or len(ranked))
    return f"{text[0].upper()}{text[1:]}."


def _file_of(item: str, facts: Mapping[str, FileFacts]) -> Path:
    """File of an item of a table: several items may be faces of one picture."""
    return Path(facts[item].file if item in facts else item)


def _facts_of(path: Path, facts: Sequence[FileFacts]) -> FileFacts | None:
    """The first record of a file."""
    return next((each for each in facts if Path(each.file) == path), None)


def _short_name(candidate: RankedCandidate) -> str:
    """Name of a folder, or name of a file with its folder."""
    path = Path(candidate.name)
    return _with_folder(path) if path in candidate.files else path.name


def _with_folder(path: Path) -> str:
    """Name of a file with its folder, where it was given with one."""
    return f"{path.parent.name}/{path.name}".lstrip("/")
