"""A synthetic tree in the layout of MAV-Celeb: people who speak one or both of two synthetic languages.

The languages are two phone inventories of the synthesiser (`voiceface.synthetic.voice.phonetics.INVENTORIES`)
under the names that the version has. Training identities speak both languages or one, identities of the test
both, as in MAV-Celeb v1. The voice of a person is the same in both; clips and images of a language are of
their own. Identities are those of the population: of its training and validation splits for training, of its
test split for the test.

Slots of the counters, stream "lists": item 2: 0 whether both languages, 1 which one; item 3 + language, of
the identities of the test: from 0 order of clips, from 1024 order of images, from 2048 three per clip (face
of the matching pair, other identity, face of the other pair); from 65536 order of the pairs, two per clip,
and from 131072 their keys.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.mavceleb.layout import LANGUAGES, SPEAKER_HEADER, SPEAKER_TABLE, TRUTH_FOLDER
from voiceface.datasets.mavceleb.lists import PairList, write_pair_list
from voiceface.io.atomic import write_bytes, write_json, write_text
from voiceface.io.foreign_files import read_json
from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.counter_rng import integers, uniforms
from voiceface.synthetic.identities import get_clip_video, get_image_video, num_videos, video_id, voice_id
from voiceface.synthetic.layout import POPULATION_FILE, PopulationError, PopulationSettings
from voiceface.synthetic.writer import encode_jpeg

__all__ = ["BILINGUAL", "LANGUAGE_STRIDE", "TestPlan", "plan_test", "spoken_languages", "write_mavceleb"]

BILINGUAL = 0.75
"""Share of the training identities that speak both languages."""
LANGUAGE_STRIDE = 12_000
"""Clips and images of the second language have numbers from here on; a multiple of every number of videos."""
_FACE_ORDER, _PAIRS, _PAIR_ORDER, _KEYS = 1 << 10, 1 << 11, 1 << 16, 1 << 17
_KEY_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class TestPlan:
    """Files and pairs of the test of one language.

    Attributes:
        clips: (identity, clip) of voices/LANGUAGE/00000.wav, 00001.wav and so on.
        images: (identity, image) of faces/LANGUAGE/00000.jpg and so on.
        pairs: the test list with labels: every clip once with a face of its own person, once of another.
    """

    clips: list[tuple[int, int]]
    images: list[tuple[int, int]]
    pairs: PairList


def spoken_languages(
    identity: int, split: str, *, seed: int, bilingual: float = BILINGUAL
) -> tuple[int, ...]:
    """Return which of the two languages an identity speaks: (0, 1), (0,) or (1,).

    Args:
        identity: identity number.
        split: "train" or "test"; identities of the test speak both.
        seed: population seed.
        bilingual: share of the training identities that speak both, 0 to 1.
    """
    both, which = uniforms(seed, identity, "lists", 2, 2)
    return (0, 1) if split == "test" or both < bilingual else (int(which >= 0.5),)


def plan_test(settings: PopulationSettings, language: int, name: str) -> TestPlan:
    """Plan the test of one language.

    Args:
        settings: the population; its test identities are used.
        language: 0 or 1.
        name: of the language.
    """
    seed, ids = settings.seed, np.array(settings.ids("test"), np.int64)
    count, item = len(ids), 3 + language
    clips = _shuffled(seed, ids, item, settings.clips, 0)
    images = _shuffled(seed, ids, item, settings.images, _FACE_ORDER)
    clip_number = {file: number for number, file in enumerate(clips)}
    image_number = {file: number for number, file in enumerate(images)}
    draws = integers(seed, ids, "lists", item, 3 * settings.clips, _PAIRS).reshape(count, settings.clips, 3)
    faces = (draws[..., ::2] % np.uint64(settings.images)).astype(np.int64)
    other = (np.arange(count)[:, None] + 1 + (draws[..., 1] % np.uint64(count - 1)).astype(np.int64)) % count
    rank = integers(seed, ids, "lists", item, 2 * settings.clips, _PAIR_ORDER).reshape(-1)
    rows: list[tuple[int, int, int]] = []
    for place, k in enumerate(ids.tolist()):
        for clip in range(settings.clips):
            voice = clip_number[k, clip]
            own, foreign = faces[place, clip].tolist()
            rows.append((1, voice, image_number[k, own]))
            rows.append((0, voice, image_number[int(ids[other[place, clip]]), foreign]))
    rows = [rows[index] for index in np.argsort(rank, kind="stable").tolist()]
    pairs = PairList(
        f"{name}_test",
        _draw_keys(seed, int(ids[0]), item, len(rows)),
        tuple(f"voices/{name}/{voice:05d}.wav" for _, voice, _ in rows),
        tuple(f"faces/{name}/{face:05d}.jpg" for *_, face in rows),
        np.array([label for label, *_ in rows], np.int8),
    )
    return TestPlan(clips, images, pairs)


def write_mavceleb(
    out: str | Path,
    settings: PopulationSettings,
    version: str = "v1",
    *,
    bilingual: float = BILINGUAL,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a tree, or resume an interrupted run; the files depend on the arguments only, not on `workers`.

    Args:
        out: output folder; the tree is written into OUT/VERSION: new, empty, or of the same settings.
        settings: the population: numbers of identities, clips and images per language, sizes, coupling, seed.
        version: "v1", "v2" or "v3", which names the languages.
        bilingual: share of the training identities that speak both languages, 0 to 1.
        workers: processes; None uses every core.
        progress: show a bar on standard error.

    Returns:
        OUT/VERSION.

    Raises:
        PopulationError: fewer than 2 identities for training or for the test, no clips or images, an unknown
            version, or a folder with other content or settings.
    """
    _check_settings(settings.require_current(), version, bilingual)
    root, languages = Path(out) / version, LANGUAGES[version]
    state = {"layout": "mavceleb", "version": version, "bilingual": bilingual, "settings": asdict(settings)}
    if not _is_complete(root, state):
        write_json(root / POPULATION_FILE, {"complete": False, **state})
    for partial in root.rglob(".*.part*"):
        partial.unlink(missing_ok=True)
    plans = [plan_test(settings, number, name) for number, name in enumerate(languages)]
    jobs = [
        _Job(root, settings, k, tuple(_files(settings, k, split, languages, bilingual, plans)))
        for split in ("train", "test")
        for k in _ids(settings, split)
    ]
    for _ in map_unordered(_write_identity, jobs, workers, f"{root}", "identity", progress=progress):
        pass
    for plan, name in zip(plans, languages):
        write_pair_list(root / "lists" / f"{name}_test.txt", plan.pairs)
        write_pair_list(root / TRUTH_FOLDER / f"{name}_test.txt", plan.pairs, labelled=True)
        sides = {"voices": ("wav", plan.clips), "faces": ("jpg", plan.images)}
        rows = [
            f"{side}/{name}/{number:05d}.{ending},{voice_id(k)}\n"
            for side, (ending, files) in sides.items()
            for number, (k, _) in enumerate(files)
        ]
        write_text(root / TRUTH_FOLDER / f"{name}_test_files.csv", "file,identity\n" + "".join(rows))
    _write_speakers(root, settings, languages, bilingual)
    disclaimer = "Synthetic population: generated voices, faces and languages, no real people."
    write_json(root / POPULATION_FILE, {"complete": True, "disclaimer": disclaimer, **state})
    return root


