"""Parity checks of fop: forward pass, loss, training step, layouts, scores of the challenge."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from fop.config import FopConfig
from fop.losses import orthogonal_projection_loss, projection_terms
from fop.model import FopModel, infer_model_config
from fop.objectives import build_objective
from fop.objectives.objective import PairFeatures
from fop.published import PUBLISHED_CLASSES, load_with_config, save_checkpoint
from fop.scores import score_rows
from parity.case import Case, ComparisonLog
from parity.check_registry import CheckRegistry, case_check
from torch import Tensor
from voiceface.runtime.config import to_dict, validate_config
from voiceface.training.optimisers import build_optimiser

CHECKS = CheckRegistry(
    {
        "forward": case_check("fop", arrays=["faces", "voices", "face_embedding", "fused", "distance"]),
        "opl_loss": case_check("fop", config=["other_weight", "epsilon"]),
        "train_step": case_check("fop", arrays=["faces_0", "voices_0", "labels_0", "total_0"]),
        "checkpoint_layout": case_check("fop", config=["layouts"]),
        "fame_scores": case_check("fop", arrays=["keys", "labels", "submission"]),
    }
)

PARAMETERS = {
    "face_weight": "face_branch.fc1.0.weight",
    "voice_weight": "voice_branch.fc1.0.weight",
    "face_bias": "face_branch.fc1.0.bias",
    "voice_bias": "voice_branch.fc1.0.bias",
    "attention_weight": "fusion_layer.attention.1.weight",
    "attention_bias": "fusion_layer.attention.1.bias",
    "logits_weight": "logits_layer.weight",
    "logits_bias": "logits_layer.bias",
    "weight1": "fusion_layer.weight1",
    "weight2": "fusion_layer.weight2",
}
"""Names in arrays of a case -> keys of the model; those of batch norms follow a rule."""


def forward(case: Case, log: ComparisonLog) -> None:
    """Compare a forward pass in evaluation mode, from a checkpoint in the published container."""
    model, config = load_filled(case)
    log.compare_equal("fusion", config.model.fusion, case.config["fusion"])
    with torch.no_grad():
        output = model(case.tensor("faces"), case.tensor("voices"))
        voices, faces = model.encode_voices(case.tensor("voices")), model.encode_faces(case.tensor("faces"))
    case.compare(log, "face_embedding", faces)
    case.compare(log, "voice_embedding", voices)
    for name, value in (("face_embedding", output.face), ("voice_embedding", output.voice)):
        log.compare_by_rule(f"{name} in training", value, case.arrays[name], case.rule(name))
    case.compare(log, "fused", output.fused)
    case.compare(log, "logits", output.logits)
    case.compare(log, "distance", -score_rows(voices, faces, "euclidean"))


def opl_loss(case: Case, log: ComparisonLog) -> None:
    """Compare the orthogonal projection loss, its two means and its gradient for every set of labels."""
    options = {"other_weight": case.config["other_weight"], "epsilon": case.config["epsilon"]}
    for name in sorted(case.array_names):
        if not name.startswith("features_"):
            continue
        suffix = name.removeprefix("features")
        features, labels = case.tensor(name).requires_grad_(), case.tensor(f"labels{suffix}")
        loss = orthogonal_projection_loss(features, labels, **options)
        loss.backward()
        same, other = projection_terms(features.detach(), labels, options["epsilon"])
        values = {"loss": loss.detach(), "same": same, "other": other, "grad": features.grad}
        for kind, value in values.items():
            if f"{kind}{suffix}" in case.array_names:
                case.compare(log, f"{kind}{suffix}", value)


def train_step(case: Case, log: ComparisonLog) -> None:
    """Compare losses, first gradients and the state after the stored steps, by objective and optimiser."""
    model, config = load_filled(case)
    config = with_step_options(config, case)
    model = FopModel(config.model, len(model.logits_layer.weight)).train()  # type: ignore[union-attr]
    model.load_state_dict(case.filled_weights(case.config["seed"]))
    objective = build_objective(config.loss, model, case.config["classes"])
    optimiser = build_optimiser(config.optimiser, model.parameter_groups(), fused=True)
    for step in range(sum(name.startswith("labels_") for name in case.array_names)):
        faces, voices, labels = (case.tensor(f"{name}_{step}") for name in ("faces", "voices", "labels"))
        terms = objective(model(faces, voices), labels, PairFeatures(voices, faces, torch.arange(len(faces))))
        optimiser.zero_grad()
        terms["loss"].backward()
        values = {"ce": "cross_entropy", "opl": "projection", "total": "loss"}
        for name, term in values.items():
            case.compare(log, f"{name}_{step}", terms[term].detach())
        if step == 0:
            gradients = {key: each.grad for key, each in model.named_parameters() if each.grad is not None}
            compare_named(case, log, "grad_", gradients)
        optimiser.step()
    compare_named(case, log, "after_", model.state_dict())


def checkpoint_layout(case: Case, log: ComparisonLog) -> None:
    """Compare keys, shapes and the container of every published file, written and read."""
    for name, layout in case.config["layouts"].items():
        state = {key: torch.zeros(shape) for key, shape in layout.items()}
        config = infer_model_config(state)
        classes = layout["logits_layer.weight"][0]
        model = FopModel(config, classes)
        ours = {key: list(value.shape) for key, value in model.state_dict().items()}
        log.compare_equal(f"{name}: keys and shapes", ours, layout)
        log.compare_equal(f"{name}: order", list(ours), list(layout))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint.pth.tar"
            save_checkpoint(path, model, epoch=3)
            content = torch.load(path, weights_only=True)
            read, found = load_with_config(path)
        container = [content["epoch"], list(content["state_dict"])]
        log.compare_equal(f"{name}: container", container, [3, list(layout)])
        log.compare_equal(f"{name}: read again", [*read.state_dict()], [*layout])
        log.compare_equal(f"{name}: fusion", found.model.fusion, config.fusion)
        log.compare_equal(f"{name}: number of classes known", classes in PUBLISHED_CLASSES, True)
    counts = [len(layout) for layout in case.config["layouts"].values()]
    log.compare_equal("number of tensors", counts, case.arrays["count"].tolist())


def fame_scores(case: Case, log: ComparisonLog) -> None:
    """Compare EER and AUC of every set of distances, and the lines of a submission."""
    from fop.fame.scores import distance_eer
    from fop.fame.submissions import write_submission

    labels = case.arrays["labels"]
    sets = [name.removeprefix("distance_") for name in case.array_names if name.startswith("distance_")]
    for name in sorted(sets):
        eer, auc = distance_eer(case.arrays[f"distance_{name}"], labels)
        case.compare(log, f"eer_{name}", eer)
        case.compare(log, f"auc_{name}", auc)
    keys, expected = case.arrays["keys"].tolist(), case.arrays["submission"].tolist()
    written = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sets:
            path = Path(folder) / "sub_score_v1_English_heard.txt"
            write_submission(path, keys, case.arrays[f"distance_{name}"])
            written[name] = path.read_text().splitlines()
    log.compare_equal("submission", any(lines == expected for lines in written.values()), True)


def load_filled(case: Case) -> tuple[FopModel, FopConfig]:
    """Write the case's weights as a published file, and load it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pth.tar"
        torch.save({"epoch": 1, "state_dict": case.filled_weights(case.config["seed"])}, path)
        return load_with_config(path)


