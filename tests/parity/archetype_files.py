"""Parity of what archetype_agnostic reads: recordings, pictures, views for training, tables and files."""

import re
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from archetype_agnostic.config import sample_options
from parity.archetype_experiment import build_config
from parity.case import Array, Case, ComparisonLog
from parity.seeking_shape_metrics import write_lists
from parity.tolerance_rules import ToleranceRule
from PIL import Image
from voiceface.association.data import training_dataset
from voiceface.audio.loading import load_audio, repeat_to_length, write_wav
from voiceface.datasets.corpus import Corpus, discover_corpus
from voiceface.datasets.identities import read_identity_csv
from voiceface.datasets.layouts import is_voice_file
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.datasets.trials.trial_list import identity_indices
from voiceface.images import transforms
from voiceface.images.loading import load_image

PUBLISHED_SAMPLE_KEYS = {  # our names of what a draw holds, and the published ones
    "label": "ID",
    "face": "image",
    "face_second": "image_aux",
    "voice": "audio",
    "voice_second": "audio_aux",
}
PIXELS = ToleranceRule(atol=2, mean=0.2)
ROTATED_PIXELS = ToleranceRule(atol=2, beyond=0.02)


def wav_loading(case: Case, log: ComparisonLog) -> None:
    """Files of any sample format: channel, scale, repetition, cut, rate error."""
    data = build_config(case).data
    rate = int(case.config.get("sample_rate", 16000))
    length = int(case.config.get("samples", data.clip_samples))
    with tempfile.TemporaryDirectory() as folder:
        for name, expected in case.meta["expected"].items():
            path = Path(folder) / f"{name}.wav"
            path.write_bytes(case.arrays[f"file_{name}"].tobytes())
            if "raises" in expected:
                words = [str(rate)] if "rate" in expected["raises"] else []
                log.expect_error(
                    name,
                    lambda path=path: load_audio(path, scale=data.sample_scale, sample_rate=rate),
                    *words,
                )
                continue
            wave = repeat_to_length(load_audio(path, scale=data.sample_scale, sample_rate=rate), length)
            ours = {"shape": list(wave.shape), "dtype": str(wave.dtype)}
            ours["crc32_of_float32_bytes"] = zlib.crc32(np.ascontiguousarray(wave, "<f4").tobytes())
            for key, value in expected.items():
                log.compare_equal(f"{name}: {key}", ours.get(key), value)
            for stored in case.arrays:
                if step := re.fullmatch(rf"out_{re.escape(name)}_stride(\d+)", stored):
                    case.compare(log, stored, wave[:: int(step[1])])
                elif stored == f"out_{name}_stats":
                    x = wave.astype(np.float64)
                    stats = [x.mean(), x.std(ddof=1), x.min(), x.max()]
                    case.compare(log, stored, stats, default=ToleranceRule(atol=1e-6, rtol=1e-6))


def image_loading(case: Case, log: ComparisonLog) -> None:
    """Files to the tensor that the network is given in evaluation."""
    data, side = build_config(case).data, _square_side(case, "input_size")
    for name, expected in case.meta["expected"].items():
        picture = transforms.to_bgr(load_image(case.arrays[f"file_{name}"].tobytes()))
        face = transforms.evaluation_transform(picture, side, resize_mode=data.resize_mode)
        ours = {"loaded_shape": list(picture.shape), "tensor_shape": list(face.shape)}
        ours["tensor_dtype"] = str(torch.from_numpy(face).dtype)
        for key, value in expected.items():
            log.compare_equal(f"{name}: {key}", ours.get(key), value)
        case.compare(log, f"out_{name}", _to_bgr(face, data.channels), default=PIXELS)


def train_augment(case: Case, log: ComparisonLog) -> None:
    """Views for training with the stored draws."""
    data, side = build_config(case).data, _square_side(case, "resize_first")
    for index, draws in enumerate(case.config["combos"]):
        view = transforms.AugmentationParams(
            bool(draws["flip"]), draws["angle_deg"], float(draws["crop_draw"])
        )
        for which in ("image", "image_aux"):
            stored = f"case{index}_{which}"
            if stored in case.arrays:
                picture = case.arrays[f"{which}_bgr"]
                face = transforms.apply_augmentation(
                    picture, side, view, rotation=data.rotation, resize_mode=data.resize_mode
                )
                case.compare(log, stored, _to_bgr(face, data.channels), default=ROTATED_PIXELS)
    _compare_probabilities(case, log)


