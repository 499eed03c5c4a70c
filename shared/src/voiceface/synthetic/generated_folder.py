"""A population as a data folder without files: each file is generated when it is opened.

``population:standard?people=100000&seed=7`` stands for the folder that `voiceface population` would write:
every reader of the project that opens ``population:.../wav/<voice id>/<video>/00001.wav`` gets its bytes
(`voiceface.io.packed_folders`). Commands that need a whole data folder get its tables in a cache.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from voiceface.io.packed_folders import GENERATED_SCHEME
from voiceface.io.shard_folders import GENERATED_FORMAT, RECORD_FILE
from voiceface.synthetic.counter_rng import integers
from voiceface.synthetic.identities import compose_face_names, compose_video_id, voice_id
from voiceface.synthetic.layout import (
    POPULATION_FILE,
    VIEWS_FILE,
    PopulationError,
    PopulationSettings,
    build_settings,
)

if TYPE_CHECKING:
    from voiceface.synthetic.head.prepared import PreparedHead

__all__ = ["GeneratedFolder", "open_population", "parse_population", "write_population_tables"]

MAX_VIDEOS = 4
FOLDERS = ("faces", "unzippedFaces", "mesh")
MESH_SUFFIXES = (".obj", ".xyz", ".npy")
_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "people": ("num_identities", int),
    "seed": ("seed", int),
    "rho": ("rho", float),
    "nuisance": ("nuisance", float),
    "clips": ("clips", int),
    "clip_seconds": ("clip_seconds", float),
    "images": ("images", int),
    "image_size": ("render_size", int),
    "second_view": ("second_view", lambda text: bool(int(text))),
    "mesh": ("mesh", lambda text: bool(int(text))),
}


def parse_population(text: str) -> PopulationSettings:
    """Settings of ``population:PRESET?option=value&...``.

    Options are those of `voiceface population`: people (--identities), seed, rho, nuisance, clips,
    clip_seconds, images, image_size, second_view, mesh.

    Raises:
        PopulationError: an unknown preset or option, or a value out of range.

    Example:
        >>> parse_population("population:standard?people=100&seed=7").train
        76
    """
    preset, _, query = text.removeprefix(GENERATED_SCHEME).partition("?")
    changes: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _OPTIONS:
            raise PopulationError(f"{text}: no option {key!r}, expected some of {', '.join(_OPTIONS)}")
        name, convert = _OPTIONS[key]
        try:
            changes[name] = convert(value)
        except ValueError:
            raise PopulationError(f"{text}: {key}={value} is no number") from None
    try:
        settings = build_settings(preset, **changes)
    except ValueError as error:
        raise PopulationError(f"{text}: {error}") from None
    if settings.quirks or len(settings.ids()) == 0:
        raise PopulationError(f"{text} has to be written: voiceface population OUT --preset {preset}")
    return settings


class GeneratedFolder:
    """Files of a population, generated when they are read, in the bytes that `voiceface population` writes.

    Args:
        settings: of the population.

    Attributes:
        is_generated: True: a file is known by its name, opening it is expensive.
    """

    is_generated = True
    shard_names: tuple[str, ...] = ()

    def __init__(self, settings: PopulationSettings) -> None:
        self.settings = settings
        text = json.dumps(asdict(settings), sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._list_files = lru_cache(256)(self._list_files_of)
        self._prepare_face = lru_cache(4)(self._prepare_face_of)
        self._meshes = lru_cache(2)(self._meshes_of)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        if name in (POPULATION_FILE.as_posix(), VIEWS_FILE.as_posix()):
            return True
        owner = self._rows.get("/".join(name.split("/", 2)[:2]))
        return owner is not None and name in self._list_files(owner)

    def below(self, folder: str) -> Sequence[str]:
        """Names of the files below a folder, "" for all, sorted."""
        parts = folder.split("/", 2) if folder else []
        if len(parts) < 2:
            rows = range(len(self._ids))
            start = f"{folder}/" if folder else ""
            return sorted(name for row in rows for name in self._list_files(row) if name.startswith(start))
        owner = self._rows.get("/".join(parts[:2]))
        names = self._list_files(owner) if owner is not None else {}
        return sorted(name for name in names if name.startswith(f"{folder}/"))

    def stamp(self, name: str) -> tuple[int, str]:
        """Zero in place of the bytes, which are not known, and a digest of the settings."""
        return 0, self._digest

    def read(self, name: str) -> bytes:
        """Generate a file.

        Raises:
            KeyError: no such file.
        """
        if name == POPULATION_FILE.as_posix():
            return json.dumps({"complete": True, "settings": asdict(self.settings)}).encode()
        if name == VIEWS_FILE.as_posix():
            from voiceface.synthetic.tables import format_views

            return format_views(self.settings)
        row = self._rows["/".join(name.split("/", 2)[:2])]
        kind, number = self._list_files(row)[name]
        if kind == "wav":
            from voiceface.audio.loading import format_wav
            from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

            identities = self.settings.sample_identities([self._ids[row]])
            return format_wav(
                synthesise_clip(identities, 0, number, seconds=self.settings.clip_seconds).samples
            )
        return self._meshes(row)[number] if kind == "mesh" else self._render(row, number)

    def _meshes_of(self, row: int) -> list[bytes]:
        """Content of the files of `MESH_SUFFIXES`."""
        from voiceface.synthetic.writer import write_mesh

        number, name = self._ids[row], self._names[row]
        with tempfile.TemporaryDirectory() as folder:
            write_mesh(Path(folder), self.settings, number, self.settings.sample_identities([number]))
            base = Path(folder) / "mesh" / name
            return [(base / f"{name}{suffix}").read_bytes() for suffix in MESH_SUFFIXES]

    def _render(self, row: int, number: int) -> bytes:
        """Bytes of an image."""
        from voiceface.synthetic.head.render import render_image
        from voiceface.synthetic.writer import encode_jpeg

        settings = self.settings
        rendered = render_image(
            settings.sample_identities([self._ids[row]]),
            0,
            number,
            face=self._prepare_face(row),
            image_size=settings.render_size,
            nuisance=settings.nuisance,
            face_gain=settings.face_gain,
        )
        return encode_jpeg(rendered.image, rendered.jpeg_quality)

    def _prepare_face_of(self, row: int) -> "PreparedHead":
        """What the images of an identity share."""
        from voiceface.synthetic.head.render import prepare_face

        settings = self.settings
        identities = settings.sample_identities([self._ids[row]])
        return prepare_face(identities, 0, face_gain=settings.face_gain)

    @cached_property
    def _ids(self) -> list[int]:
        """Numbers of the identities."""
        return self.settings.ids()

    @cached_property
    def _names(self) -> list[str]:
        """Face names of the identities."""
        return compose_face_names(self._ids, seed=self.settings.seed)

    @property
    def _folders(self) -> list[str]:
        """Folders that hold one folder for each face name."""
        wanted = (True, self.settings.second_view, self.settings.mesh)
        return [name for name, is_wanted in zip(FOLDERS, wanted) if is_wanted]

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Folder of an identity -> row."""
        rows = {f"wav/{voice_id(k)}": row for row, k in enumerate(self._ids)}
        for place in self._folders:
            rows |= {f"{place}/{name}": row for row, name in enumerate(self._names)}
        return rows

    @cached_property
    def _words(self) -> tuple[list[int], list[list[int]]]:
        """Number of videos of every identity, and the words of their names."""
        seed, ids = self.settings.seed, np.array(self._ids)
        counts = 2 + integers(seed, ids, "shared", 0, 1, start=11)[:, 0] % np.uint64(3)
        return counts.tolist(), integers(seed, ids, "shared", 0, 2 * MAX_VIDEOS, start=64).tolist()

    def _list_files_of(self, row: int) -> dict[str, tuple[str, int]]:
        """Names of the files of an identity -> kind, number of the clip or image."""
        counts, words = self._words
        count, settings = counts[row], self.settings
        videos = [compose_video_id(*words[row][2 * video : 2 * video + 2]) for video in range(count)]
        root, name = f"wav/{voice_id(self._ids[row])}", self._names[row]
        files = {
            f"{root}/{videos[clip % count]}/{clip // count + 1:05d}.wav": ("wav", clip)
            for clip in range(settings.clips)
        }
        files |= {f"faces/{name}/{image + 1:08d}.jpg": ("jpg", image) for image in range(settings.images)}
        if settings.second_view:
            root = f"unzippedFaces/{name}/1.6"
            files |= {
                f"{root}/{videos[image % count]}/{25 * (image // count + 1):07d}.jpg": ("jpg", image)
                for image in range(settings.images)
            }
        if settings.mesh:
            files |= {
                f"mesh/{name}/{name}{suffix}": ("mesh", number) for number, suffix in enumerate(MESH_SUFFIXES)
            }
        return files


