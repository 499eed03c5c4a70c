"""Configuration of both branches and the voice front end, and types of options, without PyTorch."""

from typing import Literal

from pydantic import Field
from voiceface.runtime.config import Config

__all__ = [
    "MIN_FRAMES",
    "WIDTHS",
    "Agreement",
    "Arch",
    "Backend",
    "BranchConfig",
    "CentreInit",
    "ContrastForm",
    "EmptyClusters",
    "FaceConfig",
    "FinalAssignment",
    "ModelConfig",
    "Stages",
    "VoiceFrontendConfig",
    "WeightRule",
]
Arch = Literal["resnet18", "resnet34", "resnet50", "se_resnet50"]
Stages = tuple[int, int, int, int]
WIDTHS: Stages = (64, 128, 256, 512)


class BranchConfig(Config):
    """One residual network; the defaults are the published ResNet-34."""

    arch: Arch = Field(default="resnet34", description="blocks per stage, unless `blocks` is given")
    widths: Stages = Field(default=WIDTHS, description="channels per stage")
    blocks: Stages | None = Field(default=None, description="blocks per stage; None: those of `arch`")


class FaceConfig(BranchConfig):
    """Face network and the size of its images."""

    image_size: int = Field(default=224, ge=8, description="image side, pixels")


class ModelConfig(Config):
    """Architecture of both branches."""

    voice: BranchConfig = BranchConfig()
    face: FaceConfig = FaceConfig()
    embedding_dim: int = Field(default=512, ge=1, description="length D of the common embedding")


MIN_FRAMES = 800  # minimum number of frames of the input of published networks


class VoiceFrontendConfig(Config):
    """Voice front end: utterance to network input; `frontend` must be that of the weights."""

    frontend: Literal["sphinx", "decibels"] = Field(
        default="decibels", description="sphinx: VAD and standardised bands; decibels: that of CMPC"
    )
    num_frames: int = Field(
        default=500, ge=1, description="frames of a training clip and of a decibel clip (10 ms)"
    )
    min_frames: int = Field(
        default=MIN_FRAMES, ge=1, description="sphinx: minimum number of frames of an utterance"
    )
    clip_position: Literal["centre", "whole"] = Field(
        default="centre", description="decibels, outside training: the middle of an utterance, or all of it"
    )
    vad_aggressiveness: int = Field(
        default=2, ge=0, le=3, description="sphinx: aggressiveness of the detector; 3 removes most"
    )
    on_no_speech: Literal["error", "keep"] = Field(
        default="error", description="sphinx: utterances without speech; keep: use all samples"
    )
    sample_rates: Literal["resample", "published", "error"] = Field(
        default="resample",
        description="resample: to 16 kHz; error: 16 kHz only; published: 8, 16, 32 kHz unchanged, although "
        "the mel bands are correct at 16 kHz only",
    )
    corrupt_audio: Literal["error", "salvage"] = Field(
        default="error", description="corrupt utterances: an error, or the decodable part is used"
    )


ContrastForm = Literal["all", "published"]
WeightRule = Literal["cumulative", "cdf"]
Agreement = Literal["subtracted", "added", "ignored"]
CentreInit = Literal["random", "k-means++", "first"]
EmptyClusters = Literal["reseed", "nan"]
FinalAssignment = Literal["consistent", "published"]
Backend = Literal["auto", "torch", "faiss"]
