"""Training of the voice network: classify the speakers of the training set.

The paper takes its voice network from Wen et al. (NeurIPS 2019), whose training was not released.
"""

from torch import Tensor, nn
from voiceface.datasets.augmentation import build_voice_augmentation
from voiceface.training.run import Run

from perceptionist.config import PerceptionistConfig, SpeakerLossConfig
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.losses import sum_terms
from perceptionist.models import SpeakerClassifier
from perceptionist.sampling import TripletDataset, sample_batch_crop
from perceptionist.training_stages.stage import (
    InitialWeights,
    Terms,
    TrainingStage,
    build_batches,
    build_optimiser,
    initialise_voice_network,
)

__all__ = [
    "build_speaker_stage",
    "speaker_terms",
    "train_speaker_step",
]


def build_speaker_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Build networks, optimiser and batches of the speaker classifier."""
    assert config.networks.voice is not None and config.losses.speaker is not None
    model = run.prepare(SpeakerClassifier(config.networks.voice, len(dataset.identities)), wrap=False)
    assert isinstance(model, SpeakerClassifier)
    initialise_voice_network(run, model.e, initial_weights, required=False)
    utterances = TripletDataset(
        dataset.utterances,
        config.data.frames.clip,
        anchors_only=True,
        augmentation=build_voice_augmentation(config.data.augmentation),
    )
    return TrainingStage(
        config,
        model,
        {"optimiser": build_optimiser(config.optimiser, model)},
        build_batches(run, utterances, config.training),
        face_model,
        excluded_prefixes=("c.",),
    )


def train_speaker_step(run: Run, stage: TrainingStage, step: int) -> Terms:
    """Run one optimisation step of the speaker classifier and return its loss term."""
    config, model = stage.config, stage.model
    assert isinstance(model, SpeakerClassifier) and config.losses.speaker is not None
    batch = next(stage.batches)
    frames = sample_batch_crop(config.data.frames, run.seed, step)
    with run.autocast():
        terms = speaker_terms(model, batch["anchor"][:, :, frames], batch["label"], config.losses.speaker)
    run.backward_and_step(
        sum_terms(terms), stage.optimisers["optimiser"], clip_norm=config.optimiser.clip_gradient
    )
    return terms


def speaker_terms(
    model: SpeakerClassifier, features: Tensor, labels: Tensor, config: SpeakerLossConfig
) -> Terms:
    """Cross entropy of features (B, M, T) with their speaker labels (B,)."""
    if config.logit_scale is None:
        logits = model.c(model.e(features))
    else:
        class_directions = nn.functional.normalize(model.c.model.weight, dim=1)
        logits = config.logit_scale * nn.functional.linear(model.e.encode(features), class_directions)
    smoothing = config.label_smoothing
    return {"speaker": nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)}
