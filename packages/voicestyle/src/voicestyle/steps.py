"""The seven steps from a voice to a face, in order. Specification, section 11.

    voices = embed_voices(paths, tools)                         # what the network hears
    near = nearest_prototypes(voices[0], bank, config)          # 1
    rows = videos_of(near, bank, config)                        # 2
    chosen = select_faces(rows, bank, tools, config)            # 3
    codes = invert_faces(chosen, tools, config).codes           # 4
    start = starting_code(codes, voices[0], tools, config)      # 5
    path = guide_by_voice(start, voices[:1], tools, config)     # 6
    picture = draw(path, tools)                                 # 7

Letters: V voices, P pictures, D length of a code, E length of an embedding. Nothing here writes a file;
`voicestyle.journey` keeps every step in a folder.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cmpc2 import lookup as prototypes
from cmpc2.lookup import Prototype
from numpy.typing import NDArray
from torch import Tensor

from voicestyle import aggregation, guidance, inversion, selection
from voicestyle.bank import Bank, BankError
from voicestyle.config import VoiceStyleConfig
from voicestyle.descent import Descent, LatentStatistics, RowDraws, latent_statistics, normal_z
from voicestyle.descent import Path as Found
from voicestyle.perception import Identity, JudgeIdentity, JudgePerceptual, Perceptual
from voicestyle.stylegan2.generator import Generator
from voicestyle.stylegan2.pictures import to_bytes

if TYPE_CHECKING:
    from cmpc2.embedder import Embedder


@dataclass(frozen=True)
class Tools:
    """The networks of the way, all frozen.

    Attributes:
        embedder: CMPC, voices and faces to one space.
        generator: StyleGAN2.
        statistics: of its w.
        perceptual: how differently pictures look.
        identity: whom they show; None to go without.
        features: what selects faces; None for the embedder.
        notice: what must be said beside everything made with them, or empty.
        fingerprint: hash of all weights.
    """

    embedder: "Embedder"
    generator: Generator
    statistics: LatentStatistics
    perceptual: Perceptual
    identity: Identity | None = None
    features: selection.Features | None = None
    notice: str = ""
    fingerprint: str = ""

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return self.generator.input.input.device


def tools_of(
    embedder: "Embedder",
    generator: Generator,
    config: VoiceStyleConfig,
    *,
    perceptual: Perceptual | None = None,
    identity: Identity | None = None,
    features: selection.Features | None = None,
    notice: str = "",
) -> Tools:
    """Networks with the statistics of w; without others the bundled ones for invented faces compare.

    All networks must be on one device.
    """
    from voiceface.checkpoints.native import fingerprint

    z = normal_z(generator, config.inversion.mean_samples, config.seed)
    digest = hashlib.sha256(fingerprint(generator.state_dict()).encode())
    for part in (embedder.fingerprint, perceptual, identity, features):
        digest.update(_name_of(part).encode())
    embedder.model.requires_grad_(False)
    return Tools(
        embedder,
        generator.eval().requires_grad_(False),
        latent_statistics(generator, z),
        perceptual or JudgePerceptual(),
        identity or (JudgeIdentity() if config.inversion.identity else None),
        features,
        notice,
        digest.hexdigest(),
    )


def embed_voices(voices: Sequence[Path | str | NDArray[Any]], tools: Tools) -> Tensor:
    """Embeddings of recordings (or int16 samples of 16 kHz), (V, E).

    Raises:
        AudioError, SpeechError, FileNotFoundError: one cannot be used, or nobody speaks in it.
    """
    for voice in voices:
        _require_sound(voice)
    return tools.embedder.embed_voices(list(voices)).float()


def nearest_prototypes(voice: Tensor, bank: Bank, config: VoiceStyleConfig) -> list[Prototype]:
    """Step 1: the K face prototypes nearest to a voice, nearest first.

    Args:
        voice: embedding, (E,) or (1, E).

    Raises:
        BankError: K is larger than the number of prototypes, or there is no such clustering.
    """
    lookup = config.lookup
    centroids = bank.memory.centroids[which_clustering(bank, config)]
    if lookup.prototypes > len(centroids):
        raise BankError(
            f"lookup.prototypes: K = {lookup.prototypes} of {len(centroids)} prototypes of {bank.name}: "
            "expected K <= prototypes; ask for fewer, or give a larger bank"
        )
    return prototypes.nearest_prototypes(voice, centroids, lookup.prototypes)


def videos_of(
    near: Sequence[Prototype], bank: Bank, config: VoiceStyleConfig, exclude: Collection[str] = ()
) -> list[int]:
    """Step 2: rows of the videos of these prototypes, in the order of `lookup.order`.

    Args:
        near: from step 1.
        bank: whose.
        config: order.
        exclude: names or voice ids whose videos are left out, such as the speaker's own (quirk Q23).

    Raises:
        BankError: nothing is left.
    """
    assignment = bank.memory.assignment[which_clustering(bank, config)]
    members = prototypes.members_of(near, assignment, bank.table, exclude)
    if not any(members):
        raise BankError(
            f"the {len(near)} nearest prototypes have no video in {bank.name} once {len(set(exclude))} names "
            "are left out: ask for more prototypes (lookup.prototypes)"
        )
    return prototypes.in_order(members, config.lookup.order)


def select_faces(
    rows: Sequence[int], bank: Bank, tools: Tools, config: VoiceStyleConfig
) -> list[selection.Chosen]:
    """Step 3: one picture for each of the first `lookup.pictures` videos.

    Raises:
        BankError: none of the videos has a readable picture.
        ValueError: selection by CLIP without its network.
    """
    if config.selection.by == "clip" and tools.features is None:
        raise ValueError("selection.by is clip and no CLIP is given: name its weights, or choose embedding")
    features = tools.features or (lambda pictures: tools.embedder.embed_faces(list(pictures)))
    return selection.select_all(rows, bank, config.selection, features, config.lookup.pictures)


def targets_of(pictures: Sequence[NDArray[np.uint8]], tools: Tools) -> Tensor:
    """Pictures (H, W, 3) of any size as targets of an inversion, (P, 3, s, s) in -1...1."""
    side = min(inversion.LARGEST, tools.generator.config.size)
    return torch.stack([inversion.target_picture(each, side) for each in pictures]).to(tools.device)


def invert_faces(
    chosen: Sequence[selection.Chosen],
    tools: Tools,
    config: VoiceStyleConfig,
    **further: Any,
) -> Found:
    """Step 4: codes of the chosen pictures; see `invert_targets`."""
    targets = targets_of([each.picture.read() for each in chosen], tools)
    return invert_targets(targets, [each.picture.label for each in chosen], tools, config, **further)


def invert_targets(
    targets: Tensor,
    keys: Sequence[str],
    tools: Tools,
    config: VoiceStyleConfig,
    *,
    state: dict[str, Any] | None = None,
    after: Callable[[Descent], None] = lambda _: None,
    stop_at: int | None = None,
) -> Found:
    """Codes of pictures.

    Args:
        targets: (P, 3, s, s), from `targets_of`.
        keys: of the pictures; the random numbers of each follow from its key and the seed alone.
        tools, config: as everywhere.
        state, after, stop_at: see `voicestyle.inversion.invert`.
    """
    return inversion.invert(
        targets,
        tools.generator,
        tools.statistics,
        config.inversion,
        RowDraws([seed_of(config.seed, "inversion", key) for key in keys]),
        tools.perceptual,
        tools.identity,
        state=state,
        after=after,
        stop_at=stop_at,
    )


def face_view(tools: Tools, config: VoiceStyleConfig) -> guidance.FaceView:
    """The face branch as guidance asks it."""
    side = tools.embedder.config.model.face.side if config.guidance.resize == "model" else None
    return guidance.FaceView(tools.embedder.model.face_subnet, side)


def starting_code(codes: Tensor, voice: Tensor, tools: Tools, config: VoiceStyleConfig) -> Tensor:
    """Step 5: one code of those of the pictures, (1, D) or (1, L, D)."""
    weights = None
    if config.aggregation in ("similarity", "nearest"):
        noise = [each.to(codes) for each in tools.generator.stored_noise()]
        aim = voice.reshape(1, -1).expand(len(codes), -1).to(codes)
        weights = guidance.fit(codes, noise, aim, face_view(tools, config), tools.generator)[1]
    return aggregation.aggregate(codes, config.aggregation, weights)


def guide_by_voice(
    start: Tensor,
    voices: Tensor,
    tools: Tools,
    config: VoiceStyleConfig,
    keys: Sequence[str] = (),
    *,
    state: dict[str, Any] | None = None,
    after: Callable[[Descent], None] = lambda _: None,
    stop_at: int | None = None,
) -> Found:
    """Step 6: codes whose pictures fit the voices; of several restarts the best of each voice.

    Args:
        start: codes of the voices, (V, D) or (V, L, D).
        voices: embeddings (V, E).
        tools, config: as everywhere.
        keys: of the voices; the random numbers of each follow from its key and the seed alone.
        state, after, stop_at: see `voicestyle.guidance.guide`.
    """
    restarts = config.guidance.restarts
    keys = list(keys) or [str(number) for number in range(len(start))]
    draws = RowDraws([seed_of(config.seed, f"guidance {r}", key) for key in keys for r in range(restarts)])
    voices = voices.to(tools.device)
    many = voices.repeat_interleave(restarts, 0)
    faces = face_view(tools, config)
    found = guidance.guide(
        start.repeat_interleave(restarts, 0),
        many,
        faces,
        tools.generator,
        tools.statistics,
        config.guidance,
        draws,
        state=state,
        after=after,
        stop_at=stop_at,
    )
    if restarts == 1:
        return found
    _, fits = guidance.fit(found.codes, found.noise, many, faces, tools.generator)
    best = fits.view(-1, restarts).argmax(1) + torch.arange(len(start), device=fits.device) * restarts
    return rows_of(found, best.tolist())


def rows_of(found: Found, rows: Sequence[int]) -> Found:
    """Some rows of what a descent found."""
    at = list(rows)
    return replace(
        found,
        codes=found.codes[at],
        noise=[each[at] for each in found.noise],
        kept=found.kept[:, at],
        history={name: values[:, at] for name, values in found.history.items()},
        steps=found.steps[at],
    )


def beginning(found: Found, start: Tensor) -> Found:
    """A path with the codes it began with, (V, D) or (V, L, D), and the noise maps of its end."""
    if start.ndim < found.codes.ndim:
        start = start[:, None].expand(-1, found.codes.shape[1], -1)
    return replace(found, codes=start)


@torch.no_grad()
def draw(found: Found, tools: Tools, codes: Tensor | None = None) -> NDArray[np.uint8]:
    """Step 7: pictures (V, S, S, 3) uint8 of the last codes (or of others of theirs) with the found noise."""
    codes = found.codes if codes is None else codes
    layers = codes if codes.ndim == 3 else codes[:, None].expand(-1, tools.generator.config.codes, -1)
    return to_bytes(tools.generator.synthesise(layers, found.noise))


@torch.no_grad()
def fits(found: Found, voices: Tensor, tools: Tools, config: VoiceStyleConfig) -> Tensor:
    """How well the last pictures fit their voices, cosines (V,)."""
    faces = face_view(tools, config)
    return guidance.fit(found.codes, found.noise, voices.to(tools.device), faces, tools.generator)[1].cpu()


def which_clustering(bank: Bank, config: VoiceStyleConfig) -> int:
    """Which clustering of the bank's memory is meant."""
    count = config.lookup.clusters
    if count is None:
        return (len(bank.memory.centroids) - 1) // 2
    return prototypes.clustering_index(bank.memory, count)


