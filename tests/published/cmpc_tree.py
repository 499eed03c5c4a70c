"""The synthetic population in the layout of CMPC, with trial lists in its formats: cmpc2, voicestyle."""

import csv
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trees import link_tree

STRATA = {"U": (), "G": ("gender",), "N": ("nationality",), "GN": ("gender", "nationality")}
VERIFICATION_HEADER = "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"
TRAINING_HEADER = "VGGFace1 ID,split,VoxCeleb1 ID,Gender,Nationality,Set,video_id"
LINES_PER_IDENTITY = 4


@dataclass(frozen=True)
class Speaker:
    """A row of the identity tables, and its files below `wav` and `unzippedFaces`."""

    number: int
    voice_id: str
    name: str
    gender: str
    nationality: str
    split: str
    voices: tuple[str, ...]
    faces: tuple[str, ...]


def write_cmpc(population: Path, out: Path) -> Path:
    """Write recordings, face tracks, identity table and split."""
    link_tree(population / "wav", out / "wav")
    link_tree(population / "unzippedFaces", out / "unzippedFaces")
    shutil.copy(population / "vox1_meta.csv", out)
    shutil.copytree(population / "Splits", out / "Splits")
    return out


def write_cmpc_lists(data: Path, out: Path) -> Path:
    """Write the 20 trial lists of CMPC, and `training.csv` of the published package, from `write_cmpc`."""
    speakers = read_speakers(data)
    unseen = [each for each in speakers if each.split == "4"]
    seen = [each for each in speakers if each.split == "1"]
    rng = random.Random(0)
    for folder in ("matching", "veriflist", "retrieval"):
        (out / folder).mkdir(parents=True)
    for stratum, attributes in STRATA.items():
        for direction in ("v2f", "f2v"):
            lines = matching_lines(unseen, direction, attributes, rng)
            (out / "matching" / f"matching_{direction}_{stratum}.csv").write_text(join_lines(lines))
    for stratum, attributes in {
        "random": STRATA["U"],
        "G": STRATA["G"],
        "N": STRATA["N"],
        "A": STRATA["U"],  # ages are not known
        "GNA": STRATA["GN"],
    }.items():
        for group, members in (("unseenunheard", unseen), ("seenheard", seen)):
            lines = [VERIFICATION_HEADER, *verification_lines(members, attributes, rng)]
            (out / "veriflist" / f"veriflist_test_{stratum}_{group}.txt").write_text(join_lines(lines))
    for name, title in (("wav_20k", "wav"), ("jpg_20k", "jpg")):
        files = [
            f"{each.voice_id}\t{file}"
            for each in unseen
            for file in (each.voices if title == "wav" else each.faces)
        ]
        (out / "retrieval" / f"{name}.csv").write_text(join_lines([f"VoxCeleb1 ID\t{title}", *files]))
    rows = [
        f"{each.name},1,{each.voice_id},{each.gender},{each.nationality},dev,{face.split('/')[2]}"
        for each in speakers
        if each.name[0] >= "F"
        for face in each.faces
    ]
    (out / "training.csv").write_text(join_lines([TRAINING_HEADER, *rows]))
    return out


def read_speakers(data: Path) -> list[Speaker]:
    """Read the identities of a folder of `write_cmpc` with their files."""
    lines = (data / "Splits" / "identity_splits.txt").read_text().splitlines()
    splits = dict(line.split() for line in lines)
    speakers = []
    with (data / "vox1_meta.csv").open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t"), 1):
            voice_id, name, *attributes = list(row.values())[:4]
            voices = list_files(data / "wav", voice_id)
            faces = list_files(data / "unzippedFaces", name)
            speakers.append(Speaker(number, voice_id, name, *attributes, splits[name], voices, faces))
    return speakers


def matching_lines(
    speakers: Sequence[Speaker], direction: str, attributes: Sequence[str], rng: random.Random
) -> list[str]:
    """Lines of a matching list: probe, right candidate, wrong candidate."""
    lines = []
    for speaker, others in with_partners(speakers, attributes):
        for _ in range(LINES_PER_IDENTITY):
            other = rng.choice(others)
            if direction == "v2f":
                items = (speaker.voices, speaker.faces, other.faces)
            else:
                items = (speaker.faces, speaker.voices, other.voices)
            lines.append(" ".join(map(rng.choice, items)))
    return lines


def verification_lines(
    speakers: Sequence[Speaker], attributes: Sequence[str], rng: random.Random
) -> list[str]:
    """Lines of a verification list, alternately of one and of two identities."""
    lines = []
    for speaker, others in with_partners(speakers, attributes):
        for count in range(LINES_PER_IDENTITY):
            other = rng.choice(others) if count % 2 else speaker
            _, video, clip = rng.choice(speaker.voices).split("/")
            name, _, *rest = rng.choice(other.faces).split("/")
            voice = f"{speaker.name}/{video}_{int(Path(clip).stem):07d}.wav"
            numbers = f"{len(lines) + 1},{speaker.number},{other.number},{int(other is speaker)}"
            lines.append(f"{numbers},{voice},{'/'.join([name, *rest])}")
    return lines


def with_partners(
    speakers: Sequence[Speaker], attributes: Sequence[str]
) -> list[tuple[Speaker, list[Speaker]]]:
    """Pair every identity with the others that share its attributes; those without one are left out."""
    pairs = []
    for speaker in speakers:
        others = [
            other
            for other in speakers
            if other is not speaker and all(getattr(other, k) == getattr(speaker, k) for k in attributes)
        ]
        if others:
            pairs.append((speaker, others))
    return pairs


def list_files(root: Path, folder: str) -> tuple[str, ...]:
    """List the files of a folder, relative to the root."""
    files = sorted(path for path in (root / folder).rglob("*.*") if path.is_file())
    return tuple(path.relative_to(root).as_posix() for path in files)


def join_lines(lines: Sequence[str]) -> str:
    """Join lines to the text of a file."""
    return "".join(f"{line}\n" for line in lines)
