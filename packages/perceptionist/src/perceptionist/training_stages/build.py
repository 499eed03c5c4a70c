"""Build the configured kind of training and run its steps."""

from collections.abc import Callable

from voiceface.training.run import Run

from perceptionist.config import PerceptionistConfig
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.training_stages.expert import build_expert_stage, train_expert_step
from perceptionist.training_stages.speaker import build_speaker_stage, train_speaker_step
from perceptionist.training_stages.stage import InitialWeights, Terms, TrainingStage
from perceptionist.training_stages.supervised import build_supervised_stage, train_supervised_step
from perceptionist.training_stages.unsupervised import build_unsupervised_stage, train_unsupervised_step

__all__ = [
    "BUILDERS",
    "TRAIN_STEPS",
    "build_stage",
    "train_step",
]


BUILDERS = {
    "expert": build_expert_stage,
    "speaker": build_speaker_stage,
    "supervised": build_supervised_stage,
    "unsupervised": build_unsupervised_stage,
}
TRAIN_STEPS: dict[str, Callable[[Run, TrainingStage, int], Terms]] = {
    "expert": train_expert_step,
    "speaker": train_speaker_step,
    "supervised": train_supervised_step,
    "unsupervised": train_unsupervised_step,
}


def build_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Build the training stage of the configured kind.

    Raises:
        ValueError, OSError: required files or ground truth are missing or do not fit.
    """
    return BUILDERS[config.kind](run, config, dataset, face_model, initial_weights)


def train_step(run: Run, stage: TrainingStage, step: int) -> Terms:
    """Run one optimisation step.

    Args:
        run: of the stage.
        stage: from `build_stage`.
        step: number of the step, from 0.

    Returns:
        Weighted loss terms by the names of the log.
    """
    return TRAIN_STEPS[stage.config.kind](run, stage, step)
