"""Parity of the objective of archetype_agnostic: AaSM, re-gauging, their sum, identity weights."""

import re
from types import SimpleNamespace
from typing import Any

import torch
from archetype_agnostic.equilibrium import Equilibrium
from archetype_agnostic.losses import (
    DIRECTIONS,
    PAIRINGS,
    aasm_losses,
    compute_similarities,
    count_hits,
    mean_terms,
)
from archetype_agnostic.model import ModelOutput
from archetype_agnostic.regauging import (
    Margins,
    ViolationForm,
    bilateral_scores,
    compute_row_scores,
    regauging_terms,
)
from archetype_agnostic.train import compute_losses
from parity.archetype_experiment import build_config
from parity.case import Case, ComparisonLog
from parity.tolerance_rules import ToleranceRule
from torch import Tensor

NAMES = {"face": "z_v", "voice": "z_a", "face_second": "z_v_aux", "voice_second": "z_a_aux"}
CLOSE = ToleranceRule(atol=1e-5, rtol=1e-4)


STORED = {  # stored prefix: (candidates, anchors)
    "va_cross": ("face", "voice"),
    "av_cross": ("voice", "face"),
    "vv_intra": ("face", "face_second"),
    "aa_intra": ("voice", "voice_second"),
}


def load_embeddings(case: Case) -> dict[str, Tensor]:
    """The four stored sets of embeddings by our names, ready for gradients."""
    return {ours: case.tensor(theirs).requires_grad_() for ours, theirs in NAMES.items()}


def aasm_loss(case: Case, log: ComparisonLog) -> None:
    """Every direction and pairing, hit counts, and the gradients of both parts."""
    config = build_config(case)
    sets = load_embeddings(case)
    found = compute_similarities(**sets)
    loss = config.loss
    values = aasm_losses(found, loss.temperature, loss.cross_constant, loss.intra_constant)
    tight = config.regauging
    margins = Margins(tight.trust_threshold, tight.margin, tight.inner_margin)
    forms: dict[str, ViolationForm] = {"hinge": "hinge", "circle": "circle"}
    scores = {name: compute_row_scores(found, form, margins) for name, form in forms.items()}
    for prefix, (candidates, anchors) in STORED.items():
        row = DIRECTIONS.index((anchors, candidates))
        _compare_if_stored(case, log, f"{prefix}_nce", values[row])
        for form, table in scores.items():
            _compare_if_stored(case, log, f"{prefix}_tight_{form}", table[row])
        x, v = sets[candidates], sets[anchors]
        ranked, compared = count_hits(compute_similarities(x, v, x, v))
        _compare_if_stored(case, log, f"{prefix}_corr", ranked)
        if stated := re.search(rf"'{prefix}_sum': (\d+)", str(case.meta.get("outputs"))):
            log.compare_equal(f"{prefix}: comparisons", compared.unique().tolist(), [float(stated[1])])
    for index, pairing in enumerate(PAIRINGS):
        _compare_if_stored(case, log, f"pair_{pairing}_nce", values.view(2, 3, -1).mean(0)[index])
        for form, table in scores.items():
            _compare_if_stored(case, log, f"pair_{pairing}_tight_{form}", bilateral_scores(table)[index])
    totals = {"total_nce": (torch.stack(list(mean_terms(values).values())).sum(), "grad_total_nce")}
    for form, table in scores.items():
        terms = regauging_terms(bilateral_scores(table), scale=tight.scale)
        totals[f"derived_total_regauge_{form}"] = (
            torch.stack(list(terms.values())).sum(),
            f"derived_grad_regauge_{form}",
        )
    for name, (total, prefix) in totals.items():
        _compare_if_stored(case, log, name, total)
        gradients = torch.autograd.grad(total, list(sets.values()), retain_graph=True)
        for theirs, gradient in zip(NAMES.values(), gradients):
            _compare_if_stored(case, log, f"{prefix}_{theirs}", gradient)
    if unseen := set(case.arrays) - set(NAMES.values()) - {name for _, name, _ in log.comparisons}:
        log.notes.append(f"nothing compared with {', '.join(sorted(unseen))}")


def total_loss(case: Case, log: ComparisonLog) -> None:
    """The whole objective as training computes it: both forms, all weightings, before and after the start."""
    table, labels = case.tensor("weight_table"), case.tensor("identity")
    weights = {"ones": torch.ones_like(table), "table": table}
    output = ModelOutput(**{name: value.detach() for name, value in load_embeddings(case).items()})
    for title, entry in case.meta["results"].items():
        form, weighting, moment = title.split("/")
        weighted = weighting != "none"
        published = build_config(case, H=form == "hinge", weighted_enabled=weighted, num_classes=len(table))
        correct = published.regauging.model_copy(update={"weighting": "per_row", "unweighted_mean": "loose"})
        configs = {
            "published": published,
            "elementwise_weights": published.model_copy(update={"regauging": correct}),
        }
        eqm = Equilibrium(len(table))
        eqm.weight.copy_(weights.get(weighting, table))
        model: Any = SimpleNamespace(eqm=eqm)
        for kind, expected in entry.items():
            terms, _ = compute_losses(configs[kind], model, output, labels, int(moment.removeprefix("iter")))
            ours = {name: float(value) for name, value in terms.items()}
            ours["loss"] = sum(ours.values())
            absent = {name for name, value in expected.items() if value is None}
            log.compare_equal(f"{title}, {kind}: absent terms", sorted(absent & set(ours)), [])
            for name, value in expected.items():
                if value is not None:
                    rule = case.rule("results", title, name, default=CLOSE)
                    log.compare_by_rule(f"{title}, {kind}: {name}", ours.get(name, torch.nan), value, rule)


def equilibrium(case: Case, log: ComparisonLog) -> None:
    """Counting over batches, one refresh, a look-up."""
    stored, config = case.arrays, case.config
    eqm = Equilibrium(int(config["num_classes"]))
    eqm.weight.copy_(case.tensor("weight_initial"))
    for labels, ranked in zip(case.tensor("identity"), case.tensor("corr")):
        eqm.add_counts(labels, ranked, torch.full_like(ranked, int(config["comparisons_per_row"])))
    ours = {"corr_num": eqm.corr_num.clone(), "compare_sum": eqm.compare_sum.clone()}
    eqm.refresh()
    ours |= {"weight": eqm.weight, "corr_num_after": eqm.corr_num, "compare_sum_after": eqm.compare_sum}
    ours["lookup_weight"] = eqm.batch_weights(case.tensor("lookup_identity"))
    for name, value in ours.items():
        if name in stored:
            case.compare(log, name, value, default=ToleranceRule(atol=1e-6, rtol=1e-5))


def _compare_if_stored(case: Case, log: ComparisonLog, name: str, ours: Tensor) -> None:
    """Against the stored array of this name, where there is one; rows may be stored as a column."""
    if name in case.arrays:
        value = ours.reshape(case.arrays[name].shape) if ours.numel() == case.arrays[name].size else ours
        case.compare(log, name, value, default=CLOSE)