def with_step_options(config: FopConfig, case: Case) -> FopConfig:
    """Set learning rate, decay, dropout and alpha as the case states them."""
    values: dict[str, Any] = to_dict(config)
    values["optimiser"] |= {"lr": case.config["lr"], "weight_decay": case.config["weight_decay"]}
    values["model"]["dropout"] = case.config["dropout"]
    values["loss"]["fop"]["alpha"] = case.config["alpha"]
    return validate_config(values, FopConfig, case.name)


def compare_named(case: Case, log: ComparisonLog, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Compare the arrays PREFIX_NAME of a case with tensors; those that end in _sub have every k-th row."""
    for name in sorted(case.array_names):
        if not name.startswith(prefix):
            continue
        short = name.removeprefix(prefix).removesuffix("_sub")
        value = tensors[parameter_key(short)].detach()
        shape = case.arrays[name].shape
        strides = [-(-length // stored) for length, stored in zip(value.shape, shape)]
        case.compare(log, name, value[tuple(slice(None, None, stride) for stride in strides)])


def parameter_key(name: str) -> str:
    """Key of the model for a name in a case."""
    if name in PARAMETERS:
        return PARAMETERS[name]
    modality, _, rest = name.partition("_")
    if modality == "attention":
        return f"fusion_layer.attention.0.block.1.{rest.removeprefix('bn_')}"
    return f"{modality}_branch.fc1.1.{rest.removeprefix('bn_')}"
