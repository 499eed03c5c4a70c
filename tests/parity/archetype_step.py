"""Parity of one training iteration of archetype_agnostic, and of the layout of its checkpoints."""

import re
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from archetype_agnostic import published
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm
from archetype_agnostic.published_config import translate
from archetype_agnostic.train import compute_losses
from parity.archetype_experiment import build_backbone_config, build_config
from parity.archetype_networks import load_images, load_waves
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from torch import Tensor
from voiceface.checkpoints.native import load_into
from voiceface.training.optimisers import build_optimiser

BATCHNORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def train_step(case: Case, log: ComparisonLog) -> None:
    """A whole iteration in single precision, and the optimiser's arithmetic on the stored gradients."""
    state, config, expected = case.filled_weights(), build_config(case), case.meta
    labels, iteration = case.tensor("identity"), int(case.config.get("iteration", 0))
    faces = {name: load_images(case, f"image{name}_bgr") for name in ("", "_aux")}
    waves = {name: load_waves(case, f"audio{name}_crop") for name in ("", "_aux")}
    classes = max(int(case.config.get("num_classes", 0)), int(labels.max()) + 1)
    architecture = published.infer_model_config(state, faces[""].shape[-1])
    model = Aasm(architecture.model_copy(update={"num_classes": classes}))
    load_into(model, state, ignore=[*published.UNUSED_KEYS, *published.OPTIONAL_KEYS, "normalize.*"])
    model.train()
    optimiser = build_optimiser(config.optimiser, model.parameter_groups())
    output = model(faces[""], waves[""], faces["_aux"], waves["_aux"])
    terms, _ = compute_losses(config, model, output, labels, iteration)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    gradients = {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    optimiser.step()
    for name, value in zip(("z_v", "z_a", "z_v_aux", "z_a_aux"), output):
        case.compare(log, name, value)
    _compare_terms(case, log, {name: value.item() for name, value in {**terms, "loss": total}.items()})
    norms = expected.get("grad_norm", {})
    for name, value in norms.items():
        ours = float(gradients[name].norm()) if name in gradients else torch.nan
        log.compare_by_rule(f"grad_norm {name}", ours, value, case.rule("grad_norm", f"grad_norm:{name}"))
    parameters = {key for key in expected["layout"] if not key.endswith(BATCHNORM_BUFFERS)}
    idle = sorted(parameters - set(gradients))
    log.compare_equal("params_without_gradient", idle, sorted(expected["params_without_gradient"]))
    log.compare_equal("gradients beside the layout", sorted(set(gradients) - parameters), [])
    after = model.state_dict()
    every = case.stated_number(r"numel\s*//\s*(\d+)", 200)
    for name in case.arrays:
        kind, _, key = name.partition(":")
        if kind in ("grad", "after"):
            value = (gradients if kind == "grad" else after)[key].flatten()
            case.compare(log, name, value[:: max(1, len(value) // every)])
        elif kind == "bn":
            case.compare(log, name, after[key])
    _compare_optimiser_step(case, log, config, state, every)


def _compare_terms(case: Case, log: ComparisonLog, ours: dict[str, float]) -> None:
    """Terms of the loss; those that are absent at this iteration must be absent here."""
    for name, value in case.meta["results"].items():
        if value is None:
            log.compare_equal(f"{name}: absent", name in ours, False)
        else:
            rule = case.rule("results", name, default=ToleranceRule(rtol=1e-3))
            log.compare_by_rule(name, ours.get(name, torch.nan), value, rule)


def _compare_optimiser_step(
    case: Case, log: ComparisonLog, config: ArchetypeAgnosticConfig, state: dict[str, Tensor], every: int
) -> None:
    """Our optimiser on stored gradients and the weights before them: rounding apart, the stored result."""
    before, gradients, expected = {}, {}, {}
    for name in case.arrays:
        kind, _, key = name.partition(":")
        if kind == "grad" and f"after:{key}" in case.arrays:
            value = state[key].flatten()
            before[key] = torch.nn.Parameter(value[:: max(1, len(value) // every)].clone())
            gradients[key], expected[key] = case.tensor(name), case.arrays[f"after:{key}"]
    optimiser = build_optimiser(config.optimiser, [{"params": list(before.values())}])
    for key, parameter in before.items():
        parameter.grad = gradients[key].to(parameter)
    optimiser.step()
    stated = re.search(r"holds to ([\d.]+e-\d+)", str(case.meta.get("notes")))
    rule = ToleranceRule(atol=float(stated[1]) if stated else 2e-8, rtol=torch.finfo(torch.float32).eps)
    for key, parameter in before.items():
        log.compare_by_rule(f"optimiser on the stored gradient of {key}", parameter, expected[key], rule)


def checkpoint_layout(case: Case, log: ComparisonLog) -> None:
    """Keys, shapes, types and numbers of elements of what we write, and the way back."""
    meta, layout = case.meta, {key: tuple(shape) for key, shape in case.meta["layout"].items()}
    config = translate(build_backbone_config(case.config)).config
    model = Aasm(config.model, config.model.num_classes or int(case.config["num_classes"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ckp_epoch_000001.pth.tar"
        optimiser = build_optimiser(config.optimiser, model.parameter_groups())
        published.save_checkpoint(path, model, 1, optimiser)
        content = torch.load(path, weights_only=True)
        state: dict[str, Tensor] = content["state_dict"]
        back = published.read_checkpoint(path).state
        again = Aasm(published.infer_model_config(back))
        published.load_checkpoint(again, path)
    log.compare_equal("top level", sorted(content), ["optimizer", "stage", "start_it", "state_dict"])
    log.compare_equal("start_it, stage", [content["start_it"], content["stage"]], [1, 0])
    found = {key: tuple(value.shape) for key, value in state.items()}
    wrong = sorted(key for key in found.keys() | layout.keys() if found.get(key) != layout.get(key))
    log.compare_equal("keys that differ", wrong, [])
    log.compare_equal("number of keys", len(state), len(layout))
    types = {key: _stated_dtype(key, meta.get("dtypes", {})) for key in state}
    wrong = [key for key, value in state.items() if types[key] not in (None, str(value.dtype))]
    log.compare_equal("keys of another type", wrong, [])
    _compare_counts(log, meta, model, state)
    ours, other = model.state_dict(), again.state_dict()
    log.compare_equal("keys after reading", sorted(other), sorted(ours))
    log.compare_equal(
        "values after reading", [key for key in ours if not torch.equal(ours[key], other[key])], []
    )


def _compare_counts(log: ComparisonLog, meta: dict[str, Any], model: Aasm, state: dict[str, Tensor]) -> None:
    """Elements altogether, of what can be trained, and of published parameters (counters among them)."""
    used = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    fits = lambda key, *patterns: any(fnmatchcase(key, pattern) for pattern in patterns)  # noqa: E731
    fixed = {key for key in state if fits(key, "normalize.*", "eqm.*", *published.COUNTER_KEYS)}
    idle = {key for key in state if fits(key, *published.UNUSED_KEYS)} - fixed
    trainable = used | {key for key in idle if not key.endswith(BATCHNORM_BUFFERS)}
    sums = {
        "total_elements": set(state),
        "trainable_elements": trainable,
        "parameters_elements": trainable | fixed,
    }
    for name, keys in sums.items():
        if name in meta:
            log.compare_equal(name, sum(state[key].numel() for key in keys if key in state), meta[name])


def _stated_dtype(key: str, table: dict[str, str]) -> str | None:
    """The stated type of a key: of the last pattern that fits, else the default."""
    fitting = [kind for pattern, kind in table.items() if fnmatchcase(key, pattern)]
    kind = fitting[-1] if fitting else table.get("default")
    return None if kind is None else f"torch.{kind}"