@dataclass(frozen=True)
class _File:
    """One file of an identity: its path, kind ("wav" or "jpg"), language and number."""

    path: str
    kind: str
    language: int
    number: int


@dataclass(frozen=True)
class _Job:
    root: Path
    settings: PopulationSettings
    identity: int
    files: tuple[_File, ...]


def _ids(settings: PopulationSettings, split: str) -> list[int]:
    """Identities of the training (with those of the population's validation split) or of the test."""
    return settings.ids("test") if split == "test" else sorted(settings.ids("train") + settings.ids("val"))


def _check_settings(settings: PopulationSettings, version: str, bilingual: float) -> None:
    wrong = []
    if version not in LANGUAGES:
        wrong.append(f"unknown version {version!r}, expected one of {', '.join(LANGUAGES)}")
    for split in ("train", "test"):
        if (count := len(_ids(settings, split))) < 2:
            wrong.append(f"{count} identities for {split}, expected at least 2")
    if not (0 < settings.clips <= _FACE_ORDER and 0 < settings.images <= _FACE_ORDER):
        wrong.append(f"{settings.clips} clips and {settings.images} images, expected 1 to {_FACE_ORDER}")
    if not 0 <= bilingual <= 1:
        wrong.append(f"the share of bilinguals is {bilingual}, expected 0 to 1")
    if settings.quirks or settings.second_view or settings.mesh:
        wrong.append("unusual files, a second view and meshes are not part of this layout")
    if wrong:
        raise PopulationError("; ".join(wrong))


