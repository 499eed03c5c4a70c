"""Parity of sf2f's data rules: the split, who is listed, windows of people, filling and cutting."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from parity.case import Book, Case
from sf2f.data import MELS, listed_people, open_speakers
from sf2f.lr_schedule import rate_after_epoch
from sf2f.sampling import cut_to_shared_length, person_windows
from sf2f.speech import MelNormalisation, SpeechConfig, write_mel
from sf2f.split import SPLIT_FILE, TABLES, make_split, read_meta, read_split, write_split
from sf2f.windows import WindowsConfig, filled_up

BANDS = 40


def dataset_rules(case: Case, book: Book) -> None:
    """A data folder as the case describes it, read by the ordinary functions; then lengths of one window."""
    stated = case.config
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        tables = {}
        for corpus, table in TABLES.items():
            text = stated.get(f"{table.file.removesuffix('.csv')}_csv")
            if text is not None:
                path = root / corpus / table.file
                path.parent.mkdir(parents=True)
                path.write_text(text, "utf-8")
                tables[corpus] = read_meta(path, corpus)
        split = make_split(tables)
        book.equal("split", split, stated["split_json"])
        write_split(root / SPLIT_FILE, split)
        book.equal("split read back", read_split(root / SPLIT_FILE), stated["split_json"])
        _write_folders(root, stated)
        for part, expected in stated["loaded"].items():
            _loaded(book, root, stated, part, expected)
    _lengths(case, book)
    if decay := stated.get("lr_decay"):
        _falling_rate(book, decay)


def _write_folders(root: Path, stated: dict) -> None:
    """Feature files whose values tell file and frame, and empty pictures."""
    for corpus, names in stated["mel_folders"].items():
        for name in names:
            (root / corpus / MELS / name).mkdir(parents=True)
            for file, frames in enumerate(stated["mel_lengths"].get(name, [])):
                mel = np.broadcast_to(10000 * file + np.arange(frames), (BANDS, frames))
                path = root / corpus / MELS / name / f"id_clip_{file:05d}.npz"
                write_mel(path, mel.astype(np.float32), "id", "clip", f"{file:05d}")
    for corpus, names in stated["face_folders"].items():
        for name in names:
            (root / corpus / "masked_faces" / name).mkdir(parents=True)
            (root / corpus / "masked_faces" / name / "1.jpg").touch()


def _loaded(book: Book, root: Path, stated: dict, part: str, expected: dict) -> None:
    """Who is listed, in which order, and the first value of each window of each person."""
    book.equal(f"{part}: listed", [list(pair) for pair in listed_people(root, part)], expected["available"])
    if not expected["available"]:
        return
    speakers = open_speakers(root, part, SpeechConfig(bands=BANDS))
    loaded = [list(pair) for pair in zip(speakers.corpora, speakers.names)]
    book.equal(f"{part}: loaded", loaded, expected["available"])
    width, stride = stated.get("window", [125, 125])
    config = WindowsConfig(width=width, stride=stride, most=stated.get("max_segments", 20))
    plain = MelNormalisation(mean=0, deviation=1)
    for person, name in enumerate(speakers.names):
        windows = person_windows(speakers, person, config, plain)
        starts = expected["segments"].get(name) or []
        if starts:
            book.equal(f"{part}: windows of {name}", windows[:, 0, 0].tolist(), [float(at) for at in starts])
            whole = windows[:, 0] - windows[:, :1, 0] == np.arange(width)
            book.equal(f"{part}: frames of {name}", bool(whole.all()), True)
        else:  # the published program fails here; ours fills one window up
            book.equal(f"{part}: windows of {name}", windows.shape, (1, BANDS, width))


def _falling_rate(book: Book, decay: dict) -> None:
    """The rate after each epoch."""
    epochs = range(decay["epochs"])
    ours = [rate_after_epoch(decay["base"], epoch, decay["start"], decay["epochs"]) for epoch in epochs]
    book.close("lr_decay", ours, decay["per_epoch"], rtol=1e-9)


def _lengths(case: Case, book: Book) -> None:
    """Filling at the end, and cutting at a stated start."""
    mel, filling = case.arrays["in_mel"], MelNormalisation().filling
    frames = mel.shape[1]
    for name in case.arrays:
        kind = name.removeprefix("out_")
        if kind.startswith("pad"):
            case.judge(book, name, filled_up(mel, int(kind.removeprefix("pad")), filling))
        elif kind == "same":
            case.judge(book, name, filled_up(mel, frames, filling))
        elif kind.startswith("crop") and name.startswith("out_"):
            length, start = int(kind.removeprefix("crop")), int(case.arrays[f"{kind}_start"])
            batch = {
                "mel": torch.from_numpy(mel)[None],
                "frames": torch.tensor([frames]),
                "place": torch.tensor([(start + 0.5) / (frames - length + 1)], dtype=torch.float64),
            }
            case.judge(book, name, cut_to_shared_length(batch, length)["mel"][0])
