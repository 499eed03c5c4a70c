"""Parity over many iterations: hardness, identity weights, learning rates and events."""

from typing import Any

import numpy as np
import torch
from parity.case import Case, ComparisonLog
from seeking_shape.published_config import translate
from seeking_shape.reweighting import IdentityWeights
from voiceface.association.validation import validation_due
from voiceface.training.optimisers import build_lr_schedule


def identity_reweighting(case: Case, log: ComparisonLog) -> None:
    """Check a complete run of the re-weighting state on generated losses, in single and double precision."""
    config = case.config
    names = {
        "update_every": "update_interval",
        "first_update": "warm_up",
        "first_fraction": "initial_fraction",
        "add_fraction": "fraction_step",
        "stop_ratio": "final_fraction",
        "decay": "decay",
        "momentum": "momentum",
        "initial_loss_mean": "initial_loss",
    }
    options = {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    classes, batch = int(config["num_classes"]), int(config["batch"])
    single = IdentityWeights(classes, **options)
    double = IdentityWeights(classes, **options).double()
    hardness = case.arrays["hardness_f64"]
    updates: list[int] = []
    weights, ratios, before = [], [], None
    order, position, drawn = np.empty(0, np.int64), 0, 0
    for t in range(int(config["iterations"])):
        if single.is_due(t) and before is None:
            before = single.loss_mean.clone()
        if single.update(t):
            updates.append(t)
            weights.append(single.weight.clone())
            ratios.append(single.active_fraction)
        double.update(t)
        if not len(order) or position + batch > classes:
            seed = int(config["batch_seed_base"]) + drawn
            order, position = np.random.Generator(np.random.PCG64(seed)).permutation(classes), 0
        chosen = order[position : position + batch]
        position, drawn = position + batch, drawn + 1
        loss = torch.from_numpy((hardness[chosen] * (0.5 + np.exp(-t / 900))).astype(np.float32))
        single.update_hardness(torch.from_numpy(chosen), loss)
        double.update_hardness(torch.from_numpy(chosen), loss)
    stored = case.arrays
    log.compare_equal("update_iterations", updates, stored["update_iterations"].tolist())
    if len(updates) == len(stored["weights"]):
        known = case.tolerance("weights", atol=1e-5)
        ours = torch.stack(weights)
        log.compare_close("weights", ours, stored["weights"], **known)
        log.compare_equal("active sets", bool(np.array_equal(ours.numpy() > 0, stored["weights"] > 0)), True)
        log.compare_close("active_ratio", ratios, stored["active_ratio"], atol=1e-6)
    log.compare_close(
        "final_weight", single.weight, stored["final_weight"], **case.tolerance("weights", atol=1e-5)
    )
    same = np.array_equal(double.weight.numpy() > 0, stored["final_weight"] > 0)
    log.compare_equal("active set in double precision", bool(same), True)
    known = case.tolerance("loss_mean", atol=0.05)
    log.compare_close("final_loss_mean", single.loss_mean, stored["final_loss_mean"], **known)
    if before is not None:
        log.compare_close("loss_mean_at_first_update", before, stored["loss_mean_at_first_update"], **known)
    name = "final_loss_mean_float64_f64"
    if name in stored:
        log.compare_close(name, double.loss_mean, stored[name], **case.tolerance(name, atol=1e-4))
        log.compare_close(
            f"{name}, ours in single", single.loss_mean, stored[name], **case.tolerance(name, atol=1e-4)
        )
    for query in ("query", "all_zero_query"):
        if query in stored and len(stored[query]):
            ours = single.batch_weights(case.tensor(query))
            log.compare_close(
                f"{query}_weight",
                ours,
                stored[f"{query}_weight"],
                **case.tolerance("query_weight", rtol=1e-4),
            )


def schedule(case: Case, log: ComparisonLog) -> None:
    """Check learning rates and events of named configurations; ours stops exactly at max_steps."""
    for name, stated in case.meta["schedules"].items():
        config = {**case.config, **stated["config"]}
        changes, events = _trace_run(config)
        limit = config["max_iter"]
        expected = [change for change in stated["lr_changes"] if change[0] < limit]
        log.compare_equal(
            f"{name}: iterations of rate changes", [c[0] for c in changes], [c[0] for c in expected]
        )
        if len(changes) == len(expected):
            log.compare_close(f"{name}: rates", [c[1] for c in changes], [c[1] for c in expected], rtol=1e-9)
        log.compare_equal(f"{name}: events", events, _events_before(stated["events"], limit))
        per_epoch = config["identities"] // config["batch"]
        log.compare_equal(f"{name}: iterations per epoch", per_epoch, stated["iterations_per_epoch"])


def _events_before(events: list[list[Any]], limit: int) -> list[list[Any]]:
    """Return published events without the weight updates of the surplus iterations."""
    return [event for event in events if not (event[0] == "weight_update" and event[1] >= limit)]


def _trace_run(config: dict[str, Any]) -> tuple[list[list[float]], list[list[Any]]]:
    """Trace learning rate changes and events of one run, by the functions that training calls."""
    experiment = translate(_to_published_config(config)).config
    stated = {
        "warm_up": config["first_weight_update"],
        "initial_fraction": config["first_fraction"],
        "fraction_step": config["add_fraction"],
        "final_fraction": config["stop_ratio"],
    }
    weights = IdentityWeights(
        config["identities"], **{**experiment.weights.model_dump(exclude={"enabled"}), **stated}
    )
    limit = experiment.training.max_steps
    rate = build_lr_schedule(experiment.schedule, experiment.optimiser.lr, limit)
    changes: list[list[float]] = []
    events: list[list[Any]] = []
    for t in range(limit + 1):
        if validation_due(experiment, t):
            events.append(["validation", t, "val"])
        if t == limit:
            break
        if weights.update(t):
            events.append(["weight_update", t, round(weights.active_fraction, 6)])
        if not changes or rate(t) != changes[-1][1]:
            changes.append([t, rate(t)])
        if t + 1 in (1, limit) or (t + 1) % experiment.training.checkpoint_interval == 0:
            events.append(["save", t + 1, f"ckp_{t + 1:06d}.pth.tar"])
    return changes, events


def _to_published_config(config: dict[str, Any]) -> dict[str, Any]:
    """Convert the case's flat configuration to the published file's form."""
    solver = {key: config[key] for key in ("lr", "lr_decay_iter", "lr_decay")}
    keys = ("max_iter", "weight_update_iter", "val_iter", "start_eval_it", "save_iter")
    training = {key: config[key] for key in keys} | {"batchsize": config["batch"]}
    face = {"num_classes": config["identities"]}
    return {
        "models": {"conponents": {"F": face}},
        "training": {**training, "optimizer": {"match": solver}},
    }
