"""Parity of what reads files: recordings, pictures, tables and lists."""

import tempfile
import wave as wave_files
from pathlib import Path
from typing import Any

import numpy as np
from parity.case import Array, Case, ComparisonLog
from voiceface.audio.loading import load_audio, repeat_to_length
from voiceface.datasets.corpus import Corpus, discover_corpus
from voiceface.datasets.identities import read_identity_csv
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.datasets.trials.trial_list import identity_indices
from voiceface.images import transforms


def audio_loading(case: Case, log: ComparisonLog) -> None:
    """WAV files made by the case's rule, then channel, repetition, cut, and the rate error."""
    rate = int(case.config.get("rate", 16000))
    length = int(rate * case.config.get("seconds", 10))
    every = case.stated_number(r"every (\d+)th value", 997)
    with tempfile.TemporaryDirectory() as folder:
        for entry in case.meta["cases"]:
            name, path = entry["name"], Path(folder) / f"{entry['name']}.wav"
            channels = _build_channels(entry)
            stored = case.arrays.get(f"{name}_input")
            if stored is not None:
                made = (channels.T if channels.shape[0] > 1 else channels[0])[: len(stored)]
                log.compare_close(f"{name}: the wave rule", made, stored)
            _write_wav(path, channels, entry["rate"])
            if "error" in entry:
                words = (str(entry["rate"]), str(rate))
                log.expect_error(
                    f"{name}: error",
                    lambda path=path: load_audio(path, scale="int16", sample_rate=rate),
                    *words,
                )
                continue
            loaded = repeat_to_length(load_audio(path, scale="int16", sample_rate=rate), length)
            log.compare_equal(
                f"{name}: length and type",
                (len(loaded), str(loaded.dtype)),
                (entry["length"], entry["dtype"]),
            )
            known = case.tolerance(name, atol=0)
            head = case.arrays[f"{name}_head"]
            log.compare_close(f"{name}_head", loaded[: len(head)], head, **known)
            log.compare_close(f"{name}_strided", loaded[::every], case.arrays[f"{name}_strided"], **known)
            exact = loaded.astype(np.float64)
            log.compare_close(
                f"{name}: sums", [exact.sum(), np.abs(exact).sum()], [entry["sum"], entry["sum_abs"]], **known
            )


def _build_channels(entry: dict[str, Any]) -> Array:
    """The samples of one entry by the stated rule, shape (channels, T), int16."""
    first = _synthetic_wave(entry["samples"], entry["seed"], entry["f0"])
    if entry.get("channels", 1) == 1:
        return first[None]
    return np.stack([first, _synthetic_wave(entry["samples"], entry["seed"] + 100, 260)])


def _synthetic_wave(samples: int, seed: int, f0: float) -> Array:
    rng = np.random.Generator(np.random.PCG64(seed))
    t = np.arange(samples) / 16000
    x = np.zeros(samples)
    for h in range(1, 9):
        x = (
            x
            + np.sin(2 * np.pi * h * f0 * (1 + 0.05 * np.sin(2 * np.pi * 3.1 * t)) * t + rng.uniform(0, 6.28))
            / h
        )
    x = x * (0.6 + 0.4 * np.sin(2 * np.pi * 2.3 * t + rng.uniform(0, 6.28)))
    x = 6000 * x / 2 + rng.normal(0, 250, samples)
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


def _write_wav(path: Path, channels: Array, rate: int) -> None:
    with wave_files.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(channels.T).astype("<i2").tobytes())