def _is_complete(root: Path, state: dict[str, Any]) -> bool:
    """Whether a run with this state is complete in a folder; raises where other content is there."""
    marker = root / POPULATION_FILE
    if not marker.is_file():
        if any(path.is_file() and ".part" not in path.name for path in root.rglob("*")):
            raise PopulationError(
                f"{root} is not empty and has no {POPULATION_FILE.as_posix()}; use a new or an empty folder"
            )
        return False
    found = read_json(marker, PopulationError, "settings of a population")
    different = [name for name in state if found.get(name) != state[name]]
    if different:
        raise PopulationError(
            f"{root} was written with other settings ({', '.join(different)}); use the same or another folder"
        )
    return bool(found.get("complete"))


def _files(
    settings: PopulationSettings,
    identity: int,
    split: str,
    languages: Sequence[str],
    bilingual: float,
    plans: Sequence[TestPlan],
) -> list[_File]:
    """Files of one identity: numbered in its folders, or anonymous for the test."""
    seed, found = settings.seed, []
    for language in spoken_languages(identity, split, seed=seed, bilingual=bilingual):
        name, plan = languages[language], plans[language]
        if split == "test":
            for side, ending, files in (("voices", "wav", plan.clips), ("faces", "jpg", plan.images)):
                found += [
                    _File(f"{side}/{name}/{place:05d}.{ending}", ending, language, number)
                    for place, (k, number) in enumerate(files)
                    if k == identity
                ]
            continue
        videos = num_videos(identity, seed=seed)
        for side, ending, count, video_of in (
            ("voices", "wav", settings.clips, get_clip_video),
            ("faces", "jpg", settings.images, get_image_video),
        ):
            for number in range(count):
                video = video_id(identity, 4 * language + video_of(identity, number, seed=seed), seed=seed)
                place = f"{side}/{voice_id(identity)}/{name}/{video}/{number // videos:05d}.{ending}"
                found.append(_File(place, ending, language, number))
    return found


def _write_identity(job: _Job) -> None:
    """Write the missing files of one identity."""
    missing = [file for file in job.files if not (job.root / file.path).exists()]
    if not missing:
        return
    from voiceface.audio.loading import write_wav
    from voiceface.synthetic.head.render import prepare_face, render_image
    from voiceface.synthetic.voice.phonetics import INVENTORIES
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    settings = job.settings
    identities = settings.sample_identities([job.identity])
    face = None
    for file in missing:
        path, number = job.root / file.path, LANGUAGE_STRIDE * file.language + file.number
        if file.kind == "wav":
            inventory = INVENTORIES[file.language]
            clip = synthesise_clip(
                identities,
                0,
                number,
                seconds=settings.clip_seconds,
                inventory=inventory,
            )
            write_wav(path, clip.samples)
            continue
        face = prepare_face(identities, 0, face_gain=settings.face_gain) if face is None else face
        rendered = render_image(
            identities,
            0,
            number,
            face=face,
            image_size=settings.render_size,
            nuisance=settings.nuisance,
            face_gain=settings.face_gain,
        )
        write_bytes(path, encode_jpeg(rendered.image, rendered.jpeg_quality))


def _write_speakers(
    root: Path, settings: PopulationSettings, languages: Sequence[str], bilingual: float
) -> None:
    """Write truth/speakers.csv: who is trained on, who is tested, and their languages."""
    lines = [",".join(SPEAKER_HEADER)]
    for split in ("train", "test"):
        identities = settings.sample_identities(_ids(settings, split))
        for k, gender in zip(identities.ids.tolist(), identities.genders):
            spoken = spoken_languages(k, split, seed=settings.seed, bilingual=bilingual)
            lines.append(f"{voice_id(k)},{split},{' '.join(languages[number] for number in spoken)},{gender}")
    write_text(root / SPEAKER_TABLE, "\n".join(lines) + "\n")


def _shuffled(seed: int, ids: NDArray[np.int64], item: int, count: int, start: int) -> list[tuple[int, int]]:
    """All (identity, number) in an order that tells nothing."""
    rank = integers(seed, ids, "lists", item, count, start).reshape(-1)
    files = [(k, number) for k in ids.tolist() for number in range(count)]
    return [files[index] for index in np.argsort(rank, kind="stable").tolist()]


def _draw_keys(seed: int, identity: int, item: int, count: int) -> tuple[str, ...]:
    """Distinct keys of eight small letters and digits."""
    keys: dict[str, None] = {}
    start = _KEYS
    while len(keys) < count:
        for word in integers(seed, identity, "lists", item, count - len(keys), start).tolist():
            keys["".join(_KEY_ALPHABET[word // 36**place % 36] for place in range(8))] = None
        start += count
    return tuple(keys)
