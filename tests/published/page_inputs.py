"""Everything that the commands of docs/reproducing.md read, under the names that the page uses."""

import csv
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import published_archetype_agnostic_files as archetype_agnostic_files
import published_cmpc2_files as cmpc2_files
import published_seeking_shape_files as seeking_shape_files
from cmpc_tree import Speaker, read_speakers, write_cmpc, write_cmpc_lists
from hq_voxceleb import write_hq_voxceleb
from PIL import Image
from published_checkpoints import (
    write_clip,
    write_expert_archive,
    write_face_model,
    write_face_types,
    write_identity_network,
    write_pretrained_models,
    write_stylegan2,
    write_voice2face,
)
from published_trainer_files import write_checkpoint
from third_party_networks import write_facenet, write_inception, write_lpips, write_vggface
from trees import UNPUBLISHED_LISTS, link_tree, write_voxceleb
from voxceleb3d_tree import write_fitted_coefficients, write_voxceleb3d

NUM_TRAINING_IDENTITIES = 924  # of the published checkpoints of seeking_shape and archetype_agnostic
VIDEOS_PER_IDENTITY = 200  # a clustering of 1,000 prototypes has few empty ones
VIDEOS = 60  # a tenth of them is for test, by their names
VIDEO_SIDE, FRAMES_PER_SECOND, SAMPLE_RATE = 96, 10, 16_000
SECONDS_OF_20_WINDOWS = 30.0  # per recording; the fusers of sf2f read 20 windows of 1.25 s of an identity


def write_first_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """A data folder, and a folder of published files."""
    write_public_voxceleb(population, folder / "VOX1")
    (folder / "WEIGHTS").mkdir()
    seeking_shape_files.write_published(folder / "WEIGHTS" / "best.pth.tar", (), NUM_TRAINING_IDENTITIES)


def write_seeking_shape_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """VoxCeleb1 with VGGFace images, both backbones, a checkpoint of the published trainer."""
    from voiceface.synthetic.writer import write_population

    numbers = {"train": 8, "val": 2, "test": 10, "clip_seconds": 2.0}  # 1:10 needs ten identities
    ten = write_population(folder / "ten", "tiny", workers=1, progress=False, **numbers)
    write_public_voxceleb(ten, folder / "VOX1")
    seeking_shape_files.write_backbones(folder)
    seeking_shape_files.write_published(folder / "best.pth.tar", (), NUM_TRAINING_IDENTITIES)


def write_archetype_agnostic_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """The same for the other system, AVSpeech's table with videos, and results of both systems."""
    from voiceface.commandline.dispatch import run_main

    write_public_voxceleb(population, folder / "VOX1")
    archetype_agnostic_files.write_backbones(folder)
    path = folder / "checkpoint_best.pth.tar"
    archetype_agnostic_files.write_published(path, "ir50", (), NUM_TRAINING_IDENTITIES)
    write_avspeech(population, folder)
    for system, name in (("seeking_shape", "test_a"), ("archetype_agnostic", "test_b")):
        words = ["--data", folder / "VOX1", "--generate-lists", "0", "--out", folder / "runs" / name]
        assert run_main(f"{system}.__main__", ["test", *map(str, words)]) == 0


def write_sf2f_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """HQ-VoxCeleb, all networks of training and evaluation, a checkpoint of the published trainer."""
    from sf2f.config import Sf2fConfig
    from sf2f.discriminators import Discriminators
    from sf2f.generator import EncoderDecoder
    from voiceface.runtime.config import load_config

    write_hq_voxceleb(population, folder / "HQ", min_seconds=SECONDS_OF_20_WINDOWS)
    for write in (write_facenet, write_vggface, write_inception):
        write(folder, full_size=True)
    (folder / "scripts" / "weights" / "resnet50_ft_weight.pkl").rename(folder / "resnet50_ft_weight.pkl")
    write_lpips(folder / "LPIPS", "alex", full_size=True)
    config = load_config("published_sf2f_1st_stage", Sf2fConfig, "sf2f")
    networks = EncoderDecoder(config.generator), Discriminators(config.discriminators, 4, 512)
    write_checkpoint(folder / "best_VFS_with_model.pt", *networks)
    write_voice2face(folder / "FOLDER")
    write_voices(population, folder / "VOICES", 2)


def write_perceptionist_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """Recordings, Voxceleb-3D without features, fitted coefficients, the face model, published weights."""
    link_tree(population / "wav", folder / "VOX1" / "wav")
    face_model = write_face_model(folder / "train.configs")
    write_voxceleb3d(population, folder / "VOX3D", face_model)
    write_fitted_coefficients(population, folder / "FITTED")
    write_face_types(folder / "face_types", face_model)
    write_expert_archive(folder / "2D-to-3D-pretrained.tar", face_model)
    weights = write_pretrained_models(folder / "pretrained_models")
    shutil.copy(weights / "voice_embedding.pth", folder)


