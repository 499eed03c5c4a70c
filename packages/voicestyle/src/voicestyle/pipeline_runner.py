"""The seven steps for several voices: batched, with results in memory or in a resumable run directory.

Each step is a function of `voicestyle.pipeline`. An image that several voices retrieve is inverted once.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from voiceface.io.foreign_files import digest_file
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS
from voiceface.io.own_files import LeftOut, format_left_out
from voiceface.runtime.progress import progress_bar

from voicestyle import pipeline
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank
from voicestyle.latent_optimisation import LatentTrajectory
from voicestyle.models import PipelineModels
from voicestyle.pipeline_records import (
    InversionItem,
    InvertedImage,
    PipelineResult,
    RetrievalResult,
    VoiceQuery,
)
from voicestyle.result_store import DirectoryStore, MemoryStore, check_output_directory, last_finite
from voicestyle.stylegan2.images import to_uint8
from voicestyle.voice_embedding import embed_data_voice, embed_voice

__all__ = [
    "collect_provenance",
    "invert_in_batches",
    "retrieval_to_dict",
    "run_pipeline",
    "run_pipeline_on_files",
]


def run_pipeline_on_files(
    voices: Sequence[tuple[Path, Path]],
    bank: FaceBank,
    models: PipelineModels,
    config: VoiceStyleConfig,
    out: Path,
    *,
    exclude: Collection[str] = (),
    resume: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
    data_folder: bool = False,
) -> tuple[list[PipelineResult], list[LeftOut]]:
    """Generate faces from recordings and keep every step in a run directory.

    Args:
        voices: (recording, relative path of its results), from `voiceface.io.input_files.find_input_files`.
        bank: face bank.
        models: networks.
        config: settings.
        out: run directory.
        exclude: names whose videos are skipped.
        resume: continue the run in `out`.
        on_progress: called with a line of text after each batch.
        data_folder: the recordings are those of a data folder, which are not measured.

    Returns:
        The results, and the recordings that were left out.

    Raises:
        ValueError: none of the recordings can be used, or the bank does not fit; see `voicestyle.pipeline`.
        RunError: the directory belongs to another run.
        KeyboardInterrupt: interrupted; everything done so far is kept.
    """
    check_output_directory(out, resume)
    queries: list[VoiceQuery] = []
    left_out: list[LeftOut] = []
    embed = embed_data_voice if data_folder else embed_voice
    for path, relative_path in progress_bar(voices, "voices", "voice"):
        name = relative_path.as_posix()
        try:
            embedding, facts = embed(path, models)
        except (ValueError, OSError) as error:
            left_out.append(LeftOut.from_error(path, error))
        else:
            queries.append(VoiceQuery(name, embedding, name, path, f"{name} ", facts))
    if not queries:
        shown = format_left_out(left_out)
        raise ValueError(f"none of the {len(voices)} recordings can be used:\n{shown}")
    provenance = collect_provenance(voices, bank, models, exclude)
    store = DirectoryStore(out=out, config=config, provenance=provenance, resume=resume)
    results = run_pipeline(
        queries, bank, models, config, store=store, exclude=exclude, on_progress=on_progress
    )
    return results, left_out


def collect_provenance(
    files: Sequence[tuple[Path, Path]],
    bank: FaceBank | None,
    models: PipelineModels,
    exclude: Collection[str] = (),
) -> dict[str, Any]:
    """Return hashes of everything that determines the results besides the configuration."""
    provenance: dict[str, Any] = {"weights": models.fingerprint}
    if bank is not None:
        provenance |= {"bank": bank.digest, "exclude": sorted(set(exclude))}
        if models.embedder.long_recordings != DEFAULT_LONG_RECORDINGS:
            provenance["long_recordings"] = str(models.embedder.long_recordings)
    return {
        **provenance,
        "files": {relative_path.as_posix(): digest_file(path) for path, relative_path in files},
    }


def run_pipeline(
    queries: Sequence[VoiceQuery],
    bank: FaceBank,
    models: PipelineModels,
    config: VoiceStyleConfig,
    *,
    store: MemoryStore | None = None,
    exclude: Collection[str] = (),
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[PipelineResult]:
    """Run all seven steps for several voices.

    Args:
        queries: voices with different names.
        bank: face bank.
        models: networks.
        config: settings.
        store: where results are kept; None for a new `MemoryStore`.
        exclude: names whose videos are skipped.
        on_progress: called with a line of text after each batch.

    Raises:
        FaceBankError: the bank does not fit the configuration.
        RunError: the store's directory belongs to another run.
        KeyboardInterrupt: interrupted; a `DirectoryStore` keeps everything done so far.
    """
    store = store or MemoryStore()
    nearest = [pipeline.find_nearest_prototypes(query.embedding, bank, config) for query in queries]
    video_rows = [pipeline.select_videos(each, bank, config, exclude) for each in nearest]
    store.prepare()
    retrievals = []
    for query, prototypes, rows in zip(queries, nearest, video_rows, strict=True):
        selected = pipeline.select_bank_images(rows, bank, models, config)
        retrievals.append(RetrievalResult(query, prototypes, rows, selected))
        store.save_retrieval(query.name, retrieval_to_dict(retrievals[-1], bank))
        on_progress(
            f"{query.name}: {len(rows)} videos of {len(prototypes)} prototypes, {len(selected)} images"
        )
    with store.defer_signals():
        batches = _plan_inversions(retrievals, config, store)
        invert_in_batches(batches, models, config, store, on_progress)
        return _guide_in_batches(retrievals, models, config, store, models.disclaimer or bank.disclaimer)


def retrieval_to_dict(retrieval: RetrievalResult, bank: FaceBank) -> dict[str, Any]:
    """Convert steps 1 to 3 to JSON values."""
    return {
        "prototypes": [{"number": each.cluster, "distance": each.distance} for each in retrieval.prototypes],
        "videos": [bank.videos[row].image_folder for row in retrieval.video_rows],
        "images": [
            {
                "video": bank.label(each.video_row),
                "image": each.image.label,
                "similarity": None if np.isnan(each.similarity) else each.similarity,
                "frontal": each.is_frontal,
            }
            for each in retrieval.selected
        ],
    }


def invert_in_batches(
    batches: Sequence[Sequence[InversionItem]],
    models: PipelineModels,
    config: VoiceStyleConfig,
    store: MemoryStore,
    on_progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Invert images, or read their inversions, and add them to `store.inverted` by their keys.

    Raises:
        RunError: an image has changed since it was inverted.
    """
    for number, batch in enumerate(batches, 1):
        keys, labels = [item.key for item in batch], [item.label for item in batch]
        targets = pipeline.prepare_targets([item.read() for item in batch], models)
        target_images = to_uint8(targets)
        trajectories = store.load_inversions(keys, target_images, models.device)
        if trajectories is None:
            options = store.optimiser_options("inversion", keys, target_images)
            joint = pipeline.invert_targets(
                targets, [item.seed_key for item in batch], models, config, **options
            )
            trajectories = [pipeline.select_rows(joint, [row]) for row in range(len(batch))]
            images = pipeline.synthesise_images(joint, models)
            store.save_inversions(keys, labels, target_images, images, trajectories)
        for key, label, target, trajectory in zip(keys, labels, target_images, trajectories, strict=True):
            losses = {
                name: float(last_finite(values[:, 0]))
                for name, values in trajectory.history.items()
                if name != "strength"
            }
            image = pipeline.synthesise_images(trajectory, models)[0]
            store.inverted[key] = InvertedImage(label, trajectory.latents[0], target, image, losses)
        on_progress(f"inverted {number} of {len(batches)} batches")