def image_transforms(case: Case, log: ComparisonLog) -> None:
    """Resize, turn on the published canvas, crop, pad, mirror."""
    side, fill = int(case.config.get("resize", [112])[0]), int(case.config.get("fill", 127))
    stored = case.arrays
    for name in sorted(key for key in stored if key.startswith("resized")):
        ours = transforms.resize_longer_side(stored[name.replace("resized", "image")], side)
        log.compare_close(name, ours, stored[name], atol=1)
    start = stored["resized0"]
    for index, entry in enumerate(case.meta.get("augmentations", [])):
        turned = transforms.rotate(start, entry["angle"], expand_centred=False)
        log.compare_equal(f"rotated{index}: canvas", list(turned.shape), entry["rotated_shape"])
        _compare_pixels(log, f"rotated{index}", turned[::2, ::2], stored[f"rotated{index}"])
        cut = transforms.crop_or_pad(turned, side, entry["crop_fraction"], fill).transpose(2, 0, 1)
        _compare_pixels(log, f"augmented{index}", cut[:, ::2, ::2], stored[f"augmented{index}"])
    log.compare_close("flipped", transforms.flip(start)[::2, ::2], stored["flipped"])
    padded = transforms.crop_or_pad(stored["padded_input"], side, 0.0, fill)
    log.compare_close("padded", padded[::2, ::2], stored["padded"])


def _compare_pixels(log: ComparisonLog, name: str, ours: Array, theirs: Array) -> None:
    """At most 2 grey levels on 99 % of the pixels."""
    if ours.shape != theirs.shape:
        log.compare_equal(f"{name}: shape", ours.shape, theirs.shape)
        return
    far = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) > 2
    log.compare_limit(f"{name}: share of values off by more than 2", float(far.mean()), 0.01)


def list_parsing(case: Case, log: ComparisonLog) -> None:
    """CSV rows, files below the folders, class indices, and whom the items of a list belong to."""
    meta = case.meta
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "vox1_train.csv"
        for text in {meta["csv"], meta["csv"].replace("\r\n", "\n"), _to_crlf(meta["csv"])}:
            table.write_bytes(text.encode())
            identities = read_identity_csv(table)
            log.compare_equal(
                "rows", [row.voice_id for row in identities], [e["voice_id"] for e in meta["entries"]]
            )
        for item in meta["files"]:
            path = folder / item
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        corpus = discover_corpus(identities, folder / "wav", folder / "img")
        entries = [
            {
                "voice_id": person.identity.voice_id,
                "face_id": person.identity.face_id,
                "label": person.label,
                "images": list(person.faces),
                "audios": list(person.voices),
            }
            for person in corpus.records
        ]
        for ours, theirs in zip(entries, meta["entries"], strict=True):
            log.compare_equal(f"entry {theirs['face_id']}", ours, {key: theirs[key] for key in ours})
        labels = {person.identity.face_id: person.label for person in corpus.records}
        log.compare_equal("label_of_face_id", labels, meta["label_of_face_id"])
        log.compare_equal("train_length", len(corpus), meta["train_length"])
        _compare_trial_identities(log, corpus, folder, meta)


def _compare_trial_identities(log: ComparisonLog, corpus: Corpus, folder: Path, meta: dict[str, Any]) -> None:
    """Owners of the items of the triplet list, by the list reader and by path."""
    if not meta.get("triplets"):
        return
    path = folder / "match_v2f_2_val.txt"
    path.write_text("\n".join(meta["triplets"]))
    found = read_trial_list(path, corpus)
    log.compare_equal("val_length", len(found), meta["val_length"])
    assert found.probe_index is not None and found.gallery_index is not None
    anchor_owner = identity_indices(found.probes, corpus)[found.probe_index]
    candidate_owner = identity_indices(found.gallery, corpus)[found.gallery_index]
    ours = [
        [[int(owner), found.probes[anchor]]]
        + [[int(o), found.gallery[c]] for o, c in zip(owners, candidates)]
        for owner, anchor, owners, candidates in zip(
            anchor_owner, found.probe_index, candidate_owner, found.gallery_index
        )
    ]
    log.compare_equal("triplet_resolution", ours, meta["triplet_resolution"])
    by_path = [
        [[corpus.get_identity_index(item), item] for item in line.split(" ")] for line in meta["triplets"]
    ]
    log.compare_equal("owner by path", by_path, meta["triplet_resolution"])


def _to_crlf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")
