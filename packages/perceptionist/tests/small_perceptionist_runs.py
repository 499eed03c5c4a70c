"""Tiny networks, configurations and people of every kind of training: a step takes a moment."""

from perceptionist.config import PerceptionistConfig
from voiceface.runtime.config import load_config

KINDS = ("expert", "speaker", "supervised", "unsupervised")
STAGE = "[{expansion: 1.0, channels: 8, blocks: 1, stride: 2}]"
IMAGE = ("side=32", "stem=4", f"stages={STAGE}", "features=16", "inter=1")
VOICE = ("networks.voice.channels=[8,8]", "networks.voice.embedding=16")
COMMON = ("training.batch_size=4", "training.log_every=1", "training.save_every=1", "training.workers=0")
PUBLISHED = (  # what the quick cascade changes; test_perceptionist_repairs.py has the changes
    "losses.pictures.pixels=0",
    "losses.distillation.into_generator=true",
    "data.faces=any",
    "training.student=random",
    "training.faces_first=0",
    "training.student_after=0",
    "training.face_rate=1",
)
TINY = {
    "expert": tuple(f"networks.expert.{word}" for word in IMAGE),
    "speaker": VOICE,
    "supervised": (*VOICE, "networks.head.embedding=16", "training.validate_every=2"),
    "unsupervised": (
        *VOICE,
        *(f"networks.student.{word}" for word in IMAGE),
        "networks.generator.embedding=16",
        "networks.generator.channels=[8,8,8]",
        "networks.face.channels=[8,8,8]",
        "training.validate_every=2",
        *PUBLISHED,
    ),
}
SIZES = {"train": 8, "val": 4, "test": 3, "clip_seconds": 1.0}


def config_of(kind: str, *words: str, cfg: str = "quick_") -> PerceptionistConfig:
    name = cfg + kind if cfg.endswith("_") else cfg
    overrides = (*COMMON, "training.max_iter=2", *TINY[kind], *words)
    return load_config(name, PerceptionistConfig, "perceptionist", overrides)