def seed_of(seed: int, *words: str) -> int:
    """A seed of its own for each thing that draws, the same on every machine."""
    digest = hashlib.sha256(" ".join([str(seed), *words]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _require_sound(voice: Path | str | NDArray[Any]) -> None:
    """Refuse what never changes, such as digital silence: not every front end looks for speech.

    Raises:
        AudioError, SpeechError, FileNotFoundError: a recording cannot be used, or holds no sound.
    """
    from voiceface.audio.loading import load
    from voiceface.audio.vad import SpeechError
    from voiceface.io.input_files import SOUNDS

    source: Path | str = "the recording"
    if isinstance(voice, str | Path):
        source = voice
        if Path(voice).suffix.lower() not in SOUNDS:
            return  # features
        voice = load(voice, scale="unit", resample=True, policy="tolerant")
    if np.size(voice) and np.ptp(voice) == 0:
        raise SpeechError(f"{source}: there is silence from beginning to end; expected speech")


def _name_of(part: object) -> str:
    """What a network is, for the fingerprint: its weights where it has any, else its type."""
    from voiceface.checkpoints.native import fingerprint

    if isinstance(part, str) or part is None:
        return str(part)
    network = part if isinstance(part, torch.nn.Module) else getattr(part, "network", None)
    return fingerprint(network.state_dict()) if isinstance(network, torch.nn.Module) else type(part).__name__
