"""The three evaluations of CMPC on published lists: matching, verification, retrieval (docs/cmpc2.md).

Clips of a recording are drawn at random, as published, yet from (seed, row of the list, view): the figures do
not depend on processes or order of work. Letters: V views of a file, D length of an embedding.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmpc2.audio_frontend import load_log_mel, prepare_voice
from cmpc2.model_config import VoiceFrontendConfig

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.identities import Identity
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.evaluation.results import Results

    from cmpc2.embedder import Embedder

log = logging.getLogger(__name__)
TRIAL_LIST_PATTERNS = (
    *("matching_*.csv", "veriflist_test_*.txt", "wav_20k.csv", "jpg_20k.csv"),
    *("match_*.txt", "verify_*.txt", "reterival_*.txt", "retrieval_*.txt"),
)
VOICE_SUFFIXES = (".wav", ".pkl", ".npy", ".flac", ".m4a", ".mp3")
STRATA_ORDER = ("U", "G", "N", "GN", "A", "GNA")


@dataclass(frozen=True)
class MediaPaths:
    """Where listed files are.

    Attributes:
        voices: folder of `<voice id>/<video>/<utterance>`; recordings or stored features, whatever ending.
        faces: folder of `<name>/1.6/<video>/<frame>.jpg`.
    """

    voice_root: Path
    face_root: Path

    def voice_path(self, item: str) -> Path:
        """File of a listed clip: as listed, or stored features of the same name."""
        path = self.voice_root / item
        if path.is_file():
            return path
        others = (path.with_suffix(ending) for ending in VOICE_SUFFIXES)
        return next((other for other in others if other.is_file()), path)

    def face_path(self, item: str) -> Path:
        """File of a listed picture."""
        return self.face_root / item


def stored_feature_path(item: str, suffix: str) -> str:
    """A listed clip under another ending, such as `.pkl` for stored features."""
    return str(Path(item).with_suffix(suffix).as_posix())


def find_trial_lists(folder: Path, names: Collection[str] = ()) -> list[Path]:
    """All evaluation lists below a folder, packed or not: matching, verification, retrieval.

    Args:
        folder: such as CMPC's data folder.
        names: only these, without endings; order is theirs then.

    Raises:
        FileNotFoundError: there are none, or some of `names` are absent.
    """
    from voiceface.datasets.trials.trial_list import trial_list_name

    found: dict[str, Path] = {}
    for pattern in TRIAL_LIST_PATTERNS:
        for path in sorted([*folder.rglob(pattern), *folder.rglob(f"{pattern}.gz")], key=_trial_list_order):
            found.setdefault(trial_list_name(path), path)
    absent = [name for name in names if name not in found]
    if absent or not found:
        what = ", ".join(absent) or ", ".join(TRIAL_LIST_PATTERNS)
        raise FileNotFoundError(
            f"no evaluation list {what} below {folder}; there are {', '.join(found) or 'none'}"
        )
    return [found[name] for name in names] if names else list(found.values())


def embed_trial_list(
    model: "Embedder",
    trial_list: "TrialList",
    media_paths: MediaPaths,
    *,
    cache: Path | None = None,
    workers: int = 2,
    on_error: str = "error",
) -> "tuple[EmbeddingTable, EmbeddingTable]":
    """Voice and face embeddings for one list, each file once.

    Verification takes the mean over several clips and over picture and mirror image; the others one view.

    Args:
        model: encoder.
        questions: the list.
        places: where the files are.
        cache: folder that keeps embeddings by model, list and seed; None keeps none.
        workers: loading threads.
        on_error: unreadable files: "error" or "skip".
    """
    from voiceface.embeddings.encoding import encode_files

    settings = model.config.evaluation
    views = settings.voice_clips if trial_list.kind == "verify" else 1
    mirror = settings.mirror_images and trial_list.kind == "verify"
    rows = item_rows(trial_list)
    voice_rows = {media_paths.voice_path(item): rows["v"][item] for item in trial_list.voices}
    key = f"{model.fingerprint} {trial_list.name} {settings.seed} {views} {mirror}"
    options: dict[str, Any] = {
        "fingerprint": hashlib.sha256(key.encode()).hexdigest(),
        "cache_dir": cache,
        "workers": workers,
        "on_error": on_error,
    }

    def load_voice(path: Path) -> NDArray[np.float32]:
        return sample_voice_clips(path, model.voice_config, views, (settings.seed, voice_rows[path]))

    def load_face(path: Path) -> NDArray[np.float32]:
        face = model.load_face(path)
        return np.stack([face, face[..., ::-1]] if mirror else [face])

    voices = encode_files(
        trial_list.voices,
        media_paths.voice_path,
        load_voice,
        partial(mean_over_views, model.encode_voices),
        batch_size=max(1, model.voice_batch_size // views),
        label=f"{trial_list.name}: voices",
        **options,
    )
    faces = encode_files(
        trial_list.faces,
        media_paths.face_path,
        load_face,
        partial(mean_over_views, model.encode_faces),
        batch_size=max(1, model.face_batch_size // (2 if mirror else 1)),
        label=f"{trial_list.name}: faces",
        **options,
    )
    return voices, faces


def item_rows(trial_list: "TrialList") -> dict[str, dict[str, int]]:
    """For the voices ("v") and faces ("f") of a list the line in which each item first stands."""
    found: dict[str, dict[str, int]] = {"v": {}, "f": {}}
    for side, items, index in zip(
        trial_list.direction.split("2"),
        (trial_list.probes, trial_list.gallery),
        (trial_list.probe_index, trial_list.gallery_index),
    ):
        lines = np.arange(len(items)) if index is None else index
        for line, places in enumerate(lines.reshape(len(lines), -1).tolist()):
            for place in places:
                found[side].setdefault(items[place], line)
    return found


def sample_voice_clips(
    path: Path, config: VoiceFrontendConfig, num_clips: int, seed: Sequence[int]
) -> NDArray[np.float32]:
    """Random clips of a recording, (V, 1, 64, frames).

    Args:
        path: recording or stored features.
        config: front end; clips of `frames` (decibels) or `least` frames (sphinx).
        views: V.
        seed: clip v follows from these numbers and v.
    """
    bands = load_log_mel(path, config)
    frames = config.num_frames if config.frontend == "decibels" else config.min_frames
    cut = config.model_copy(update={"num_frames": frames})
    clips = []
    for view in range(num_clips):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*seed, view])))
        clips.append(prepare_voice(bands, cut, partial(_random_offset, rng), crop=True))
    return np.stack(clips)


def _random_offset(rng: np.random.Generator, count: int) -> int:
    """One of so many starts."""
    return int(rng.integers(count))


def mean_over_views(encode: Any, batch: "Tensor") -> "Tensor":
    """Mean embedding over views, each at its own length: (B, V, ...) to (B, D)."""
    count, views = batch.shape[:2]
    return encode(batch.flatten(0, 1)).unflatten(0, (count, views)).mean(1)


def evaluate_trial_lists(
    model: "Embedder",
    trial_lists: "Sequence[TrialList]",
    identity_source: "Corpus | Sequence[Identity]",
    media_paths: MediaPaths,
    *,
    name: str = "lists",
    cache: Path | None = None,
    workers: int = 2,
    on_error: str = "error",
    training_identities: "Iterable[str]" = (),
    replicates: int = 1000,
) -> "tuple[Results, EmbeddingTable, EmbeddingTable]":
    """All figures of a model on lists.

    Args:
        model: encoder.
        lists: what is asked.
        people: who is who.
        places: where the files are.
        name: of the protocol.
        cache, workers, on_error: see `embed_trial_list`.
        trained_on: identities whose videos the model or its prototype memory was made of, besides those that
            its file names: where they are in the lists, the figures are marked and a warning is given.
        replicates: of the bootstrap over identities; 0 leaves intervals out.

    Returns:
        (results, voices and faces of the last list).
    """
    from voiceface.evaluation.evaluator import evaluate as figures_of
    from voiceface.evaluation.protocol import Protocol
    from voiceface.evaluation.results import Metric, Results

    settings = model.config.evaluation
    known = {*(model.identity_names or ()), *training_identities}
    found, leaked = [], dict[str, None]()
    for questions in trial_lists:
        voices, faces = embed_trial_list(
            model, questions, media_paths, cache=cache, workers=workers, on_error=on_error
        )
        protocol = Protocol(name, (questions,), tie_breaking=settings.tie_breaking, replicates=replicates)
        results = figures_of(
            protocol,
            voices,
            faces,
            identity_source,
            on_missing=on_error,
            training_identities=known,
            device=model.device,
        )
        (result,) = results.lists
        if settings.eer_method == "corner" and result.scores is not None and result.labels is not None:
            import torch

            from cmpc2.verification import corner_eer

            rate = float(corner_eer(*map(torch.from_numpy, (result.scores, result.labels))))
            nan = float("nan")
            result = replace(result, metrics={**result.metrics, "eer": Metric(rate, 0.5, nan, nan, nan)})
        found.append(result)
        leaked |= dict.fromkeys(results.leaked)
    whole = Protocol(name, tuple(trial_lists), tie_breaking=settings.tie_breaking, replicates=replicates)
    merged = Results(whole, tuple(found), voices.fingerprint, faces.fingerprint, tuple(leaked))
    return merged, voices, faces


def training_overlap_warning(results: "Results") -> str:
    """What readers of figures must be told where evaluated people took part in training; empty otherwise."""
    if not results.leaked:
        return ""
    asked: set[int] = set()
    for found in results.lists:
        asked |= set(found.trial_identities.tolist())
    return (
        f"{len(results.leaked)} of the {len(asked)} evaluated people have videos among the training videos "
        "of this model or memory: these figures do not measure unseen people."
    )


def _trial_list_order(path: Path) -> tuple[int, str]:
    """U before G, N, GN ..., then by name."""
    words = path.name.removesuffix(".gz").rsplit(".", 1)[0].replace("random", "U").split("_")
    rank = next((place for place, stratum in enumerate(STRATA_ORDER) if stratum in words), len(STRATA_ORDER))
    return rank, path.name
