"""Parity of perceptionist's losses and of one training step of the unsupervised cascade."""

import torch
from parity import perceptionist_distillation
from parity.activations import strip_prefix
from parity.case import Case, ComparisonLog
from parity.perceptionist_faces import load_sibling_face_model
from parity.perceptionist_networks import disable_dropout, load_weights
from parity.tolerance_rules import EXACT, ToleranceRule, find_rule
from perceptionist import losses as objective
from perceptionist import published_networks
from perceptionist.cascade import (
    Cascade,
    CascadeConfig,
    compute_discriminator_losses,
    compute_generator_losses,
    run_expert_and_student,
)
from perceptionist.image_to_3d import Regression
from perceptionist.network_config import DistillationConfig, TripletConfig
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into

AS_PUBLISHED = DistillationConfig(pkt_order="teacher_first"), TripletConfig(distance="axis")
SIDES = ("student", "teacher")
TERM_NAMES = {
    "d_real": "D_real",
    "d_fake": "D_fake",
    "c_real": "C_real",
    "g_d": "G_D_fake",
    "g_c": "G_C_fake",
}
HEAD_READERS = {"d": published_networks.build_discriminator, "c": published_networks.build_classifier}
DISTILLERS = {
    "attention": perceptionist_distillation.attention_transfer,
    "similarity": perceptionist_distillation.similarity_preserving,
    "correlation": perceptionist_distillation.correlation,
    "nst": perceptionist_distillation.neuron_selectivity,
    "rkd": perceptionist_distillation.relational_distillation,
}


@torch.no_grad()
def losses(case: Case, log: ComparisonLog) -> None:
    """Every loss term from stored features, meshes and logits."""
    distillation, triplets = AS_PUBLISHED
    pool, inter, mesh = (
        {side: case.tensor(f"{side}_{kind}") for side in SIDES} for kind in ("pool", "inter", "vertices")
    )
    generated = case.tensor("fake_logit")
    terms = objective.discriminator_terms(
        case.tensor("real_logit"), generated, case.tensor("class_logit_real"), case.tensor("face_label")
    )
    terms |= objective.generator_terms(generated, case.tensor("class_logit_fake"), case.tensor("voice_label"))
    ours = {name: terms[term] for name, term in TERM_NAMES.items()}
    student, teacher = (Regression(torch.empty(0), pool[side], inter[side]) for side in SIDES)
    distilled = objective.distillation_terms(student, teacher, mesh["student"], mesh["teacher"], distillation)
    meshes = mesh["student"], case.tensor("positive_vertices"), case.tensor("negative_vertices")
    ours |= {
        "distill": objective.sum_terms(distilled),
        "triplet": objective.triplet_term(*meshes, triplets),
        "triplet_unit_raw": objective.triplet_margin_loss(
            pool["teacher"], pool["student"], pool["student"].roll(1, 0)
        ),
    }
    for kind, features in (("pool", pool), ("inter", inter)):
        learner, target = (features[side] for side in SIDES)
        ours[f"pkt_{kind}"] = objective.probabilistic_transfer(target, learner)
        ours[f"pkt_{kind}_swapped"] = objective.probabilistic_transfer(learner, target)
        for method, compare in DISTILLERS.items():
            if f"out_{method}_{kind}" in case.arrays:
                ours[f"{method}_{kind}"] = compare(learner, target)
        if f"out_vid_{kind}" in case.arrays:
            ours[f"vid_{kind}"] = _build_vid(case)(learner, target)
    for name in case.arrays:
        if name.startswith("out_"):
            value = ours[name.removeprefix("out_")]
            case.compare(log, name, value.reshape(case.arrays[name].shape))


def train_step(case: Case, log: ComparisonLog) -> None:
    """One training step, in single precision and, with closer tolerances, in double."""
    for dtype, name in ((torch.float32, "float32"), (torch.float64, "float64")):
        table = dict(case.meta.get("tolerance") or {})
        if dtype == torch.float64:
            table |= table.get("float64") or {}
        ours = _run_iteration(case, log, dtype)
        for key, value in ours.items():
            if key in case.arrays:
                group = "grad_norm" if key.startswith("grad_norm") else key
                rule = find_rule(table, (group,), _default_rule(key))
                log.compare_by_rule(f"{key}, {name}", value, case.arrays[key], rule)