def _inversion_key(query: VoiceQuery, label: str, config: VoiceStyleConfig) -> str:
    """Key of an inverted image: coupled inversions depend on the other images of the voice."""
    return f"{query.name} {label}" if config.inversion.batching == "coupled" else label


def _plan_inversions(
    retrievals: Sequence[RetrievalResult], config: VoiceStyleConfig, store: MemoryStore
) -> list[list[InversionItem]]:
    """Form batches of images that the store does not hold: one per voice if coupled, else `batch_size`."""
    is_coupled = config.inversion.batching == "coupled"
    per_voice: list[list[InversionItem]] = []
    for retrieval in retrievals:
        query = retrieval.query
        prefix = query.inversion_seed_prefix if is_coupled else ""
        per_voice.append(
            [
                InversionItem(
                    _inversion_key(query, each.image.label, config),
                    prefix + each.image.label,
                    each.image.label,
                    each.image.read,
                )
                for each in retrieval.selected
            ]
        )
    if is_coupled:
        return per_voice
    pending = {item.key: item for items in per_voice for item in items if item.key not in store.inverted}
    items, size = list(pending.values()), config.inversion.batch_size
    return [items[start : start + size] for start in range(0, len(items), size)]


def _guide_in_batches(
    retrievals: Sequence[RetrievalResult],
    models: PipelineModels,
    config: VoiceStyleConfig,
    store: MemoryStore,
    disclaimer: str,
) -> list[PipelineResult]:
    """Run steps 5 to 7 for all voices, or read what the store holds of them."""
    inverted = [
        [store.inverted[_inversion_key(each.query, image.image.label, config)] for image in each.selected]
        for each in retrievals
    ]
    initial_latents = []
    for retrieval, images in zip(retrievals, inverted, strict=True):
        latents = torch.stack([image.latent for image in images])
        latent = pipeline.compute_initial_latent(latents, retrieval.query.embedding, models, config)
        store.save_initial_latent(retrieval.query.name, latent)
        initial_latents.append(latent)
    size = max(1, config.guidance.batch_size // config.guidance.num_restarts)
    results: list[PipelineResult] = []
    for start in range(0, len(retrievals), size):
        batch = slice(start, start + size)
        queries = [each.query for each in retrievals[batch]]
        names, keys = [query.name for query in queries], [query.seed_key for query in queries]
        trajectories = store.load_guidance(names, models.device)
        if trajectories is None:
            joint = pipeline.guide_by_voice(
                torch.cat(initial_latents[batch]),
                torch.cat([query.embedding for query in queries]),
                models,
                config,
                keys,
                **store.optimiser_options("guidance", keys),
            )
            trajectories = [pipeline.select_rows(joint, [row]) for row in range(len(queries))]
            store.save_guidance(names, trajectories)
        for retrieval, images, latent, trajectory in zip(
            retrievals[batch], inverted[batch], initial_latents[batch], trajectories, strict=True
        ):
            result = _build_result(retrieval, images, latent, trajectory, models, config, disclaimer)
            store.save_images(result.name, result.frames)
            results.append(result)
    return results


def _build_result(
    retrieval: RetrievalResult,
    inverted: list[InvertedImage],
    initial_latent: Tensor,
    trajectory: LatentTrajectory,
    models: PipelineModels,
    config: VoiceStyleConfig,
    disclaimer: str,
) -> PipelineResult:
    """Synthesise and score the images of one voice."""
    initial = pipeline.with_initial_latents(trajectory, initial_latent)
    frames = np.concatenate(
        [
            pipeline.synthesise_images(trajectory, models, latents)
            for latents in (initial.latents, *trajectory.snapshots)
        ]
    )
    initial_similarity, similarity = (
        float(pipeline.compute_similarities(each, retrieval.query.embedding, models, config)[0])
        for each in (initial, trajectory)
    )
    return PipelineResult(
        retrieval,
        inverted,
        frames[0],
        initial_similarity,
        trajectory,
        frames[-1],
        similarity,
        frames,
        disclaimer,
    )