def write_cmpc2_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """VoxCeleb1 with face tracks, the published lists, two published models."""
    data = write_cmpc(population, folder / "CMPC")
    keep_few_identities(data)
    write_cmpc_lists(data, folder / "CMPC_LISTS")
    cmpc2_files.write_published(folder / "checkpoint_CMPC.pth.tar", full_size=True)
    cmpc2_files.write_published(folder / "checkpoint_CID.pth.tar", full_size=full_size)


def write_fop_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """MAV-Celeb v1 and v3, features of the published programs, a published model; CMPC and its lists."""
    from fop.config import ModelConfig
    from fop.model import FopModel
    from fop.published import save_checkpoint
    from voiceface.datasets.mavceleb.layout import LANGUAGES, read_test_list
    from voiceface.synthetic.layout import build_settings
    from voiceface.synthetic.mavceleb import write_mavceleb

    settings = build_settings("tiny", train=6, val=0, test=3, clips=2, images=2, clip_seconds=2.0)
    for version in ("v1", "v3"):
        root = write_mavceleb(folder / "MAVCELEB", settings, version, workers=1, progress=False)
        for language in LANGUAGES[version]:
            place = folder / "FEATURES" / version / language
            count = len(read_test_list(root, version, language))
            for side, width in (("voices", 512), ("faces", 4096)):
                write_features(place / f"{language}_{side}_train.csv", 24, width, labelled=True)
                write_features(place / f"{language}_{side}_test.csv", count, width, labelled=False)
    for part in ("TRAIN", "TEST"):
        write_features(folder / f"VOICES_{part}.csv", 24, 512, labelled=True)
        write_features(folder / f"FACES_{part}.csv", 24, 4096, labelled=True)
    model = FopModel(ModelConfig(voice_dim=512, face_dim=4096), 64)
    save_checkpoint(folder / "v1_English.pth.tar", model, epoch=49)
    write_cmpc_lists(write_cmpc(population, folder / "CMPC"), folder / "CMPC_LISTS")


def write_features(path: Path, count: int, width: int, *, labelled: bool) -> None:
    """Random features, none of them negative, as CSV without header; labels 0 to 5 in the last column."""
    rng = np.random.default_rng(list(path.as_posix()[-40:].encode()))
    columns = [rng.random((count, width), np.float32)]
    columns += [np.arange(count)[:, None] % 6] if labelled else []
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.hstack(columns), "%.6g", delimiter=",")


def write_voicestyle_inputs(population: Path, folder: Path, *, full_size: bool) -> None:
    """CMPC with 2,000 training videos, a face bank, images of the size of FFHQ's, all published networks."""
    data = write_cmpc(population, folder / "CMPC")
    copy_videos(data)
    (folder / "BANK").mkdir()
    (folder / "BANK" / "unzippedFaces").symlink_to(data / "unzippedFaces")
    link_tree(population / "faces", folder / "BANK" / "VGG_ALL_FRONTAL")
    lists = write_cmpc_lists(data, folder / "lists")
    (lists / "training.csv").rename(folder / "training.csv")
    shutil.rmtree(lists)
    num_videos = len((folder / "training.csv").read_text().splitlines()) - 1
    cmpc2_files.write_published(folder / "model_best_256.pth.tar", full_size=True)
    path = folder / "frame_memory_best_256.pth.tar"
    cmpc2_files.write_prototype_memory(path, num_videos, embedding_dim=512)
    write_voices(population, folder / "VOICES", 1)
    write_stylegan2(folder / "550000.pt", full_size=full_size)
    write_lpips(folder, "vgg", full_size=True)
    for name in ("model_ir_se50.pth", "READER.pth"):
        write_identity_network(folder / name, full_size=full_size)
    write_clip(folder / "clip.safetensors")
    write_inception(folder, full_size=True)
    (folder / "FFHQ").mkdir()
    for path in sorted((population / "faces").rglob("*.jpg"))[:4]:
        Image.open(path).resize((256, 256)).save(folder / "FFHQ" / f"{path.parent.name}_{path.stem}.png")


# Heading of a section of the page, "" for what stands before the first one -> what its commands read.
INPUTS: dict[str, Callable[..., None]] = {
    "": write_first_inputs,
    "seeking_shape": write_seeking_shape_inputs,
    "archetype_agnostic": write_archetype_agnostic_inputs,
    "sf2f": write_sf2f_inputs,
    "perceptionist": write_perceptionist_inputs,
    "cmpc2": write_cmpc2_inputs,
    "voicestyle": write_voicestyle_inputs,
    "fop": write_fop_inputs,
}

