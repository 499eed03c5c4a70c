"""Evaluation on the published lists of CMPC: matching, verification, retrieval (docs/cmpc2.md).

Clips of an utterance are sampled at random, as published, but as a function of (seed, row of the list, view):
metrics do not depend on the number of processes. Notation: V views of a file, D embedding length.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.io.packed_folders import file_exists

from cmpc2.audio_frontend import load_log_mel, prepare_voice
from cmpc2.model_config import VoiceFrontendConfig

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.identities import Identity
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.embeddings.table import EmbeddingTable
    from voiceface.evaluation.results import ListResult, Results
    from voiceface.metrics.unavailable import UnavailableResult

    from cmpc2.embedder import Embedder

__all__ = [
    "STRATA_ORDER",
    "TRIAL_LIST_PATTERNS",
    "VOICE_SUFFIXES",
    "MediaPaths",
    "embed_trial_list",
    "evaluate_trial_lists",
    "find_trial_lists",
    "item_rows",
    "mean_over_views",
    "sample_voice_clips",
    "stored_feature_path",
    "training_overlap_warning",
]

log = logging.getLogger(__name__)
TRIAL_LIST_PATTERNS = (
    *("matching_*.csv", "veriflist_test_*.txt", "wav_20k.csv", "jpg_20k.csv"),
    *("match_*.txt", "verify_*.txt", "reterival_*.txt", "retrieval_*.txt"),
)
VOICE_SUFFIXES = (".wav", ".pkl", ".npy", ".flac", ".m4a", ".mp3")
STRATA_ORDER = ("U", "G", "N", "GN", "A", "GNA")


@dataclass(frozen=True)
class MediaPaths:
    """Folders of the files that trial lists name.

    Attributes:
        voice_root: folder of `<voice id>/<video>/<utterance>`: utterances or stored features, of any suffix.
        face_root: folder of `<name>/1.6/<video>/<frame>.jpg`.
    """

    voice_root: Path
    face_root: Path

    def voice_path(self, item: str) -> Path:
        """Find the file of a listed utterance: as listed, or with another suffix."""
        path = self.voice_root / item
        if file_exists(path):
            return path
        candidates = (path.with_suffix(suffix) for suffix in VOICE_SUFFIXES)
        return next((candidate for candidate in candidates if file_exists(candidate)), path)

    def face_path(self, item: str) -> Path:
        """Path of a listed image."""
        return self.face_root / item


def stored_feature_path(item: str, suffix: str) -> str:
    """Change the suffix of a listed utterance, such as to `.pkl` for stored features."""
    return str(Path(item).with_suffix(suffix).as_posix())


def find_trial_lists(folder: Path, names: Collection[str] = ()) -> list[Path]:
    """Find all trial lists below a folder, gzipped or not: matching, verification, retrieval.

    Args:
        folder: such as CMPC's data folder.
        names: only these, without suffix, in this order.

    Raises:
        FileNotFoundError: there are none, or some of `names` are missing.
    """
    from voiceface.datasets.trials.trial_list import trial_list_name

    paths: dict[str, Path] = {}
    for pattern in TRIAL_LIST_PATTERNS:
        for path in sorted([*folder.rglob(pattern), *folder.rglob(f"{pattern}.gz")], key=_trial_list_order):
            paths.setdefault(trial_list_name(path), path)
    missing = [name for name in names if name not in paths]
    if missing or not paths:
        expected = ", ".join(missing) or ", ".join(TRIAL_LIST_PATTERNS)
        raise FileNotFoundError(
            f"no trial list {expected} below {folder}; available: {', '.join(paths) or 'none'}"
        )
    return [paths[name] for name in names] if names else list(paths.values())


def embed_trial_list(
    model: "Embedder",
    trial_list: "TrialList",
    media_paths: MediaPaths,
    *,
    cache: Path | None = None,
    workers: int = 2,
    on_error: str = "error",
) -> "tuple[EmbeddingTable, EmbeddingTable]":
    """Embed the items of one list, each file once.

    Verification uses the mean over several clips, and over image and mirrored image; the others use one view.

    Args:
        model: trained model.
        trial_list: the list.
        media_paths: folders of the files.
        cache: folder for embeddings, keyed by model, list and seed; None: no cache.
        workers: loading threads.
        on_error: unreadable files: "error" or "skip".

    Returns:
        (voices, faces).
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
    """Map the voices ("v") and faces ("f") of a list to the row in which each item first occurs."""
    rows: dict[str, dict[str, int]] = {"v": {}, "f": {}}
    for modality, items, index in zip(
        trial_list.direction.split("2"),
        (trial_list.probes, trial_list.gallery),
        (trial_list.probe_index, trial_list.gallery_index),
    ):
        table = np.arange(len(items)) if index is None else index
        for row, indices in enumerate(table.reshape(len(table), -1).tolist()):
            for i in indices:
                rows[modality].setdefault(items[i], row)
    return rows


