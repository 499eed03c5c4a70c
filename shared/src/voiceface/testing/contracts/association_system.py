"""All contracts of an association system in one class."""

from voiceface.testing.contracts.augmentation import AugmentationContract
from voiceface.testing.contracts.checkpoints import CheckpointContract
from voiceface.testing.contracts.commands import CommandContract
from voiceface.testing.contracts.configuration import ConfigurationContract
from voiceface.testing.contracts.corpora import CorpusContract
from voiceface.testing.contracts.embedders import EmbedderContract
from voiceface.testing.contracts.evaluation import EvaluationContract
from voiceface.testing.contracts.own_file_messages import OwnFileMessagesContract
from voiceface.testing.contracts.own_pictures import OwnPictureContract
from voiceface.testing.contracts.own_recordings import OwnRecordingContract
from voiceface.testing.contracts.percentiles import PercentileContract
from voiceface.testing.contracts.published import PublishedCheckpointContract
from voiceface.testing.contracts.resume import ResumeContract
from voiceface.testing.contracts.several_processes import SeveralProcessesContract
from voiceface.testing.contracts.training import TrainingContract

__all__ = ["AssociationSystemContract"]


class AssociationSystemContract(
    ConfigurationContract,
    CorpusContract,
    TrainingContract,
    CheckpointContract,
    EmbedderContract,
    CommandContract,
    OwnFileMessagesContract,
    EvaluationContract,
    OwnPictureContract,
    OwnRecordingContract,
    PercentileContract,
    PublishedCheckpointContract,
    ResumeContract,
    SeveralProcessesContract,
    AugmentationContract,
):
    """All contracts; a system subclasses it without adding anything."""
