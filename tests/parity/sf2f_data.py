"""Parity of sf2f's data rules: split, listed identities, windows, padding and cropping."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from parity.case import Case, ComparisonLog
from sf2f.data import MEL_FOLDER, list_identities, open_speakers
from sf2f.lr_schedule import lr_after_epoch
from sf2f.network_config import MelNormalisation, SpeechConfig, WindowsConfig
from sf2f.sampling import crop_to_length, load_identity_windows
from sf2f.speech import write_mel
from sf2f.split import METADATA_TABLES, SPLIT_FILE, build_split, read_metadata, read_split, write_split
from sf2f.windows import pad_to_width

BANDS = 40


def dataset_rules(case: Case, log: ComparisonLog) -> None:
    """Build the data folder of the case, open it, and compare; then padding and cropping."""
    stated = case.config
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        tables = {}
        for corpus, table in METADATA_TABLES.items():
            text = stated.get(f"{table.file.removesuffix('.csv')}_csv")
            if text is not None:
                path = root / corpus / table.file
                path.parent.mkdir(parents=True)
                path.write_text(text, "utf-8")
                tables[corpus] = read_metadata(path, corpus)
        split = build_split(tables)
        log.compare_equal("split", split, stated["split_json"])
        write_split(root / SPLIT_FILE, split)
        log.compare_equal("split read back", read_split(root / SPLIT_FILE), stated["split_json"])
        _write_folders(root, stated)
        for part, expected in stated["loaded"].items():
            _compare_split(log, root, stated, part, expected)
    _compare_lengths(case, log)
    if decay := stated.get("lr_decay"):
        _compare_lr_decay(log, decay)


def _write_folders(root: Path, stated: dict) -> None:
    """Write feature files whose values encode file and frame, and empty images."""
    for corpus, names in stated["mel_folders"].items():
        for name in names:
            (root / corpus / MEL_FOLDER / name).mkdir(parents=True)
            for file, frames in enumerate(stated["mel_lengths"].get(name, [])):
                mel = np.broadcast_to(10000 * file + np.arange(frames), (BANDS, frames))
                path = root / corpus / MEL_FOLDER / name / f"id_clip_{file:05d}.npz"
                write_mel(path, mel.astype(np.float32), "id", "clip", f"{file:05d}")
    for corpus, names in stated["face_folders"].items():
        for name in names:
            (root / corpus / "masked_faces" / name).mkdir(parents=True)
            (root / corpus / "masked_faces" / name / "1.jpg").touch()


def _compare_split(log: ComparisonLog, root: Path, stated: dict, part: str, expected: dict) -> None:
    """Compare listed identities, their order, and the first value of each of their windows."""
    log.compare_equal(
        f"{part}: listed", [list(pair) for pair in list_identities(root, part)], expected["available"]
    )
    if not expected["available"]:
        return
    speakers = open_speakers(root, part, SpeechConfig(n_mels=BANDS))
    loaded = [list(pair) for pair in zip(speakers.corpora, speakers.names)]
    log.compare_equal(f"{part}: loaded", loaded, expected["available"])
    width, stride = stated.get("window", [125, 125])
    config = WindowsConfig(width=width, stride=stride, max_windows=stated.get("max_segments", 20))
    plain = MelNormalisation(mean=0, std=1)
    for identity, name in enumerate(speakers.names):
        windows = load_identity_windows(speakers, identity, config, plain)
        starts = expected["segments"].get(name) or []
        if starts:
            log.compare_equal(
                f"{part}: windows of {name}", windows[:, 0, 0].tolist(), [float(at) for at in starts]
            )
            whole = windows[:, 0] - windows[:, :1, 0] == np.arange(width)
            log.compare_equal(f"{part}: frames of {name}", bool(whole.all()), True)
        else:  # the published program fails here; ours fills one window up
            log.compare_equal(f"{part}: windows of {name}", windows.shape, (1, BANDS, width))


def _compare_lr_decay(log: ComparisonLog, decay: dict) -> None:
    """Compare the learning rate after each epoch."""
    epochs = range(decay["epochs"])
    ours = [lr_after_epoch(decay["base"], epoch, decay["start"], decay["epochs"]) for epoch in epochs]
    log.compare_close("lr_decay", ours, decay["per_epoch"], rtol=1e-9)


def _compare_lengths(case: Case, log: ComparisonLog) -> None:
    """Compare padding at the end, and cropping at a given start."""
    mel, filling = case.arrays["in_mel"], MelNormalisation().fill_value
    frames = mel.shape[1]
    for name in case.arrays:
        kind = name.removeprefix("out_")
        if kind.startswith("pad"):
            case.compare(log, name, pad_to_width(mel, int(kind.removeprefix("pad")), filling))
        elif kind == "same":
            case.compare(log, name, pad_to_width(mel, frames, filling))
        elif kind.startswith("crop") and name.startswith("out_"):
            length, start = int(kind.removeprefix("crop")), int(case.arrays[f"{kind}_start"])
            batch = {
                "mel": torch.from_numpy(mel)[None],
                "frames": torch.tensor([frames]),
                "position": torch.tensor([(start + 0.5) / (frames - length + 1)], dtype=torch.float64),
            }
            case.compare(log, name, crop_to_length(batch, length)["mel"][0])
