"""Parity of one training iteration of archetype_agnostic, and of the layout of its checkpoints."""

import re
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from archetype_agnostic import published
from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm, parameter_groups
from archetype_agnostic.published_config import translate
from archetype_agnostic.train import objective
from parity.archetype_experiment import backbones_tree, experiment
from parity.archetype_networks import pictures_of, waves_of
from parity.case import Book, Case
from parity.rules import Rule
from torch import Tensor
from voiceface.checkpoints.native import load_into
from voiceface.training.optimisers import make_optimiser

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def train_step(case: Case, book: Book) -> None:
    """A whole iteration in single precision, and the optimiser's arithmetic on the stored gradients."""
    state, config, expected = case.filled(), experiment(case), case.meta
    labels, iteration = case.tensor("identity"), int(case.config.get("iteration", 0))
    faces = {name: pictures_of(case, f"image{name}_bgr") for name in ("", "_aux")}
    waves = {name: waves_of(case, f"audio{name}_crop") for name in ("", "_aux")}
    classes = max(int(case.config.get("num_classes", 0)), int(labels.max()) + 1)
    architecture = published.architecture_of(state, faces[""].shape[-1])
    model = Aasm(architecture.model_copy(update={"num_classes": classes}))
    load_into(model, state, ignore=[*published.UNUSED, *published.OPTIONAL, "normalize.*"])
    model.train()
    optimiser = make_optimiser(config.optimiser, parameter_groups(model))
    output = model(faces[""], waves[""], faces["_aux"], waves["_aux"])
    terms, _ = objective(config, model, output, labels, iteration)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    gradients = {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    optimiser.step()
    for name, value in zip(("z_v", "z_a", "z_v_aux", "z_a_aux"), output):
        case.judge(book, name, value)
    _judge_terms(case, book, {name: value.item() for name, value in {**terms, "loss": total}.items()})
    norms = expected.get("grad_norm", {})
    for name, value in norms.items():
        ours = float(gradients[name].norm()) if name in gradients else torch.nan
        book.within(f"grad_norm {name}", ours, value, case.rule("grad_norm", f"grad_norm:{name}"))
    parameters = {key for key in expected["layout"] if not key.endswith(STATISTICS)}
    idle = sorted(parameters - set(gradients))
    book.equal("params_without_gradient", idle, sorted(expected["params_without_gradient"]))
    book.equal("gradients beside the layout", sorted(set(gradients) - parameters), [])
    after = model.state_dict()
    every = case.stride(r"numel\s*//\s*(\d+)", 200)
    for name in case.arrays:
        kind, _, key = name.partition(":")
        if kind in ("grad", "after"):
            value = (gradients if kind == "grad" else after)[key].flatten()
            case.judge(book, name, value[:: max(1, len(value) // every)])
        elif kind == "bn":
            case.judge(book, name, after[key])
    _judge_arithmetic(case, book, config, state, every)


def _judge_terms(case: Case, book: Book, ours: dict[str, float]) -> None:
    """Terms of the loss; those that are absent at this iteration must be absent here."""
    for name, value in case.meta["results"].items():
        if value is None:
            book.equal(f"{name}: absent", name in ours, False)
        else:
            rule = case.rule("results", name, otherwise=Rule(rtol=1e-3))
            book.within(name, ours.get(name, torch.nan), value, rule)


def _judge_arithmetic(
    case: Case, book: Book, config: ArchetypeAgnosticConfig, state: dict[str, Tensor], every: int
) -> None:
    """Our optimiser on stored gradients and the weights before them: rounding apart, the stored result."""
    before, gradients, expected = {}, {}, {}
    for name in case.arrays:
        kind, _, key = name.partition(":")
        if kind == "grad" and f"after:{key}" in case.arrays:
            value = state[key].flatten()
            before[key] = torch.nn.Parameter(value[:: max(1, len(value) // every)].clone())
            gradients[key], expected[key] = case.tensor(name), case.arrays[f"after:{key}"]
    optimiser = make_optimiser(config.optimiser, [{"params": list(before.values())}])
    for key, parameter in before.items():
        parameter.grad = gradients[key].to(parameter)
    optimiser.step()
    stated = re.search(r"holds to ([\d.]+e-\d+)", str(case.meta.get("notes")))
    rule = Rule(atol=float(stated[1]) if stated else 2e-8, rtol=torch.finfo(torch.float32).eps)
    for key, parameter in before.items():
        book.within(f"optimiser on the stored gradient of {key}", parameter, expected[key], rule)


def checkpoint_layout(case: Case, book: Book) -> None:
    """Keys, shapes, types and numbers of elements of what we write, and the way back."""
    meta, layout = case.meta, {key: tuple(shape) for key, shape in case.meta["layout"].items()}
    config = translate(backbones_tree(case.config)).config
    model = Aasm(config.model, config.model.num_classes or int(case.config["num_classes"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ckp_epoch_000001.pth.tar"
        optimiser = make_optimiser(config.optimiser, parameter_groups(model))
        published.save_checkpoint(path, model, 1, optimiser)
        content = torch.load(path, weights_only=True)
        state: dict[str, Tensor] = content["state_dict"]
        back = published.read_checkpoint(path).state
        again = Aasm(published.architecture_of(back))
        published.load_checkpoint(again, path)
    book.equal("top level", sorted(content), ["optimizer", "stage", "start_it", "state_dict"])
    book.equal("start_it, stage", [content["start_it"], content["stage"]], [1, 0])
    found = {key: tuple(value.shape) for key, value in state.items()}
    wrong = sorted(key for key in found.keys() | layout.keys() if found.get(key) != layout.get(key))
    book.equal("keys that differ", wrong, [])
    book.equal("number of keys", len(state), len(layout))
    types = {key: _type_of(key, meta.get("dtypes", {})) for key in state}
    wrong = [key for key, value in state.items() if types[key] not in (None, str(value.dtype))]
    book.equal("keys of another type", wrong, [])
    _judge_counts(book, meta, model, state)
    ours, other = model.state_dict(), again.state_dict()
    book.equal("keys after reading", sorted(other), sorted(ours))
    book.equal("values after reading", [key for key in ours if not torch.equal(ours[key], other[key])], [])


def _judge_counts(book: Book, meta: dict[str, Any], model: Aasm, state: dict[str, Tensor]) -> None:
    """Elements altogether, of what can be trained, and of published parameters (counters among them)."""
    used = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    fits = lambda key, *patterns: any(fnmatchcase(key, pattern) for pattern in patterns)  # noqa: E731
    fixed = {key for key in state if fits(key, "normalize.*", "eqm.*", *published.COUNTERS)}
    idle = {key for key in state if fits(key, *published.UNUSED)} - fixed
    trainable = used | {key for key in idle if not key.endswith(STATISTICS)}
    sums = {
        "total_elements": set(state),
        "trainable_elements": trainable,
        "parameters_elements": trainable | fixed,
    }
    for name, keys in sums.items():
        if name in meta:
            book.equal(name, sum(state[key].numel() for key in keys if key in state), meta[name])


def _type_of(key: str, table: dict[str, str]) -> str | None:
    """The stated type of a key: of the last pattern that fits, else the default."""
    fitting = [kind for pattern, kind in table.items() if fnmatchcase(key, pattern)]
    kind = fitting[-1] if fitting else table.get("default")
    return None if kind is None else f"torch.{kind}"