def sample_voice_clips(
    path: Path, config: VoiceFrontendConfig, num_clips: int, seed: Sequence[int]
) -> NDArray[np.float32]:
    """Sample random clips of an utterance, (V, 1, 64, frames).

    Args:
        path: utterance or stored features.
        config: front end; clips have `num_frames` (decibels) or `min_frames` frames (sphinx).
        num_clips: number of clips V.
        seed: clip v is a function of these numbers and v.
    """
    log_mel = load_log_mel(path, config)
    num_frames = config.num_frames if config.frontend == "decibels" else config.min_frames
    crop_config = config.model_copy(update={"num_frames": num_frames})
    clips = []
    for view in range(num_clips):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*seed, view])))
        clips.append(prepare_voice(log_mel, crop_config, partial(_random_offset, rng), crop=True))
    return np.stack(clips)


def _random_offset(rng: np.random.Generator, count: int) -> int:
    """Sample one of `count` starts."""
    return int(rng.integers(count))


def mean_over_views(encode: Any, batch: "Tensor") -> "Tensor":
    """Compute the mean embedding over views, not normalised before: (B, V, ...) to (B, D)."""
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
    unavailable: "Sequence[UnavailableResult]" = (),
    on_result: "Callable[[Results], None] | None" = None,
) -> "tuple[Results, EmbeddingTable, EmbeddingTable]":
    """Compute all metrics of a model on trial lists.

    Args:
        model: trained model.
        trial_lists: the lists.
        identity_source: identities of the listed files.
        media_paths: folders of the files.
        name: of the protocol.
        cache, workers, on_error: see `embed_trial_list`.
        training_identities: identities of the training videos of the model or its prototype memory, besides
            those stored in the checkpoint: results on lists that contain them are marked.
        replicates: bootstrap samples over identities; 0: no intervals.
        unavailable: lists that are known to be unavailable, to be stated in the results.
        on_result: called after every list with the results so far; lists still to come are among the
            unavailable ones.

    Returns:
        (results, voices and faces of the last list that could be computed).

    Raises:
        EmbeddingError: files cannot be read, with on_error="error".
        TrialListError: no list can be computed.
    """
    from voiceface.datasets.trials.trial_list import TrialListError
    from voiceface.evaluation.evaluator import evaluate as compute_metrics
    from voiceface.evaluation.protocol import Protocol
    from voiceface.evaluation.results import Results
    from voiceface.metrics.unavailable import NOT_COMPUTED_YET, UnavailableResult

    settings = model.config.evaluation
    known = {*(model.identity_names or ()), *training_identities}
    protocol = Protocol(name, tuple(trial_lists), tie_breaking=settings.tie_breaking, replicates=replicates)
    computed: list[ListResult] = []
    failed: list[UnavailableResult] = []
    leaked = dict[str, None]()
    tables: tuple[EmbeddingTable, EmbeddingTable] | None = None
    for number, trial_list in enumerate(trial_lists, 1):
        try:
            embedded = embed_trial_list(
                model, trial_list, media_paths, cache=cache, workers=workers, on_error=on_error
            )
            results = compute_metrics(
                replace(protocol, lists=(trial_list,)),
                *embedded,
                identity_source,
                on_missing=on_error,
                training_identities=known,
                device=model.device,
            )
            (result,) = results.lists
            computed.append(_with_published_eer(result) if settings.eer_method == "corner" else result)
        except ValueError as error:
            if on_error == "error":
                raise
            failed.append(UnavailableResult.from_error(trial_list.name, error))
            log.warning("not computed: %s", failed[-1])
        else:
            tables = embedded
            leaked |= dict.fromkeys(results.leaked)
        if on_result and tables:
            due = (UnavailableResult(each.name, NOT_COMPUTED_YET) for each in trial_lists[number:])
            fingerprints = tables[0].fingerprint, tables[1].fingerprint
            missing = (*unavailable, *failed, *due)
            on_result(Results(protocol, tuple(computed), *fingerprints, tuple(leaked), missing))
    if tables is None:
        raise TrialListError(f"none of the lists can be computed: {'; '.join(map(str, failed))}")
    fingerprints = tables[0].fingerprint, tables[1].fingerprint
    missing = (*unavailable, *failed)
    return Results(protocol, tuple(computed), *fingerprints, tuple(leaked), missing), *tables


def _with_published_eer(result: "ListResult") -> "ListResult":
    """Replace the equal error rate of a verification list by that of the published corner rule."""
    if result.scores is None or result.labels is None:
        return result
    import torch
    from voiceface.evaluation.results import Metric

    from cmpc2.verification import corner_eer

    rate = float(corner_eer(*map(torch.from_numpy, (result.scores, result.labels))))
    nan = float("nan")
    return replace(result, metrics={**result.metrics, "eer": Metric(rate, 0.5, nan, nan, nan)})


def training_overlap_warning(results: "Results") -> str:
    """Build the disclaimer for results on identities that the model was trained on; empty for none."""
    if not results.leaked:
        return ""
    evaluated: set[int] = set()
    for result in results.lists:
        evaluated |= set(result.trial_identities.tolist())
    return (
        f"{len(results.leaked)} of the {len(evaluated)} evaluated identities have videos among the training "
        "videos of this model or memory: these metrics are not those of unseen identities."
    )


def _trial_list_order(path: Path) -> tuple[int, str]:
    """Sort key: U before G, N, GN ..., then by name."""
    parts = path.name.removesuffix(".gz").rsplit(".", 1)[0].replace("random", "U").split("_")
    rank = next((i for i, stratum in enumerate(STRATA_ORDER) if stratum in parts), len(STRATA_ORDER))
    return rank, path.name
