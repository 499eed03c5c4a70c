"""The synthetic population in the layout of HQ-VoxCeleb: sf2f."""

import csv
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image, ImageDraw
from trees import link_tree

SAMPLE_RATE = 16_000
VOX2_HEADER = "Class_ID,Name,Sample_Num,Flag,Gender_x,VoxCeleb2ID,VGGFace2ID,Gender_y,Set\n"


def write_hq_voxceleb(population: Path, out: Path, *, min_seconds: float = 0.0, num_copies: int = 1) -> Path:
    """Recordings of VoxCeleb1 (wav) and VoxCeleb2 (m4a), masked and original images, both tables.

    Every identity appears in both corpora, the first half twice in the second, under other names and IDs.

    Args:
        population: its folder.
        out: data folder to write; `sf2f split` and `sf2f prepare` complete it.
        min_seconds: recordings are repeated up to this length.
        num_copies: files of each recording; real identities have dozens.
    """
    with (population / "vox1_meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for corpus in ("vox1", "vox2"):
        (out / corpus).mkdir(parents=True)
    (out / "vox1" / "vox1_meta.csv").write_bytes((population / "vox1_meta.csv").read_bytes())
    second = [VOX2_HEADER]
    for number, row in enumerate([*rows, *rows[: len(rows) // 2]]):
        first_time = number < len(rows)
        voice, name = row["VoxCeleb1 ID"], row["VGGFace1 ID"]
        other_voice, other_name = f"id{number:05d}", f"{name}_{number}"
        second.append(
            f"n{number:06d},{other_name},2,1,{row['Gender']},{other_voice},n{number:06d},{row['Gender']},dev\n"
        )
        for path in sorted((population / "wav" / voice).rglob("*.wav")):
            samples, _ = soundfile.read(path, dtype="int16")
            samples = np.tile(samples, max(1, int(np.ceil(min_seconds * SAMPLE_RATE / len(samples)))))
            video = path.parent.relative_to(population / "wav" / voice)
            for copy in range(num_copies):
                stem = f"{int(path.stem) + copy:05d}"
                if first_time:
                    folder = out / "raw_wav" / "vox1" / ("dev" if number % 2 else "test") / voice / video
                    folder.mkdir(parents=True, exist_ok=True)
                    soundfile.write(folder / f"{stem}.wav", samples, SAMPLE_RATE)
                folder = out / "raw_wav" / "vox2" / "dev" / other_voice / video
                write_m4a(folder / f"{stem}.m4a", samples)
        for corpus, folder in (("vox2", other_name), *((("vox1", name),) if first_time else ())):
            link_tree(population / "faces" / name, out / corpus / "origin_faces" / folder)
            mask_backgrounds(population / "faces" / name, out / corpus / "masked_faces" / folder)
    (out / "vox2" / "full_vox2_meta.csv").write_text("".join(second))
    return out


def write_m4a(path: Path, samples: np.ndarray) -> None:
    """Write samples (T,) int16 as AAC, as VoxCeleb2 distributes its recordings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def mask_backgrounds(source: Path, target: Path) -> None:
    """Paint everything outside an ellipse white, like the images of HQ-VoxCeleb."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        image = Image.open(path)
        mask = Image.new("L", image.size)
        ImageDraw.Draw(mask).ellipse((8, 2, image.width - 8, image.height - 2), fill=255)
        Image.composite(image, Image.new("RGB", image.size, "white"), mask).save(target / path.name)
