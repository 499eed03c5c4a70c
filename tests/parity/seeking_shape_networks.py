"""Parity of networks, losses and the training step of seeking_shape."""

import re
from typing import Any

import numpy as np
import torch
from parity.activations import record_outputs
from parity.case import Case, ComparisonLog
from seeking_shape.losses import (
    Weighting,
    apply_identity_weights,
    compute_sample_losses,
    explicit_alignment_loss,
    implicit_alignment_loss,
)
from seeking_shape.model import FaceBranch, Voice2Face, VoiceBranch
from seeking_shape.published import infer_face_config, infer_model_config, infer_voice_config
from seeking_shape.reweighting import IdentityWeights
from torch import Tensor, nn
from voiceface.association.encoders import InputNormalization
from voiceface.audio.frontends import SeekingShapeLogMel
from voiceface.audio.mel import power_spectrogram
from voiceface.checkpoints.native import load_into

WINDOW_KEY, MEL_BANK_KEY = "V.model.torchfb.spectrogram.window", "V.model.torchfb.mel_scale.fb"


def voice_frontend(case: Case, log: ComparisonLog) -> None:
    """Check window, filter bank, power, mel, log, standardisation."""
    config = case.config
    n_fft, hop = config.get("n_fft", 512), config.get("hop_length", 160)
    front = SeekingShapeLogMel(
        config.get("n_mels", 40),
        sample_rate=config.get("sample_rate", 16000),
        n_fft=n_fft,
        win_length=config.get("win_length", 400),
        hop_length=hop,
        f_min=config.get("f_min", 0.0),
        f_max=config.get("f_max"),
        offset=config.get("log_offset", 1e-6),
        epsilon=config.get("eps_instance_norm", 1e-5),
    )
    waves = _waves(case.arrays["wave_i16"])
    power = power_spectrogram(waves, front.spectrogram.window, n_fft, hop)
    bins, frames = case.stated_number(r"::(\d+) bins", 8), case.stated_number(r"::(\d+) frames", 5)
    log_mel = front.log_mel(waves)
    silent = torch.zeros(1, case.stated_number(r"(\d+) zero samples", 8000))
    ours = {
        "window": front.spectrogram.window,
        "mel_fb": front.mel_scale.fb,
        "power_sub": power.transpose(1, 2)[:, ::bins, ::frames],
        "mel": front.mel_scale(power),
        "log_mel": log_mel,
        "net_input": front(waves),
        "net_input_of_silence": front(silent)[..., :: case.stated_number(r"every (\d+)th frame", 10)],
    }
    for name, value in ours.items():
        if name in case.arrays:
            known = case.tolerance(name, "net_input", atol=1e-3)
            log.compare_close(name, value, case.arrays[name], **known)