def _run_iteration(case: Case, log: ComparisonLog, dtype: torch.dtype) -> dict[str, Tensor]:
    """Run both sides of a training step with their optimiser steps, as published."""
    config = case.config
    cascade = build_cascade(load_weights(case), int(config["classes"])).to(dtype).train()
    if config.get("dropout") == "off":
        disable_dropout(cascade)
    mesh = load_sibling_face_model(case).to(dtype).frontal_vertices
    given = {name: case.tensor(name, dtype) for name in ("voice", "voice_p", "voice_n", "noise")}
    faces = case.tensor("face_f16", torch.float32).to(dtype)
    optimise = {"lr": float(config["lr"]), "betas": tuple(config["betas"])}
    sides = {"face": [cascade.f, cascade.d, cascade.c], "voice": [cascade.g, cascade.student]}
    optimisers = {
        side: torch.optim.Adam([p for part in parts for p in part.parameters()], **optimise)
        for side, parts in sides.items()
    }
    noise = given["noise"].flatten(1)
    voices = [given[name] for name in ("voice", "voice_p", "voice_n")]
    ours = {"embedding": cascade.embed(voices[0], noise)[:, :, None, None]}
    images = cascade.generate_images(voices, noise)
    first = compute_discriminator_losses(cascade, faces, images[0], case.tensor("face_label"))
    objective.sum_terms(first).backward()
    ours["grad_norm_face_embed"] = _gradient_norms(cascade.f)
    optimisers["face"].step()
    optimisers["face"].zero_grad()
    before = [parameter.detach().clone() for parameter in cascade.g.parameters()]
    distillation, triplets = AS_PUBLISHED
    views = run_expert_and_student(cascade, images, mesh)
    labels = case.tensor("voice_label")
    second = compute_generator_losses(cascade, images[0], views, labels, distillation, triplets)
    objective.sum_terms(second).backward()
    idle = [*cascade.f.parameters(), *cascade.e.parameters(), *cascade.expert.parameters()]
    log.compare_equal("gradients in frozen networks", [p.grad for p in idle if p.grad is not None], [])
    ours["grad_norm_generator"] = _gradient_norms(cascade.g)
    ours["grad_norm_student"] = _gradient_norms(cascade.student)
    names = [f"backbone.{name}" for name, _ in cascade.student.named_parameters()]
    stored = [str(name) for name in case.arrays["student_param_names"]]
    short = [name.removeprefix("backbone.") for name in stored]
    log.compare_equal("student_param_names", [name.removeprefix("backbone.") for name in names], short)
    for name in case.arrays:
        if name.startswith("student_running_"):
            kind, block = name.removeprefix("student_running_").split("_")
            ours[name] = cascade.student.state_dict()[f"features.{block}.1.running_{kind}"].clone()
    optimisers["voice"].step()
    after = list(cascade.g.parameters())
    ours["generator_step_mean_abs"] = torch.stack([(a - b).abs().mean() for a, b in zip(after, before)])
    ours["fake_sub"] = images[0][case.stored_slices("fake_sub")]
    ours["vertices_sub"] = views.student_vertices[0][case.stored_slices("vertices_sub")]
    distilled = [second[f"Distill_{part}"] for part in ("vertices", "pooled", "inter")]
    plain = [
        distilled[0] / distillation.vertex_weight,
        *(term / distillation.pkt_weight for term in distilled[1:]),
    ]
    terms = [*(first | second).values()]
    ours["losses"] = torch.stack([*terms[:5], *plain, torch.stack(distilled).sum(), second["Triplet"]])
    return {name: value.detach() for name, value in ours.items()}


def build_cascade(state: dict[str, Tensor], classes: int) -> Cascade:
    """Build the cascade of a state dict with the parts' short names and those of the archive."""
    voice = published_networks.build_voice_network(strip_prefix("e.", state))
    generator = published_networks.build_generator(strip_prefix("g.", state))
    face = published_networks.build_face_network(strip_prefix("f.", state))
    student = published_networks.build_image_to_3d(strip_prefix("student.", state))
    expert = published_networks.build_image_to_3d(
        {k: v for k, v in state.items() if ".backbone." in k and "IGM" in k}
    )
    config = CascadeConfig(
        voice=voice.config,
        generator=generator.config,
        face=face.config,
        student=student.config,
        expert=expert.config,
    )
    cascade = Cascade(config, classes)
    parts = {"e": voice, "g": generator, "f": face, "student": student, "expert": expert}
    parts |= {name: read(strip_prefix(f"{name}.", state)) for name, read in HEAD_READERS.items()}
    for name, part in parts.items():
        load_into(cascade.get_submodule(name), part.state_dict())
    return cascade


def _gradient_norms(network: nn.Module) -> Tensor:
    """Norm of every parameter's gradient, in order; 0 if there is none."""
    zero = torch.zeros((), dtype=next(network.parameters()).dtype)
    return torch.stack([zero if p.grad is None else p.grad.norm() for p in network.parameters()])


def _default_rule(name: str) -> ToleranceRule:
    return ToleranceRule(rtol=0.02, per_max=1e-3) if name.startswith("grad_norm") else EXACT


def _build_vid(case: Case) -> perceptionist_distillation.VariationalInformationDistillation:
    """Build the regression of the case, with its weights."""
    config = case.config["vid"]
    module = perceptionist_distillation.VariationalInformationDistillation(
        int(config["num_input_channels"]),
        int(config["num_mid_channel"]),
        int(config["num_target_channels"]),
        float(config.get("init_pred_var", 5.0)),
    )
    load_into(module, strip_prefix("vid.", load_weights(case)), ignore=["log_scale"])
    return module
