"""Embed many utterances and images into one table."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from voiceface.io.file_facts import FileFacts
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS
from voiceface.io.own_files import LeftOut, find_own_files, log_left_out
from voiceface.io.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from voiceface.association.embedder import Embedder
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.faces.own_face import OwnFace
    from voiceface.faces.own_pictures import PictureReader

__all__ = ["add_videos", "describe_items", "embed", "find_files"]

SAVE_INTERVAL = 512  # pictures between two writes of the faces that were found


def find_files(
    paths: Iterable[str | Path], left_out: list[LeftOut] | None = None
) -> tuple[list[Path], list[Path]]:
    """Find utterances and images among files and, recursively, in folders, by their content.

    Args:
        paths: files and folders. Other files of a folder are left out, hidden ones skipped; see
            `voiceface.io.own_files`.
        left_out: receives the files that are left out; None: they are logged.

    Returns:
        (utterances, images), each in the order given, files of a folder sorted, without duplicates.

    Raises:
        FileNotFoundError: a path does not exist, or there are no utterances and images.
        ValueError: a given file is neither a recording nor a picture.
    """
    found = find_own_files(paths)
    if left_out is None:
        log_left_out(found.left_out)
    else:
        left_out += found.left_out
    if not found.sounds and not found.pictures:
        raise FileNotFoundError(f"no utterances or images in {', '.join(map(str, paths))}")
    return found.sounds, found.pictures


def add_videos(model: "Embedder", faces: Sequence[Path], sounds: Sequence[Path]) -> list[Path]:
    """Pictures, and the videos among recordings where faces are looked for: sources of faces for `embed`."""
    if not model.pictures.finds_faces:
        return list(faces)
    from voiceface.videos.own_videos import is_video

    return [*faces, *(path for path in sounds if is_video(path))]


def embed(
    model: "Embedder",
    voices: Sequence[Path],
    faces: Sequence[Path],
    *,
    relative_to: Path | None = None,
    cache: Path | None = None,
    workers: int = 2,
    progress: bool = True,
) -> "EmbeddingTable":
    """Embed all files into one table; unreadable files are skipped and listed in its `failed`.

    Its `facts` have what is known about the files beside their embeddings, such as notes. Long recordings are
    used as `model.long_recordings` says. Faces are found and cut out as `model.pictures` says; with its
    `every_face` a picture of several faces gives the items "photo.jpg#1", "photo.jpg#2" and so on.

    Args:
        model: trained model.
        voices: utterances.
        faces: images; of a video, where faces are looked for, each person is an item "clip.mp4#1".
        relative_to: items are named relative to this folder; None: by their paths.
        cache: folder for finished embeddings, from which a stopped run is resumed; None: no cache.
        workers: loading threads.
        progress: show progress bars.

    Raises:
        ValueError: a file is not below `relative_to`, no file can be read, or `VOICEFACE_SPEECH_FINDER` has
            another value than `voiceface.audio.recording_quality.choose_speech_finder` knows.
    """
    import numpy as np

    from voiceface.audio.recording_quality import choose_speech_finder
    from voiceface.embeddings.encoding import encode_files
    from voiceface.embeddings.table import EmbeddingError, EmbeddingTable

    facts: dict[str, FileFacts] = {}
    item_of = {path: _item_name(path, relative_to) for path in voices}

    averages = model.long_recordings.policy == "all"  # embeddings of windows; they are made while files load

    def load_recording(path: Path) -> "NDArray[np.float32]":
        samples, known = model.embed_recording(path) if averages else model.read_recording(path)
        if known is not None:
            facts[item_of[path]] = known
        return samples

    # `test` caches images read by another rule: their embeddings must not meet.
    cache = cache and cache / "own_files_3"
    sounds = None if cache is None else cache / f"spoken_parts_{choose_speech_finder()}"
    if sounds is not None and model.long_recordings != DEFAULT_LONG_RECORDINGS:
        sounds = sounds / str(model.long_recordings).replace(":", "_")
    recordings = _Files({item: path for path, item in item_of.items()}, load_recording, sounds)
    pictures = _find_pictures(model, faces, relative_to, cache, facts, workers, progress)
    tables: list[EmbeddingTable] = []
    failed: dict[str, str] = dict(pictures.failed)
    last_error = EmbeddingError(f"no files to embed: {'; '.join(failed.values())}", failed)
    for files, encode, batch, label in (
        (recordings, _keep if averages else model.encode_voices, model.voice_batch_size, "voices"),
        (pictures, model.encode_faces, model.face_batch_size, "faces"),
    ):
        if not files.paths:
            continue
        try:
            table = encode_files(
                list(files.paths),
                files.paths.__getitem__,
                files.load,
                encode,
                by_item=files.by_item,
                fingerprint=model.fingerprint,
                cache_dir=files.cache,
                batch_size=batch,
                workers=workers,
                on_error="skip",
                label=label,
                progress=progress,
                log_failures=False,
                facts=facts,
            )
        except EmbeddingError as error:
            if set(error.failures) != set(files.paths):
                raise
            last_error = error  # no file of this modality can be read; those of the other may be readable
            failed.update(error.failures)
        else:
            tables.append(table)
            failed.update(table.failed)
    if not tables:
        raise last_error
    return EmbeddingTable(
        [item for table in tables for item in table.items],
        np.concatenate([table.vectors for table in tables]),
        model.fingerprint,
        failed,
        {item: each for table in tables for item, each in table.facts.items()},
    )


def describe_items(table: "EmbeddingTable", voices: Sequence[Path], relative_to: Path | None = None) -> str:
    """What the embeddings of a table are of, in words: "2 utterances, 3 images and 1 person in videos".

    Args:
        table: from `embed`.
        voices: its utterances, as given to `embed`.
        relative_to: as given to `embed`.
    """
    utterances = {_item_name(path, relative_to) for path in voices}.intersection(table.items)
    known = [table.facts[item].face for item in table.items if item in table.facts]
    people = sum(face is not None and face.time is not None for face in known)
    images = len(table) - len(utterances) - people
    counts = (
        (len(utterances), counted(len(utterances), "utterance")),
        (images, counted(images, "image")),
        (people, counted(people, "person", "people") + " in videos"),
    )
    *first, last = [text for number, text in counts if number]
    return f"{', '.join(first)} and {last}" if first else last


def _keep(embeddings: "Tensor") -> "Tensor":
    """Return embeddings as they are."""
    return embeddings


class _Files(NamedTuple):
    """Files of one modality: item -> file, and how an item is loaded."""

    paths: dict[str, Path]
    load: "Callable[[Any], NDArray[np.float32]]"
    cache: Path | None
    by_item: bool = False
    failed: Mapping[str, str] = {}


def _find_pictures(
    model: "Embedder",
    paths: Sequence[Path],
    relative_to: Path | None,
    cache: Path | None,
    facts: dict[str, FileFacts],
    workers: int,
    progress: bool,
) -> _Files:
    """Items of pictures: their faces where faces are looked for, whose records go to `facts`."""
    reader = getattr(model, "pictures", None)
    if reader is None or not reader.finds_faces or not paths:
        return _Files({_item_name(path, relative_to): path for path in paths}, model.load_photograph, cache)
    from voiceface.faces.findings import findings_path, load_findings, save_findings
    from voiceface.runtime.progress import progress_bar
    from voiceface.videos.own_videos import is_video, read_video_face

    identity = reader.identity
    store = cache and findings_path(cache, identity)
    known = load_findings(store, identity) if store else {}
    stored = len(known)
    found: dict[str, OwnFace] = {}
    failed: dict[str, str] = {}
    videos = [path for path in paths if is_video(path)]
    pictures = [path for path in paths if path not in set(videos)]
    try:
        with progress_bar(description="finding faces", total=len(paths), enabled=progress) as bar:
            for path, faces in chain(
                reader.find(pictures, workers=workers, known=known), _find_people(reader, videos, known)
            ):
                name = _item_name(path, relative_to)
                if isinstance(faces, str):
                    failed[name] = faces
                else:
                    found |= {face.item.replace(path.as_posix(), name, 1): face for face in faces}
                bar.update(1)
                if store and len(known) >= stored + SAVE_INTERVAL:
                    save_findings(store, identity, known)
                    stored = len(known)
    finally:  # also after Ctrl-C
        if store and len(known) > stored:
            save_findings(store, identity, known)

    def load(face: "OwnFace") -> "NDArray[np.uint8]":
        seen = face.facts.face
        if seen is not None and seen.time is not None:
            return read_video_face(face.path, seen)
        return reader.load(face)

    facts |= {item: face.facts for item, face in found.items() if face.facts.face is not None}
    # Embeddings of pictures that were cut in different ways, or not at all, must not meet.
    place = None if cache is None else cache / findings_path(cache, identity).stem
    return _Files(
        {item: face.path for item, face in found.items()},
        lambda item: model.prepare_face(load(found[item]), found[item]),
        place,
        by_item=True,
        failed=failed,
    )


def _find_people(
    reader: "PictureReader", videos: Sequence[Path], known: dict[str, Any]
) -> "Iterator[tuple[Path, list[OwnFace] | str]]":
    """People of videos, as `PictureReader.find` gives the faces of pictures."""
    from voiceface.faces.findings import file_key, from_values, to_values
    from voiceface.videos.own_videos import find_people

    for path in videos:
        key = file_key(path)
        faces: list[OwnFace] | str
        if key in known:
            faces = from_values(path, known[key])
        else:
            try:
                faces = find_people(path, reader)
            except (ValueError, OSError) as error:
                faces = str(error)
            known[key] = to_values(faces)
        yield path, faces


def _item_name(path: Path, relative_to: Path | None) -> str:
    """Name of a file in the table."""
    if relative_to is not None and not path.is_relative_to(relative_to):
        raise ValueError(
            f"{path} is not below {relative_to} (--relative-to): give both relative to the same folder, or "
            "omit --relative-to"
        )
    return (path if relative_to is None else path.relative_to(relative_to)).as_posix()
