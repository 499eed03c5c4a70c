"""How the commands of docs/reproducing.md are shortened, and which files `voiceface weights` must name."""

from collections.abc import Sequence
from pathlib import Path

from training_cycle import SHORT

PLACES = {"cuda": "cpu"}  # words of the page that name a device
_STYLEGAN = (
    *("generator.channel_cap=16", "discriminator.channel_cap=16", "training.max_steps=2"),
    *("training.batch_size=2", "training.latent_avg_samples=100", "training.preview_images=1"),
)
_CMPC2 = (
    *("training.max_steps=2", "training.batch_size=2", "training.num_workers=0"),
    *("training.log_interval=1", "training.checkpoint_interval=1", "optimiser.warm_up=1"),
    *("clustering.num_clusters=[3,5]", "clustering.start_step=1"),
)
_GUIDANCE = (
    *("inversion.num_steps=2", "inversion.latent_mean_samples=256", "inversion.snapshot_interval=1"),
    *("guidance.num_steps=2", "guidance.snapshot_interval=1", "retrieval.max_images=1"),
)
_FOP = ("training.epochs=1", "training.batch_size=4", "training.checkpoint_interval=1")
_BUNDLED_ENCODERS = ("data.voice_encoder=cmpc2", "data.face_encoder=cmpc2")  # in place of the real ones
# First words of a line, as many as are needed -> words that are appended to it: few steps, small batches.
SHORTENED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("seeking_shape", "train"): (
        *(*SHORT, "training.batch_size=4", "training.validation_start=1", "training.validation_interval=2"),
        *("schedule.warm_up=0", "weights.warm_up=1"),
    ),
    ("archetype_agnostic", "train"): (
        *(*SHORT, "training.batch_size=2", "training.validation_start=1", "training.validation_interval=2"),
        *("regauging.start_step=1", "equilibrium.warm_up=1", "equilibrium.update_interval=1"),
    ),
    ("sf2f", "train"): (*SHORT, "training.batch_size=2", "training.preview_interval=1"),
    ("sf2f", "test"): ("--gallery-sizes", "3", "4", "5"),  # identities of the population
    ("perceptionist", "train"): (*SHORT, "training.batch_size=4"),
    ("cmpc2", "train"): _CMPC2,
    ("fop", "fame", "run"): _FOP,
    ("fop", "fame", "run", "--data"): (*_FOP, *_BUNDLED_ENCODERS),
    ("fop", "train", "--cfg", "published"): _FOP,
    ("fop", "train", "--cfg", "main"): (*_FOP, *_BUNDLED_ENCODERS),
    ("voicestyle", "train-stylegan"): _STYLEGAN,
    ("voicestyle", "train"): (
        f"training.cmpc2_overrides=[model.face.image_size=256,data.voice.frontend=sphinx,"
        f"{','.join(repr(word) for word in _CMPC2)}]",
        f"training.stylegan2_overrides=[{','.join(_STYLEGAN)}]",
    ),
    ("voicestyle", "generate"): _GUIDANCE,
    ("voicestyle", "test"): (*_GUIDANCE, "--num-identities", "2"),
    ("voicestyle", "fid"): ("--num-samples", "4", "--batch", "4"),
}
# What a run folder must hold after a command of this name.
WRITTEN = {
    "train": "*.safetensors",
    "test": "results.json",
    "compare": "compare.html",
    "evaluate": "results.json",
}
WRITTEN |= {"generate": "index.html", "avspeech": "manifest.csv", "infer": "index.html"}


# File name on the page -> beginning of the kind that `voiceface weights` must name.
FACE_BACKBONE = "face backbone IR of face.evoLVe"
NAMED_KINDS = {
    "best.pth.tar": "seeking_shape, full model",
    "checkpoint_best.pth.tar": "archetype_agnostic, full model",
    "backbone_ir50_ms1m_epoch120.pth": FACE_BACKBONE,
    "Backbone_IR_152_Epoch_112_Batch_2547328_Time_2019-07-13-02-59_checkpoint.pth": FACE_BACKBONE,
    "baseline_lite_ap.model": "voice backbone thin ResNet",
    "best_VFS_with_model.pt": "sf2f, checkpoint of the published trainer",
    "20180402-114759-vggface2.pt": "FaceNet",
    "resnet50_ft_weight.pkl": "ResNet-50 classifier of VGGFace2",
    "pt_inception-2015-12-05-6726825d.pth": "Inception graph of 2015",
    "alexnet-owt-7be5be79.pth": "AlexNet of torchvision",
    "vgg16-397923af.pth": "VGG of torchvision",
    **dict.fromkeys(("alex.pth", "vgg.pth"), "linear weights of LPIPS"),
    "2D-to-3D-pretrained.tar": "perceptionist, expert with its face model",
    "voice_embedding.pth": "voice network of voice2face and perceptionist",
    "generator.pth": "generator of voice2face and perceptionist",
    "generator_48000.pth": "perceptionist, supervised head",
    **dict.fromkeys(
        ("checkpoint_CMPC.pth.tar", "checkpoint_CID.pth.tar", "model_best_256.pth.tar"),
        "cmpc2 (CMPC), full model",
    ),
    "v1_English.pth.tar": "fop, full model",
    "frame_memory_best_256.pth.tar": "cmpc2 (CMPC), prototype memory",
    "550000.pt": "StyleGAN2, checkpoint of the published trainer",
    **dict.fromkeys(("model_ir_se50.pth", "READER.pth"), "IR-SE face network"),
    "clip.safetensors": "CLIP ViT of open_clip",
}


def shorten(words: Sequence[str]) -> list[str]:
    """Words of a line with the CPU in place of the GPU, and what makes it short at its end."""
    beginnings = (tuple(words[:length]) for length in range(len(words), 1, -1))
    appended = next((SHORTENED[each] for each in beginnings if each in SHORTENED), ())
    return [*(PLACES.get(word, word) for word in words), *appended]


def check_written(words: Sequence[str], folder: Path) -> None:
    """Validate that a command has written what its `--out` names.

    Raises:
        AssertionError: it has not.
    """
    if "--out" not in words:
        return
    out, command = folder / words[words.index("--out") + 1], words[1]
    if (words[0], command) == ("perceptionist", "test"):
        assert list(out.rglob("*.obj")), f"{out} holds no meshes"
    elif command in WRITTEN:
        assert list(out.rglob(WRITTEN[command])), f"{out} holds no {WRITTEN[command]}"
    else:
        assert out.exists() and (out.is_file() or any(out.iterdir())), f"{out} is missing or empty"
