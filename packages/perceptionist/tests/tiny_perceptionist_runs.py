"""Tiny networks, configurations and data sets of every kind of training, for fast steps."""

from perceptionist.config import PerceptionistConfig
from voiceface.runtime.config import load_config

KINDS = ("expert", "speaker", "supervised", "unsupervised")
TINY_STAGE = "[{expansion: 1.0, channels: 8, blocks: 1, stride: 2}]"
TINY_IMAGE_NETWORK = (
    "image_size=32",
    "stem=4",
    f"stages={TINY_STAGE}",
    "num_features=16",
    "inter_block=1",
)
TINY_VOICE_NETWORK = ("networks.voice.channels=[8,8]", "networks.voice.embedding_dim=16")
COMMON = (
    "training.batch_size=4",
    "training.log_interval=1",
    "training.checkpoint_interval=1",
    "training.num_workers=0",
)
PUBLISHED_OVERRIDES = (  # undo the additions of the quick cascade, which test_perceptionist_repairs.py tests
    "losses.generator.pixel_weight=0",
    "losses.distillation.update_generator=true",
    "data.face_sampling=independent",
    "training.student_init=random",
    "training.face_pretraining_steps=0",
    "training.student_start_step=0",
    "training.discriminator_lr_factor=1",
)
TINY = {
    "expert": tuple(f"networks.expert.{word}" for word in TINY_IMAGE_NETWORK),
    "speaker": TINY_VOICE_NETWORK,
    "supervised": (*TINY_VOICE_NETWORK, "networks.head.embedding_dim=16", "training.validation_interval=2"),
    "unsupervised": (
        *TINY_VOICE_NETWORK,
        *(f"networks.student.{word}" for word in TINY_IMAGE_NETWORK),
        "networks.generator.embedding_dim=16",
        "networks.generator.channels=[8,8,8]",
        "networks.face.channels=[8,8,8]",
        "training.validation_interval=2",
        *PUBLISHED_OVERRIDES,
    ),
}
TINY_SIZES = {"train": 8, "val": 4, "test": 3, "clip_seconds": 1.0}


def tiny_config(kind: str, *words: str, cfg: str = "quick_") -> PerceptionistConfig:
    """Configuration of two steps with tiny networks; `words` are further overrides."""
    name = cfg + kind if cfg.endswith("_") else cfg
    overrides = (*COMMON, "training.max_steps=2", *TINY[kind], *words)
    return load_config(name, PerceptionistConfig, "perceptionist", overrides)