def open_population(text: str) -> GeneratedFolder:
    """Open ``population:...``; see `parse_population`."""
    return GeneratedFolder(parse_population(text))


def open_record(record: dict[str, Any]) -> GeneratedFolder:
    """Open the population of a folder that `write_population_tables` wrote.

    Raises:
        PopulationError: settings of another version.
    """
    try:
        return GeneratedFolder(PopulationSettings(**record["settings"]).require_current(RECORD_FILE))
    except (KeyError, TypeError) as error:
        raise PopulationError(f"{RECORD_FILE} is damaged ({error}); remove its folder") from None


def write_population_tables(text: str, cache: Path) -> Path:
    """Write the tables of ``population:...`` below a cache, unless they are there; no clip and no image.

    Returns:
        Folder that is read as a data folder.
    """
    from voiceface.io.atomic import write_json
    from voiceface.synthetic import tables

    settings = parse_population(text)
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()[:24]
    folder = cache / f"population-{digest}"
    if not (folder / RECORD_FILE).is_file():
        tables.write_tables(folder, settings, with_views=False)
        tables.write_population_file(folder, settings, POPULATION_FILE)
        write_json(
            folder / RECORD_FILE, {"format": GENERATED_FORMAT, "settings": asdict(settings), "shards": []}
        )
    return folder