@torch.no_grad()
def voice_embedder(case: Case, log: ComparisonLog) -> None:
    """Check Thin ResNet with pooling and head, and its activations."""
    state = case.filled_weights()
    branch = VoiceBranch(_voice_config(case, state), len(state["V.fc.2.weight"])).eval()
    load_into(branch, _strip_prefix("V.", state), ignore=["model.torchfb.*"])
    waves, net = _waves(case.arrays["waves_i16"]), branch.model
    every = int(case.config.get("frame_stride_of_log_mel_and_net_input", 1))
    with record_outputs(net, "bn1", "layer1", "layer2", "layer3", "layer4", "fc") as seen:
        embedding = branch(waves)
    frames = seen["layer4"].mean(2).transpose(1, 2)
    ours: dict[str, Tensor] = {
        "log_mel": net.torchfb.log_mel(waves)[..., ::every],
        "net_input": net.torchfb(waves)[..., ::every],
        "attention": net.attention_weights(frames),
        "pooled": net.pool(frames),
        "feat512": seen["fc"],
        "embedding": embedding,
    }
    channels, steps = (
        case.stated_number(r"activation\[:, ::(\d+)", 8),
        case.stated_number(r"::s, ::(\d+)\]", 20),
    )
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        activation = seen[name] if name != "stem" else seen["bn1"].relu()
        ours[f"{name}_sub"] = activation[:, ::channels, :: max(1, activation.shape[2] // 5), ::steps]
        ours[f"{name}_stats"] = _summary_statistics(activation)
    if "embedding_10s_of_wave0" in case.arrays:
        length = 10 * int(case.config.get("sample_rate", 16000))
        ours["embedding_10s_of_wave0"] = branch(waves[:1].repeat(1, -(-length // waves.shape[1]))[:, :length])
    if "embedding_unit_scale_wave0" in case.arrays:
        ours["embedding_unit_scale_wave0"] = branch(waves[:1] / 32768)
    for name, value in ours.items():
        if name in case.arrays:
            kind = "embedding" if name.startswith("embedding") else name
            log.compare_close(
                name, value, case.arrays[name], **case.tolerance(kind, "other", atol=5e-4, rtol=2e-3)
            )


@torch.no_grad()
def face_embedder(case: Case, log: ComparisonLog) -> None:
    """Check the IR network, head, classifier, and activations."""
    state = case.filled_weights()
    pictures = case.tensor("images_bgr_u8").permute(0, 3, 1, 2).float()
    config = infer_face_config(state, pictures.shape[2])
    branch = FaceBranch(config, *reversed(state["F.cls.weight"].shape)).eval()
    load_into(branch, _strip_prefix("F.", state))
    mean, spread = (case.config.get(f"normal_{word}", [127.5])[0] for word in ("mean", "std"))
    normalised = InputNormalization(mean, spread)(pictures)
    units = {f"body{m[1]}": m[1] for m in (re.match(r"body(\d+)_", key) for key in case.arrays) if m}
    places = ["input_layer", *(f"body.{index}" for index in units.values())]
    with record_outputs(branch.model, *places) as seen:
        feature = branch.model(normalised)
    embedding = branch.fc(feature)
    ours = {"feat512": feature, "embedding": embedding, "class_logits": branch.cls(embedding)}
    for name, value in ours.items():
        if name in case.arrays:
            known = case.tolerance(name, "embedding", atol=0.1, rtol=2e-4)
            log.compare_close(name, value, case.arrays[name], **known)
    log.compare_close(
        "normalised_stats", _summary_statistics(normalised), case.arrays["normalised_stats"], atol=1e-5
    )
    channels, shares = (
        case.stated_number(r"activation\[:, ::(\d+)", 16),
        case.stated_number(r"side // (\d+)", 7),
    )
    for name, place in zip(["stem", *units], places):
        activation = seen[place]
        step, limit = max(1, activation.shape[2] // shares), 1e-4 * float(activation.std(correction=0))
        for suffix, value in (
            ("sub", activation[:, ::channels, ::step, ::step]),
            ("stats", _summary_statistics(activation)),
        ):
            if f"{name}_{suffix}" in case.arrays:
                log.compare_close(f"{name}_{suffix}", value, case.arrays[f"{name}_{suffix}"], atol=limit)


def losses(case: Case, log: ComparisonLog) -> None:
    """Check both losses, both weightings, gradients, and the moving average of the hardness."""
    config, known = case.config, case.tolerance(atol=1e-5, rtol=1e-4)
    constant = config.get("explicit_constant_inside_logarithm", 5.4)
    labels = case.tensor("labels")
    runs: tuple[tuple[Weighting, str], ...] = (("batch_mean", ""), ("per_sample", "per_sample_"))
    for weighting, prefix in runs:
        face, voice, classes = (
            case.tensor(key).requires_grad_() for key in ("z_face", "z_voice", "class_weight")
        )
        logits = face @ classes.T, voice @ classes.T
        state = IdentityWeights(len(classes), momentum=config.get("momentum", 0.9))
        state.load_state_dict(
            {"weight": case.tensor("identity_weight"), "loss_mean": case.tensor("loss_mean_before")}
        )
        found = compute_sample_losses(face, voice, *logits, labels, constant=constant)
        state.update_hardness(labels, found.hardness)
        weights = state.batch_weights(labels)
        terms = apply_identity_weights(
            found, weights, weighting=weighting, loss_weights=config.get("loss_weight", [1, 1, 1])
        )
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        ours = {"total": total, "grad_z_face": face.grad, "grad_z_voice": voice.grad, **terms}
        ours["grad_class_weight"] = classes.grad
        ours = {prefix + name: value for name, value in ours.items()}
        if not prefix:
            ours |= {"logits_face": logits[0], "logits_voice": logits[1], "ce_face": found.face}
            ours |= {"ce_voice": found.voice, "explicit": found.explicit, "batch_weight": weights}
            ours["loss_mean_after"] = state.loss_mean
            ours |= _directions(face, voice, constant)
        for name, value in ours.items():
            if name in case.arrays and value is not None:
                log.compare_close(name, value, case.arrays[name], **known)
    for name, theirs in case.arrays.items():
        if found_margin := re.fullmatch(r"logits_face_margin_(\d+)p(\d+)", name):
            margin = float(".".join(found_margin.groups()))
            logits_face = case.tensor("z_face") @ case.tensor("class_weight").T
            theirs_ce = nn.functional.cross_entropy(torch.as_tensor(theirs), labels, reduction="none")
            log.compare_close(name, implicit_alignment_loss(logits_face, labels, margin), theirs_ce, **known)


def _directions(face: Tensor, voice: Tensor, constant: float) -> dict[str, Tensor]:
    """Return the two directions of the explicit loss, and the loss without labels."""
    from seeking_shape.losses import directional_alignment_loss

    same = torch.eye(len(face), dtype=torch.bool)
    return {
        "explicit_anchor_voice": directional_alignment_loss(voice, face, same, constant),
        "explicit_anchor_face": directional_alignment_loss(face, voice, same, constant),
        "explicit": explicit_alignment_loss(face, voice, None, constant),
    }


def train_step(case: Case, log: ComparisonLog) -> None:
    """Check optimiser steps of the whole model: closely in double precision, the first step in single."""
    stored = case.find_sibling("window", "mel_fb")
    front = (
        {} if stored is None else {WINDOW_KEY: stored.tensor("window"), MEL_BANK_KEY: stored.tensor("mel_fb")}
    )
    if stored is None:
        log.notes.append("no case with the front end's window and bank: computed ones used")
    table = case.meta.get("tolerance", {})
    for name, dtype in (("double", torch.float64), ("single", torch.float32)):
        limits = table.get(f"{name}_precision_run", {})
        ours = _steps(case, front, dtype)
        _compare_steps(case, log, name, ours, limits)


def _steps(case: Case, front: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Any]:
    """Run the steps of the case; return every stored value by name."""
    config, state = case.config, case.filled_weights()
    pictures = case.tensor("images_bgr_u8").permute(0, 3, 1, 2).to(dtype)
    kept = {key: torch.empty(shape) for key, shape in case.meta.get("layout_kept", {}).items()}
    model = Voice2Face(infer_model_config({**kept, **state}, pictures.shape[2]))
    load_into(
        model,
        {**state, **front},
        ignore=["normalize.*", "center.*", *({WINDOW_KEY, MEL_BANK_KEY} - set(front))],
    )
    model.center.weight.copy_(case.tensor("identity_weight"))
    model.center.loss_mean.fill_(config.get("loss_mean_initial", 14.0))
    model.to(dtype).train(config.get("train_mode", True))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.get("dropout_forced_to", 0.0)
    optimiser = torch.optim.SGD(
        model.parameter_groups(),
        lr=config.get("lr", 0.01),
        momentum=config.get("momentum", 0.9),
        weight_decay=config.get("weight_decay", 1e-4),
    )
    begin, length = config.get("crop_start", 0), config.get("crop_length", 160000)
    waves = case.tensor("waves_i16", dtype)
    times = case.stated_number(r"repeated (\d+) times", 0) or -(-160000 // waves.shape[1])
    waves, labels = waves.repeat(1, times)[:, begin : begin + length], case.tensor("labels")
    ours: dict[str, Any] = {"losses": [], "model": model}
    for step in range(config.get("steps", 2)):
        optimiser.zero_grad()
        out = model(pictures, waves)
        found = compute_sample_losses(out.face, out.voice, out.face_logits, out.voice_logits, labels)
        model.center.update_hardness(labels, found.hardness)
        weights = model.center.batch_weights(labels)
        weighting: Any = config.get("identity_loss_weighting", "batch_mean")
        terms = apply_identity_weights(
            found, weights, weighting=weighting, loss_weights=config.get("loss_weight", [1, 1, 1])
        )
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        ours["losses"].append([total.item(), *(term.item() for term in terms.values())])
        if step == 0:
            ours |= {
                "logits_face": out.face_logits,
                "logits_voice": out.voice_logits,
                "explicit": found.explicit,
            }
            ours["batch_weight"] = weights
            ours["norms"] = {
                name: float(parameter.grad.norm())
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
        optimiser.step()
    return ours


def _compare_steps(
    case: Case, log: ComparisonLog, run: str, ours: dict[str, Any], limits: dict[str, Any]
) -> None:
    """Compare one run's values; `limits` is the case's tolerance for it."""
    double = run == "double"
    mine = np.array(ours["losses"])
    if double and "losses_float64_f64" in case.arrays:
        known = limits.get("losses_float64_f64", {"rtol": 1e-8})
        log.compare_close("double: losses", mine, case.arrays["losses_float64_f64"], **known)
    elif not double:
        theirs = case.arrays["losses"]
        first = limits.get("losses_step0", {"rtol": 1e-4})
        log.compare_close("single: losses of step 0", mine[0], theirs[0], **first)
        later, others = ([i for i in range(4) if (i == 1) == face] for face in (True, False))
        known = limits.get("losses_step1_face", {"rtol": 1e-3})
        log.compare_close("single: face loss of step 1", mine[1:2, later], theirs[1:2, later], **known)
        known = limits.get("losses_step1_total_voice_explicit", {"rtol": 0.15})
        log.compare_close("single: other losses of step 1", mine[1:2, others], theirs[1:2, others], **known)
    for name in ("logits_face", "logits_voice", "explicit", "batch_weight"):
        known = limits.get("logits" if name.startswith("logits") else name, {"atol": 1e-3})
        log.compare_close(f"{run}: {name}", ours[name], case.arrays[name], **known)
    norms = case.meta.get("gradient_norms", {})
    log.compare_equal(f"{run}: parameters with a gradient", set(ours["norms"]), set(norms))
    shared = [name for name in norms if name in ours["norms"]]
    log.compare_close(
        f"{run}: gradient norms",
        [ours["norms"][name] for name in shared],
        [norms[name] for name in shared],
        **limits.get("gradient_norms", {"rtol": 0.15, "atol": 1e-4}),
    )
    state = ours["model"].state_dict()
    for name, theirs in case.arrays.items():
        if found := re.fullmatch(r"(after\d+)\.(.+)", name):
            value = state[found[2]].flatten()
            known = limits.get(found[1], {}).get(found[2], {"atol": 1e-3 if double else 1e-2})
            log.compare_close(f"{run}: {name}", value[:: max(1, len(value) // 500)], theirs, **known)
    known = limits.get("center_loss_mean_after", {"atol": 0.02 if double else 0.15})
    log.compare_close(
        f"{run}: hardness", ours["model"].center.loss_mean, case.arrays["center_loss_mean_after"], **known
    )


def checkpoint_layout(case: Case, log: ComparisonLog) -> None:
    """Check key names, shapes, constants, and the order of parameters in the optimiser."""
    meta, layout = case.meta, {key: tuple(shape) for key, shape in case.meta["layout"].items()}
    config = infer_model_config({key: torch.empty(shape, device="meta") for key, shape in layout.items()})
    classes = case.config.get("num_classes", config.num_classes)
    model = Voice2Face(config.model_copy(update={"num_classes": None}), classes)
    state = model.state_dict()
    _compare_layout(log, "state_dict", state, layout)
    for name, module in (("face", model.F.model), ("voice", model.V.model)):
        if theirs := meta.get(f"{name}_pretrained_layout"):
            _compare_layout(log, f"{name} backbone", module.state_dict(), theirs)
    if theirs := meta.get("id_weight_file"):
        _compare_layout(log, "id_weight", {"center.weight": model.center.weight}, theirs)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [[names[p] for p in group["params"]] for group in model.parameter_groups()]
    stored = meta.get("training_checkpoint", {}).get("param_groups", [])
    for ours, theirs in zip(groups, stored, strict=bool(stored)):
        log.compare_equal(f"order of the parameters of {theirs['component']}", ours, theirs["parameters"])
    for name, key in (
        ("normalize_weight", "normalize.conv.weight"),
        ("normalize_bias", "normalize.conv.bias"),
        ("center_loss_mean_initial", "center.loss_mean"),
        ("center_weight_initial", "center.weight"),
    ):
        if name in case.arrays:
            theirs = case.arrays[name]
            log.compare_close(
                name, state[key][: len(theirs)], theirs, **case.tolerance(name, atol=0, rtol=1e-6)
            )
    _file_layouts(log, model, meta)


def _file_layouts(log: ComparisonLog, model: Voice2Face, meta: dict[str, Any]) -> None:
    """Check the content of published files that we write."""
    import tempfile
    from pathlib import Path

    from seeking_shape import published

    optimiser = torch.optim.SGD(model.parameter_groups(), lr=0.01, momentum=0.9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ckp_000001.pth.tar"
        published.save_checkpoint(path, model, 1, optimiser)
        content = torch.load(path, weights_only=True)
        back = published.read_checkpoint(path).state
    expected = meta.get("training_checkpoint", {})
    if "top_level" in expected:
        log.compare_equal("top level of a checkpoint", sorted(content), sorted(expected["top_level"]))
        log.compare_equal("stage", content["stage"], expected.get("stage", 0))
    unequal = [key for key, value in model.state_dict().items() if not torch.equal(value, back[key])]
    log.compare_equal("round trip through a file", unequal, [])


def _compare_layout(log: ComparisonLog, what: str, state: dict[str, Tensor], theirs: dict[str, Any]) -> None:
    """Check for exactly these keys, in any order, with these shapes."""
    found = {key: tuple(value.shape) for key, value in state.items()}
    expected = {key: tuple(shape) for key, shape in theirs.items()}
    wrong = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    log.compare_equal(f"{what}: keys that differ", wrong, [])


def _voice_config(case: Case, state: dict[str, Tensor]) -> Any:
    """Return the architecture from the layout, and the front end from the configuration."""
    kept = {key: torch.empty(shape) for key, shape in case.meta.get("layout_kept", {}).items()}
    found = infer_voice_config({**kept, **state})
    return found.model_copy(update={"n_mels": case.config.get("n_mels", found.n_mels)})


def _strip_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _waves(stored: np.ndarray) -> Tensor:
    return torch.as_tensor(np.atleast_2d(stored)).float()


def _summary_statistics(x: Tensor) -> Tensor:
    """Mean, population standard deviation, least and greatest value."""
    x = x.detach().double()
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max()])
