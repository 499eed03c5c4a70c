"""The seven steps in a folder: every intermediate is kept, and a stopped way goes on where it was.

    OUT/config.yaml                 what was asked for
    OUT/journey.json                weights, bank and voices it was made with
    OUT/bank.safetensors            embeddings of the bank's pictures
    OUT/inversions/NAME.{png,safetensors}   step 4: picture and its inversion; code, noise maps, losses
    OUT/voices/PLACE/steps.json     steps 1 to 3: prototypes, videos, chosen pictures
    OUT/voices/PLACE/start.png      step 5, with start.safetensors
    OUT/voices/PLACE/path.safetensors, film.gif     step 6: codes on the way, losses, pictures of them
    OUT/faces/PLACE.png             step 7

Work in progress lies in OUT/state.safetensors, previews of it in OUT/preview.png.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cmpc2.lookup import Prototype
from numpy.typing import NDArray
from torch import Tensor
from voiceface.checkpoints.native import load_state, save_state
from voiceface.io.atomic import compute_sha256, write_json, write_text
from voiceface.runtime.config import to_dict, to_yaml
from voiceface.runtime.process import DeferredSignals
from voiceface.training.run_directory import RunError, config_differences, to_json_values

from voicestyle import pipeline as steps
from voicestyle.animation import write_animation
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank
from voicestyle.latent_optimisation import LatentTrajectory as Found
from voicestyle.pipeline import PipelineModels
from voicestyle.resume_state import (
    build_checkpoint_callback,
    last_finite,
    load_matching_state,
    remove_state,
    resize_square,
    safe_file_name,
    trajectory_from_dict,
    trajectory_to_dict,
)
from voicestyle.selection import SelectedImage
from voicestyle.stylegan2.images import to_uint8, write_png

log = logging.getLogger(__name__)
PROVENANCE_FILE = "journey.json"


@dataclass(frozen=True)
class InvertedImage:
    """A picture, and the code that makes one like it.

    Attributes:
        label: of the picture.
        latent: (D,) or (L, D).
        target, image: (s, s, 3) and (S, S, 3) uint8.
        losses: last values by name.
    """

    label: str
    latent: Tensor
    target: NDArray[np.uint8]
    image: NDArray[np.uint8]
    losses: dict[str, float]


@dataclass(frozen=True)
class RetrievalResult:
    """What a voice led to, steps 1 to 3.

    Attributes:
        voice_path: the recording.
        relative_path: its name below the folder.
        voice_embedding: its embedding, (1, E).
        prototypes: step 1, prototypes.
        video_rows: step 2, videos.
        selected: step 3, pictures.
    """

    voice_path: Path
    relative_path: Path
    voice_embedding: Tensor
    prototypes: list[Prototype]
    video_rows: list[int]
    selected: list[SelectedImage]

    @property
    def name(self) -> str:
        """The place as text."""
        return self.relative_path.as_posix()


@dataclass(frozen=True)
class PipelineResult:
    """What became of one voice.

    Attributes:
        relative_path: its name below the folder.
        voice_path: the recording.
        prototypes: step 1, prototypes.
        video_rows: step 2, videos.
        selected: step 3, pictures.
        inverted: step 4.
        initial_image: step 5, (S, S, 3) uint8.
        initial_similarity: how well it fits the voice, cosine.
        trajectory: step 6, of this voice alone.
        image: step 7, (S, S, 3) uint8.
        similarity: how well it fits the voice, cosine.
        frames: pictures on the way, (K, S, S, 3) uint8.
    """

    relative_path: Path
    voice_path: Path
    prototypes: list[Prototype]
    video_rows: list[int]
    selected: list[SelectedImage]
    inverted: list[InvertedImage]
    initial_image: NDArray[np.uint8]
    initial_similarity: float
    trajectory: Found
    image: NDArray[np.uint8]
    similarity: float
    frames: NDArray[np.uint8]


def check_output_directory(out: Path, resume: bool) -> None:
    """Make sure, before any work, that a folder can be begun with, or gone on with.

    Raises:
        RunError: it holds something else, or nothing to go on with.
    """
    if resume:
        if not (out / PROVENANCE_FILE).is_file():
            raise RunError(f"nothing to resume in {out}: it has no {PROVENANCE_FILE}; leave out --resume")
    elif out.is_dir() and any(item.name != "bank.safetensors" for item in out.iterdir()):
        raise RunError(
            f"{out} is not empty: give --resume to go on with what is in it, or another --out folder"
        )


def prepare_output_directory(
    out: Path, provenance: dict[str, Any], config: VoiceStyleConfig, resume: bool
) -> None:
    """Make the folder, or make sure that what lies in it is of the same way.

    Raises:
        RunError: it holds something else, or nothing to go on with.
    """
    check_output_directory(out, resume)
    provenance = to_json_values({**provenance, "config": to_dict(config)})
    place = out / PROVENANCE_FILE
    if resume and (differing := config_differences(json.loads(place.read_text("utf-8")), provenance)):
        raise RunError(
            f"{out} was made with other settings and cannot be resumed with these:\n  "
            + "\n  ".join(differing[:12])
            + "\nGive the same, or another --out folder"
        )
    for leftover in out.rglob(".*.part*"):
        leftover.unlink(missing_ok=True)
    write_text(out / "config.yaml", to_yaml(config))
    write_json(place, provenance)


def collect_provenance(
    voices: Sequence[tuple[Path, Path]],
    bank: FaceBank | None,
    models: PipelineModels,
    exclude: Collection[str] = (),
) -> dict[str, Any]:
    """What a way is made with, beside its configuration."""
    found: dict[str, Any] = {"weights": models.fingerprint}
    if bank is not None:
        found |= {"bank": bank.digest, "exclude": sorted(set(exclude))}
    return {**found, "files": {place.as_posix(): compute_sha256(path) for path, place in voices}}


def run_pipeline(
    voices: Sequence[tuple[Path, Path]],
    bank: FaceBank,
    models: PipelineModels,
    config: VoiceStyleConfig,
    out: Path,
    *,
    exclude: Collection[str] = (),
    resume: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[PipelineResult], list[str]]:
    """Take several voices through all seven steps; pictures that several lead to are inverted once.

    Args:
        voices: (recording, place of its results), from `voiceface.io.input_files.find_input_files`.
        bank: faces.
        models: networks.
        config: settings.
        out: folder.
        exclude: names whose videos are left out.
        resume: go on with what lies in the folder.
        on_progress: is told what happens.

    Returns:
        The ways, and what was wrong with recordings that were left out.

    Raises:
        ValueError: none of the recordings can be used, or the bank does not do; see `voicestyle.pipeline`.
        RunError: the folder holds something else.
        KeyboardInterrupt: stopped; everything done so far is kept.
    """
    check_output_directory(out, resume)
    heard: list[tuple[Path, Path, Tensor]] = []
    left_out: list[str] = []
    for path, place in voices:
        try:
            heard.append((path, place, steps.embed_voices([path], models)))
        except (ValueError, OSError) as error:
            left_out.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
    if not heard:
        raise ValueError(f"none of the {len(voices)} recordings can be used: {', '.join(left_out[:1])}")
    nearest = [steps.find_nearest_prototypes(voice, bank, config) for _, _, voice in heard]
    videos = [steps.select_videos(near, bank, config, exclude) for near in nearest]
    prepare_output_directory(out, collect_provenance(voices, bank, models, exclude), config, resume)
    found: list[RetrievalResult] = []
    for (path, place, voice), near, rows in zip(heard, nearest, videos):
        led = RetrievalResult(
            path, place, voice, near, rows, steps.select_bank_images(rows, bank, models, config)
        )
        write_json(out / "voices" / place / "steps.json", retrieval_to_dict(led, bank))
        found.append(led)
        on_progress(f"{led.name}: {len(rows)} videos of {len(near)} prototypes, {len(led.selected)} pictures")
    if config.inversion.batching == "coupled":
        groups = [[(c.image.label, c.image.read) for c in each.selected] for each in found]
        names = [f"{each.name} " for each in found]
    else:
        unique = {c.image.label: c.image.read for each in found for c in each.selected}
        items, size = list(unique.items()), config.inversion.batch_size
        groups = [items[at : at + size] for at in range(0, len(items), size)]
        names = [""] * len(groups)
    inverted: dict[str, InvertedImage] = {}
    with DeferredSignals() as interrupts:
        for number, (group, name) in enumerate(zip(groups, names), 1):
            pictures = invert_or_load(group, models, config, out, interrupts, key_prefix=name)
            inverted |= {name + label: picture for label, picture in pictures.items()}
            on_progress(f"inverted {number} of {len(groups)} batches")
        journeys = guide_or_load(found, inverted, names, models, config, out, interrupts)
    return journeys, left_out


def retrieval_to_dict(retrieval: RetrievalResult, bank: FaceBank) -> dict[str, Any]:
    """Steps 1 to 3 as JSON."""
    return {
        "prototypes": [{"number": each.cluster, "distance": each.distance} for each in retrieval.prototypes],
        "videos": [bank.videos[row].path for row in retrieval.video_rows],
        "pictures": [
            {
                "video": bank.label(each.video_row),
                "picture": each.image.label,
                "likeness": None if np.isnan(each.similarity) else each.similarity,
                "frontal": each.is_frontal,
            }
            for each in retrieval.selected
        ],
    }


def invert_or_load(
    items: Sequence[tuple[str, Callable[[], NDArray[np.uint8]]]],
    models: PipelineModels,
    config: VoiceStyleConfig,
    out: Path,
    interrupts: DeferredSignals,
    key_prefix: str = "",
) -> dict[str, InvertedImage]:
    """Invert one batch of pictures, or read it from the folder.

    Args:
        items: (label, reads the picture) each.
        models, config: see `voicestyle.pipeline`.
        out: folder.
        interrupts: stops between two steps.
        key_prefix: goes before the labels in names of files and in seeds.

    Returns:
        By label.

    Raises:
        RunError: a picture has changed since it was inverted.
    """
    folder = out / "inversions"
    known = {label: folder / f"{safe_file_name(key_prefix + label)}.safetensors" for label, _ in items}
    labels = [label for label, _ in items]
    targets = steps.prepare_targets([read() for _, read in items], models)
    shown = to_uint8(targets)
    if not all(path.is_file() for path in known.values()):
        kept = load_matching_state(out, "inversion", [key_prefix + label for label in labels])
        found = steps.invert_targets(
            targets,
            [key_prefix + label for label in labels],
            models,
            config,
            resume_state=kept,
            callback=build_checkpoint_callback(
                out, "inversion", [key_prefix + label for label in labels], interrupts, shown
            ),
        )
        pictures = steps.synthesise_images(found, models)
        for number, label in enumerate(labels):
            alone = steps.select_rows(found, [number])
            shown_as = hashlib.sha256(shown[number].tobytes()).hexdigest()
            save_state(known[label], {"label": label, "target": shown_as, **trajectory_to_dict(alone)})
            both = np.concatenate([resize_square(shown[number], pictures.shape[1]), pictures[number]], 1)
            write_png(known[label].with_suffix(".png"), both)
        remove_state(out)
    result = {}
    for number, label in enumerate(labels):
        content = load_state(known[label])
        if content["target"] != hashlib.sha256(shown[number].tobytes()).hexdigest():
            raise RunError(
                f"the picture {label} was another one when {out} was made: give another --out folder"
            )
        alone = trajectory_from_dict(content, models.device)
        result[label] = InvertedImage(
            label,
            alone.latents[0],
            shown[number],
            steps.synthesise_images(alone, models)[0],
            {
                name: float(last_finite(values[:, 0]))
                for name, values in alone.history.items()
                if name != "strength"
            },
        )
    return result


def guide_or_load(
    retrievals: Sequence[RetrievalResult],
    inverted: dict[str, InvertedImage],
    key_prefixes: Sequence[str],
    models: PipelineModels,
    config: VoiceStyleConfig,
    out: Path,
    interrupts: DeferredSignals,
) -> list[PipelineResult]:
    """Steps 5 to 7 of all voices, a batch at a time, or what the folder has of them."""
    coupled = config.inversion.batching == "coupled"
    starts = []
    for number, led in enumerate(retrievals):
        prefix = key_prefixes[number] if coupled else ""
        codes = torch.stack([inverted[prefix + each.image.label].latent for each in led.selected])
        start = steps.compute_initial_latent(codes, led.voice_embedding, models, config)
        save_state(out / "voices" / led.relative_path / "start.safetensors", {"code": start.cpu()})
        starts.append(start)
    per = max(1, config.guidance.batch_size // config.guidance.num_restarts)
    journeys: list[PipelineResult] = []
    for at in range(0, len(retrievals), per):
        part, begin = retrievals[at : at + per], torch.cat(starts[at : at + per])
        voices = torch.cat([each.voice_embedding for each in part])
        keys = [each.name for each in part]
        paths = [out / "voices" / each.relative_path / "path.safetensors" for each in part]
        if not all(path.is_file() for path in paths):
            path = steps.guide_by_voice(
                begin,
                voices,
                models,
                config,
                keys,
                resume_state=load_matching_state(out, "guidance", keys),
                callback=build_checkpoint_callback(out, "guidance", keys, interrupts, None),
            )
            for number, place in enumerate(paths):
                save_state(place, trajectory_to_dict(steps.select_rows(path, [number])))
            remove_state(out)
        for number, led in enumerate(part):
            alone = trajectory_from_dict(load_state(paths[number]), models.device)
            prefix = key_prefixes[at + number] if coupled else ""
            pictures = [inverted[prefix + each.image.label] for each in led.selected]
            journeys.append(_write_result(led, pictures, starts[at + number], alone, models, config, out))
    return journeys


def _write_result(
    retrieval: RetrievalResult,
    inverted: list[InvertedImage],
    initial_latent: Tensor,
    trajectory: Found,
    models: PipelineModels,
    config: VoiceStyleConfig,
    out: Path,
) -> PipelineResult:
    """Write the pictures of one voice."""
    before = steps.with_initial_latents(trajectory, initial_latent)
    codes = [before.latents, *trajectory.snapshots]
    film = np.concatenate([steps.synthesise_images(trajectory, models, each) for each in codes])
    folder = out / "voices" / retrieval.relative_path
    write_png(folder / "start.png", film[0])
    write_animation(folder / "film.gif", film)
    target = out / "faces" / retrieval.relative_path.with_name(f"{retrieval.relative_path.name}.png")
    write_png(target, film[-1])
    start_fit, fit = (
        float(steps.compute_similarities(each, retrieval.voice_embedding, models, config)[0])
        for each in (before, trajectory)
    )
    way = (
        retrieval.relative_path,
        retrieval.voice_path,
        retrieval.prototypes,
        retrieval.video_rows,
        retrieval.selected,
    )
    return PipelineResult(*way, inverted, film[0], start_fit, trajectory, film[-1], fit, film)
