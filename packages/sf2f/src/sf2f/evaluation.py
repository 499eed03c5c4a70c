"""Figures of a generator by its pictures of unseen people (specification, section 9).

Letters: N people, S windows of one, P real pictures of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sf2f.generation import (
    Heard,
    enough_to_judge,
    equal_counts,
    face_truth_of,
    hear_people,
    pictures_of,
    pictures_of_windows,
    real_pictures,
)
from sf2f.models import VoiceToFace
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement

Mode = Literal["naive", "average_facenet_embedding", "average_voice_embedding", "fused"]
COUNTS = (1, 2, 4, 8, 16)
CUTOFFS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Readers:
    """Files of the networks that judge pictures; what is None is left out.

    Attributes:
        facenet: FaceNet, for distances and retrieval of features.
        vggface: face classifier of the VGGFace Score.
        inception: graph of 2015, for Inception Score and FID.
        lpips: folder of AlexNet and LPIPS' heads, for the diversity.
    """

    facenet: Path | None = None
    vggface: Path | None = None
    inception: Path | None = None
    lpips: Path | None = None


@dataclass(frozen=True)
class Rules:
    """How the published figures are made.

    Attributes:
        order: of the colours in the VGGFace Score: "rgb" as published, "bgr" as the classifier was trained.
        crop: cut faces out for the VGGFace Score, as the published end of training does; its test does not.
        pooled: FaceNet's pooled features instead of its embeddings.
        galleries: ends of the galleries that are searched, such as 100, 200, 300; None: everybody at once.
        seed: of the shuffling before the five parts of the VGGFace Score.
    """

    order: Literal["rgb", "bgr"] = "rgb"
    crop: bool = False
    pooled: bool = False
    galleries: tuple[int, ...] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        names: of the people.
        pictures: one of each from all windows, (N, 3, side, side), 0...1.
        single: one of each from the first window.
        real: their real pictures.
        windows: number of windows of each.
        fused: whether windows are joined by a fuser; else embeddings are averaged.
        agreement: of invented people, by number of windows; the last is that of all.
        ranks: of invented people, place of each among all by the judge's embedding, from 1.
        features: by mode, distances and recalls of FaceNet's features.
        scores: VGGFace Score, Inception Score, FID, diversity, as far as they were asked for.
        chance: recall of a random order, by cut-off.
    """

    names: tuple[str, ...]
    pictures: Tensor
    single: Tensor
    real: tuple[Tensor, ...]
    windows: tuple[int, ...]
    fused: bool
    agreement: dict[int, "Agreement"] = field(default_factory=dict)
    ranks: tuple[int, ...] = ()
    features: dict[str, dict[str, float]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    chance: dict[int, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the pictures."""
        return {
            "format": "sf2f-results-1",
            "people": len(self.names),
            "joined_by": "fuser" if self.fused else "mean of embeddings",
            "windows": {"least": min(self.windows), "most": max(self.windows)},
            "agreement": {str(count): found.to_dict() for count, found in self.agreement.items()},
            "features": self.features,
            "chance": {f"R@{k}": value for k, value in self.chance.items()},
            "scores": self.scores,
        }


def evaluate(
    model: VoiceToFace,
    speakers: Speakers,
    readers: Readers | None = None,
    rules: Rules | None = None,
    *,
    modes: Sequence[Mode] | None = None,
    replicates: int = 1000,
) -> Evaluation:
    """Make pictures of people who took no part in the training, and judge them.

    Invented people are always judged by their truth (`voiceface.synthetic.agreement.agreement`);
    anybody by the networks whose files are given.

    Args:
        model: the generator.
        speakers: the people; those of the training give a warning in `voiceface` commands, not here.
        readers: files of the networks.
        rules: choices of the published figures.
        modes: of FaceNet's figures; None: all that the model can do.
        replicates: of the bootstrap over people.

    Raises:
        FileNotFoundError, CheckpointError: a file of `readers` is absent or another one.
        ValueError: too few people for what is asked.
    """
    rules, readers = rules or Rules(), readers or Readers()
    heard = hear_people(model, speakers)
    whole, single = pictures_of(model, heard), pictures_of(model, heard, 1)
    real = tuple(real_pictures(speakers, whole.shape[-1]))
    found = Evaluation(
        speakers.names, whole, single, real, tuple(len(each) for each in heard.windows), model.fuses
    )
    parts: dict[str, Any] = {}
    if enough_to_judge(face_truth_of(speakers)):
        parts |= _agreement(model, speakers, heard, real, replicates)
    if readers.facenet is not None:
        parts |= _features(model, heard, single, real, readers.facenet, rules, modes)
    parts["scores"] = _scores(single if not model.fuses else whole, real, readers, rules)
    return Evaluation(**{**vars(found), **parts})


def counts_of(windows: Sequence[int]) -> list[int]:
    """Numbers of windows to judge by: 1, 2, 4, ... as far as everybody has so many, and all (the most)."""
    return [*(count for count in COUNTS if count < max(windows) and count <= min(windows)), max(windows)]


def pictures_by_mode(model: VoiceToFace, heard: Heard, mode: Mode) -> list[Tensor]:
    """Pictures (n, 3, side, side) of each person whose features are averaged, by the published mode.

    `naive`: of the first window alone. `average_facenet_embedding`: one of every window.
    `average_voice_embedding`: one of the mean embedding, whatever fuser there is. `fused`: one of all windows
    through the fuser (the published `naive` over a loader of windows).

    Raises:
        ValueError: `fused` without a fuser.
    """
    if mode == "average_facenet_embedding":
        return pictures_of_windows(model, heard)
    if mode == "naive":
        return list(pictures_of(model, heard, 1)[:, None])
    if mode == "fused":
        if not model.fuses:
            raise ValueError("mode fused needs a model of stage 2; this one has no fuser")
        return list(pictures_of(model, heard)[:, None])
    means = torch.cat([each.mean(0, keepdim=True) for each in heard.windows])
    return list(model.pictures(means).cpu()[:, None])


def _agreement(
    model: VoiceToFace, speakers: Speakers, heard: Heard, real: Sequence[Tensor], replicates: int
) -> dict[str, Any]:
    """Agreement with the truth by number of windows, and each person's place by embedding."""
    from torch.nn.functional import normalize
    from voiceface.synthetic.agreement.agreement import agreement_of, read_people
    from voiceface.synthetic.readers.attribute_reader import load

    judge, truth = load("judge"), face_truth_of(speakers)
    assert truth is not None
    reading = read_people(judge, equal_counts(real))
    found, made = {}, None
    for count in counts_of([len(each) for each in heard.windows]):
        made = read_people(judge, pictures_of(model, heard, count)[:, None])
        found[count] = agreement_of(judge, made, reading, truth, replicates=replicates)
    assert made is not None
    similar = normalize(made.embedding.mean(1)) @ normalize(reading.embedding.mean(1)).T
    ranks = 1 + (similar > similar.diag()[:, None]).sum(1)
    return {"agreement": found, "ranks": tuple(ranks.tolist())}


def _features(
    model: VoiceToFace,
    heard: Heard,
    single: Tensor,
    real: Sequence[Tensor],
    file: Path,
    rules: Rules,
    modes: Sequence[Mode] | None,
) -> dict[str, Any]:
    """Distances and recalls of FaceNet's features, by mode and similarity (sections 9.1 and 9.2)."""
    from voiceface.metrics.generation import feature_distances, galleries_of, identity_retrieval

    from sf2f.metrics import FaceReader
    from sf2f.third_party_networks import read_facenet

    reader = FaceReader(read_facenet(file), return_pooling=rules.pooled)
    references = reader.of_people(real)
    galleries = galleries_of(len(real), rules.galleries)
    wanted: Sequence[Mode] = modes or (
        "naive",
        "average_facenet_embedding",
        "average_voice_embedding",
        *(("fused",) if model.fuses else ()),  # type: ignore[arg-type]
    )
    features, chance = {}, {}
    for mode in wanted:
        made = reader.of_people(pictures_by_mode(model, heard, mode))
        row = {key: float(value) for key, value in feature_distances(made, references)._asdict().items()}
        for similarity, mark in (("cosine", ""), ("l1", " (L1)")):
            answer = identity_retrieval(made, references, similarity, CUTOFFS, galleries)  # type: ignore[arg-type]
            row |= {f"R@{k}{mark}": value for k, value in answer.recall.items()}
            chance = answer.chance
        features[mode] = row
    return {"features": features, "chance": chance}


def _scores(made: Tensor, real: Sequence[Tensor], readers: Readers, rules: Rules) -> dict[str, float]:
    """VGGFace Score, Inception Score and FID, diversity (sections 9.3 and 9.4)."""
    from sf2f import metrics as scores
    from sf2f import third_party_networks
    from sf2f.image_transforms import FACE_BOX

    found: dict[str, float] = {}
    ours = (made * 255).to(torch.uint8)  # cut off, as published
    theirs = (torch.stack([each[0] for each in real]) * 255).round().to(torch.uint8)
    if readers.vggface is not None:
        score = scores.vggface_score(
            third_party_networks.read_vggface(readers.vggface),
            ours,
            order=rules.order,
            box=FACE_BOX if rules.crop else None,
            generator=torch.Generator().manual_seed(rules.seed),
        )
        found |= {"VFS": score.mean, "VFS deviation": score.deviation}
    if readers.inception is not None:
        both = scores.inception_scores(
            third_party_networks.read_inception_2015(readers.inception), ours, theirs
        )
        found |= {"IS": both.score.mean, "IS deviation": both.score.deviation, "FID": both.fid}
    if readers.lpips is not None:
        from voiceface.metrics.generation import diversity

        spread = diversity(third_party_networks.read_lpips(readers.lpips), ours.float() / 127.5 - 1)
        found |= {"LPIPS diversity": spread.mean, "LPIPS diversity deviation": spread.deviation}
    return found


def as_text(found: Evaluation) -> str:
    """All figures as text."""
    lines = []
    for count, agreement in found.agreement.items():
        how = "one window" if count == 1 else f"up to {count} windows" + (", fused" if found.fused else "")
        lines += [f"pictures of {how}:", agreement.table(), ""]
    for mode, row in found.features.items():
        lines.append(f"{mode}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if found.chance:
        lines.append("chance: " + ", ".join(f"R@{k} {value:.3f}" for k, value in found.chance.items()))
    lines += [f"{key}: {value:.3f}" for key, value in found.scores.items()]
    if not lines:
        lines.append(
            "No figure: these people are not invented (or too few), and no file of a judging network was "
            "given (--facenet, --vggface, --inception, --lpips). The pictures were written."
        )
    return "\n".join(lines)


def results_rows(found: Evaluation) -> Mapping[str, Mapping[str, float]]:
    """Figures of features by mode with the scores, as the published table has them."""
    return {mode: {**row, **found.scores} for mode, row in found.features.items()}