GENERATING_SECTIONS = ("sf2f", "perceptionist", "voicestyle")
ASSOCIATION_SECTIONS = tuple(name for name in INPUTS if name not in GENERATING_SECTIONS)


def write_public_voxceleb(population: Path, out: Path) -> Path:
    """VoxCeleb1 with the lists that are public."""
    write_voxceleb(population, out)
    for name in UNPUBLISHED_LISTS:
        (out / "list_wav" / f"{name}.txt").unlink()
    return out


def write_voices(population: Path, out: Path, number: int) -> Path:
    """Recordings in one folder."""
    out.mkdir()
    for path in sorted((population / "wav").rglob("*.wav"))[:number]:
        shutil.copy(path, out / f"{path.parent.name}_{path.name}")
    return out


def keep_few_identities(data: Path) -> None:
    """Keep two identities of every split, alike in gender and nationality where there are such.

    Verification encodes five clips of every utterance, and two views of 224 pixels of every image.
    """
    by_attributes: dict[tuple[str, ...], list[Speaker]] = {}
    for speaker in read_speakers(data):
        key = (speaker.split, speaker.gender, speaker.nationality)
        by_attributes.setdefault(key, []).append(speaker)
    kept: list[Speaker] = []
    for split in ("1", "2", "4"):
        groups = [group for key, group in by_attributes.items() if key[0] == split]
        kept += max(groups, key=len)[:2] if len(max(groups, key=len)) > 1 else [*groups[0], *groups[1]]
    voices, names = {each.voice_id for each in kept}, {each.name for each in kept}
    for root, folders in ((data / "wav", voices), (data / "unzippedFaces", names)):
        for path in root.iterdir():
            if path.name not in folders:
                shutil.rmtree(path)
    for table in (data / "vox1_meta.csv", data / "Splits" / "identity_splits.txt"):
        first, *lines = table.read_text().splitlines(keepends=True)
        head = [first] if table.suffix == ".csv" else []
        wanted = [line for line in [*([] if head else [first]), *lines] if names & set(line.split())]
        table.write_text("".join([*head, *wanted]))


def copy_videos(data: Path) -> None:
    """Give every training identity many videos, all with the files of its first one."""
    with (data / "vox1_meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        voice_id, name = row["VoxCeleb1 ID"], row["VGGFace1 ID"]
        clips = sorted((data / "wav" / voice_id).rglob("*.wav"))
        faces = sorted((data / "unzippedFaces" / name).rglob("*.jpg"))
        for number in range(VIDEOS_PER_IDENTITY if name[0] >= "F" else 0):
            video = f"video{number:06d}"
            for source, root in (
                (clips[0], data / "wav" / voice_id),
                (faces[0], data / "unzippedFaces" / name),
            ):
                target = (root / "1.6" if source.suffix == ".jpg" else root) / video / source.name
                target.parent.mkdir(parents=True)
                os.link(source, target)


def write_avspeech(population: Path, folder: Path) -> None:
    """Write AVSpeech's table with two segments per video, and the videos but one: a face and its voice."""
    with (population / "vox1_meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lines = []
    copies = VIDEOS // len(rows)
    for number, row in enumerate(rows):
        face = next((population / "faces" / row["VGGFace1 ID"]).glob("*.jpg"))
        voice = next((population / "wav" / row["VoxCeleb1 ID"]).rglob("*.wav"))
        first = write_video(folder / "VIDEOS" / f"video{number:06d}.mp4", face, voice)
        for copy in range(copies):
            name = f"video{number + copy * len(rows):06d}"
            if copy:
                os.link(first, first.with_stem(name))
            lines += [f"{name},0.0,0.9,0.5,0.5", f"{name},1.0,1.9,0.5,0.5"]
    lines.append("videoremoved,0.0,0.9,0.5,0.5")
    (folder / "avspeech.csv").write_text("".join(f"{line}\n" for line in lines))


def write_video(path: Path, face: Path, voice: Path) -> Path:
    """Write a video that shows one image while a recording is heard."""
    import soundfile

    path.parent.mkdir(exist_ok=True)
    image = np.asarray(Image.open(face).convert("RGB").resize((VIDEO_SIDE, VIDEO_SIDE)))
    samples, rate = soundfile.read(voice, dtype="int16")
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FRAMES_PER_SECOND)
        video.width = video.height = VIDEO_SIDE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono")
        for number in range(round(len(samples) / rate * FRAMES_PER_SECOND)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.rate = rate
        container.mux([*audio.encode(sound), *audio.encode(None)])
    return path