def _compare_probabilities(case: Case, log: ComparisonLog) -> None:
    """The odds of the draws and the range of the angles."""
    rng = np.random.default_rng(0)
    views = [transforms.sample_augmentation(rng) for _ in range(4000)]
    angles = [view.rotation_degrees for view in views if view.rotation_degrees is not None]
    if "angle_range" in case.config:
        log.compare_equal("range of the angles", [min(angles), max(angles)], case.config["angle_range"])
    shares = {"p_flip": np.mean([view.flipped for view in views]), "p_rotate": len(angles) / len(views)}
    for name, share in shares.items():
        if name in case.config:
            log.compare_limit(name, abs(float(share) - case.config[name]), 0.04)


def dataset(case: Case, log: ComparisonLog) -> None:
    """Table, files and query list on the disk; then what our readers find, and one draw for training."""
    config, expected = case.config, case.meta["results"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_tree(folder, config["files"])
        table = folder / "vox1_train.csv"
        table.write_text(config["csv"])
        roots = [folder / _folder_name(case, what) for what in ("voice", "face")]
        corpus = discover_corpus(read_identity_csv(table), *roots)
        ours: dict[str, Any] = {
            "identity_index": {person.identity.face_id: person.label for person in corpus.records},
            "len_train_ids": len(corpus),
            "len_test_ids": len(corpus),
            "images_per_identity": [len(person.faces) for person in corpus.records],
            "audio_per_identity": [len(person.voices) for person in corpus.records],
        }
        ours |= _first_trial_facts(folder, config.get("triplet_list", []), corpus)
        chosen = build_config(case)
        readable = discover_corpus(read_identity_csv(table), *roots, audio_suffixes=(".wav",))
        pairs = training_dataset(readable, chosen, progress=False, **sample_options(chosen.data))
        item = pairs.sample(0, np.random.default_rng(0))
        ours["train_item_keys"] = sorted(PUBLISHED_SAMPLE_KEYS.get(key, key) for key in item)
        shapes = {
            PUBLISHED_SAMPLE_KEYS.get(key, key): list(value.shape)
            for key, value in item.items()
            if key != "label"
        }
        ours["train_item_shapes"] = {key: shapes.get(key) for key in expected.get("train_item_shapes", {})}
        log.compare_equal("ID", item["label"], corpus.records[0].label)
        for key in expected:
            if found := re.fullmatch(r"all_of_identity_(\d+)", key):
                people = [person for person in corpus.records if person.label == int(found[1])]
                ours[key] = {
                    "image_names": sorted({item for person in people for item in person.faces}),
                    "audio_names": sorted({item for person in people for item in person.voices}),
                    "genders": sorted({person.identity.gender for person in people}),
                }
    for key, value in expected.items():
        log.compare_equal(key, ours.get(key), value)


def _first_trial_facts(folder: Path, rows: Sequence[Sequence[str]], corpus: Corpus) -> dict[str, Any]:
    """Length of a query list, and whose the items of its first row are."""
    if not rows:
        return {"len_val_triplets": 0, "first_triplet_identity_indices": []}
    name = f"match_{'v2f' if is_voice_file(rows[0][0]) else 'f2v'}_{len(rows[0]) - 1}_val"
    found = read_trial_list(write_lists(folder / "lists", {name: rows})[name], corpus)
    assert found.probe_index is not None and found.gallery_index is not None
    items = [found.probes[found.probe_index[0]]]
    items += [found.gallery[column] for column in found.gallery_index[0]]
    labels = [corpus.records[owner].label for owner in identity_indices(items, corpus)]
    return {"len_val_triplets": len(found), "first_triplet_identity_indices": labels}


def _folder_name(case: Case, what: str) -> str:
    """Name of the folder of voices or faces, as the description of the inputs has it."""
    found = re.search(rf"(\w+) = {what} root", str(case.meta.get("inputs", "")))
    return found[1] if found else {"voice": "wav", "face": "img"}[what]


def _write_tree(folder: Path, files: Sequence[str]) -> None:
    """The case's files: small pictures and half a second of sound where they are some, else text."""
    rng = np.random.default_rng(0)
    for item in files:
        path = folder / item
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
        elif path.suffix.lower() == ".wav":
            write_wav(path, rng.integers(-9000, 9000, 8000).astype(np.int16))
        elif path.suffix == ".npy":
            np.save(path, np.zeros((100, 64), np.float32))
        else:
            path.write_text("no sound and no picture\n")


def _square_side(case: Case, key: str) -> int:
    """Side of the square that pictures are brought to."""
    height, width = case.config.get(key, [112, 112])
    if height != width:
        raise ValueError(
            f"{case.name}: {key} [{height}, {width}] is no square, and pictures are brought to one"
        )
    return int(height)


def _to_bgr(face: Array, channels: str) -> Array:
    """A face with its planes in the order B G R, in which the cases store it."""
    return face if channels == "bgr" else face[::-1]
