"""The objective of archetype_agnostic and its identity weights, against loops as in the published code.

    python benchmarks/archetype_agnostic_loss.py

Objective: forward and backward, three pairings asked both ways, D = 128, loose pairs re-gauged. The published
code collects the row scores in a double loop over tensor elements, once per direction; the twin here does the
same and must give the same terms. Refresh: weights of 924 identities; the twin asks a normal law for one
density after the other. Processor time of one thread, least of several calls, in milliseconds.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from timing import add_report_arguments, min_times

if TYPE_CHECKING:
    from torch import Tensor

    Sets = dict[str, Tensor]
    """Embeddings by name, each of shape (B, D)."""

PUBLISHED_MS = {20: 33.0, 64: 303.0, 128: 1276.0}  # ms, of the published code on a processor
GOALS_MS = {20: 2.0, 64: 6.0, 128: 13.0}
IDENTITIES, REFRESH_PUBLISHED, REFRESH_GOAL = 924, 33.5, 0.3
NAMES = ("face", "voice", "face_second", "voice_second")
TOTAL = ("sim_loss", "crosssp_loss", "trip_cross", "trip_intra_v", "trip_intra_a")


def sample_embeddings(num_identities: int, length: int = 128) -> "Sets":
    """Embeddings as after some training: people resemble themselves, and many pairs are loose."""
    import torch

    generator = torch.Generator().manual_seed(num_identities)
    common, who = (
        torch.randn(1, length, generator=generator),
        torch.randn(num_identities, length, generator=generator),
    )
    noise = torch.randn(4, num_identities, length, generator=generator)
    return {name: (common + who + each).requires_grad_() for name, each in zip(NAMES, noise)}


def vectorised_losses(sets: "Sets", weights: "Tensor") -> dict[str, "Tensor"]:
    """All five terms."""
    from archetype_agnostic.losses import aasm_losses, compute_similarities, mean_terms
    from archetype_agnostic.regauging import bilateral_scores, compute_row_scores, regauging_terms

    found = compute_similarities(**sets)
    return mean_terms(aasm_losses(found)) | regauging_terms(
        bilateral_scores(compute_row_scores(found)), weights
    )


def reference_losses(sets: "Sets", weights: "Tensor") -> dict[str, "Tensor"]:
    """The same, row scores element by element; they carry no gradient."""
    import torch

    def direction(candidates: "Tensor", anchors: "Tensor", constant: float) -> tuple["Tensor", "Tensor"]:
        unit = torch.nn.functional.normalize(candidates)
        products = unit @ anchors.T
        gaps = (products.T - products.diagonal()[:, None]) / 0.5
        loss = torch.log(constant + torch.exp(gaps).sum(1)).mean()
        cross = (unit @ torch.nn.functional.normalize(anchors).T).T
        own, within = cross.diagonal()[:, None], unit @ unit.T
        violation = cross - own + 0.2
        chosen = (violation > 0) & ~torch.eye(len(own), dtype=torch.bool)
        refined = (within + 0.15 - own).relu() + (cross - within + 0.15).relu()
        table = ((violation + refined) * chosen).detach()
        scores = torch.zeros(len(table))
        for i in range(len(table)):
            total, count = torch.zeros(()), 0
            for j in range(len(table)):
                if table[i, j] != 0:
                    total = total + table[i, j]
                    count += 1
            if count and own[i, 0] > 0.15:
                scores[i] = total / count
        return loss, scores

    terms = {}
    pairings = (("cross", "voice", "face"), ("intra_v", "face_second", "face"))
    for name, a, b in (*pairings, ("intra_a", "voice_second", "voice")):
        constant = 4.4 if name == "cross" else 5.0  # the diagonal adds one
        (one, there), (other, back) = (direction(sets[x], sets[y], constant) for x, y in ((b, a), (a, b)))
        terms[name] = (one + other) / 2
        both = (there + back) / ((there != 0).int() + (back != 0).int()).clamp_min(1)
        products = 10 * both * weights
        terms[f"trip_{name}"] = products.sum() / (products != 0).sum().clamp_min(1)
    terms["sim_loss"] = terms.pop("intra_v") + terms.pop("intra_a")
    terms["crosssp_loss"] = terms.pop("cross")
    return terms


def reference_refresh(right: "Tensor", compared: "Tensor") -> "Tensor":
    """Identity weights, one density after the other."""
    import torch

    rates = right / compared
    spread = rates.std()
    law = torch.distributions.Normal(rates.mean() - spread, spread)
    weights = torch.ones(len(rates))
    for i in range(len(rates)):
        weights[i] = law.log_prob(rates[i]).exp()
    return weights


def time_objective(num_identities: int, calls: int) -> dict[str, float]:
    """Both ways of one batch size, in milliseconds.

    Raises:
        RuntimeError: they disagree.
    """
    import torch

    sets = sample_embeddings(num_identities)
    weights = 0.5 + torch.rand(num_identities, generator=torch.Generator().manual_seed(0))

    def step(terms_of: "Callable[[Sets, Tensor], dict[str, Tensor]]") -> dict[str, float]:
        for rows in sets.values():
            rows.grad = None
        terms = terms_of(sets, weights)
        torch.stack([terms[name] for name in TOTAL]).sum().backward()
        return {name: terms[name].item() for name in TOTAL}

    mine, theirs = step(vectorised_losses), step(reference_losses)
    worst = max(abs(mine[name] - theirs[name]) / (1e-6 + abs(theirs[name])) for name in TOTAL)
    if worst > 1e-4 or not mine["trip_cross"]:
        raise RuntimeError(f"the two ways disagree: {mine}, {theirs}")
    return {
        "ours": 1e3 * min_times(lambda: step(vectorised_losses), calls).cpu,
        "loops": 1e3 * min_times(lambda: step(reference_losses), 2).cpu,
    }


def time_refresh(calls: int) -> dict[str, float]:
    """Both ways of refreshing 924 weights, in milliseconds.

    Raises:
        RuntimeError: they disagree.
    """
    import torch
    from archetype_agnostic.equilibrium import Equilibrium

    generator = torch.Generator().manual_seed(1)
    compared = torch.full((IDENTITIES,), 380.0)
    right = (compared * (0.5 + 0.4 * torch.rand(IDENTITIES, generator=generator))).floor()
    eqm = Equilibrium(IDENTITIES)

    def mine() -> "Tensor":
        eqm.corr_num.copy_(right)
        eqm.compare_sum.copy_(compared)
        eqm.refresh()
        return eqm.weight

    if not torch.allclose(mine(), reference_refresh(right, compared), rtol=1e-3):
        raise RuntimeError("the two ways of refreshing disagree")
    return {
        "ours": 1e3 * min_times(mine, calls).cpu,
        "loops": 1e3 * min_times(lambda: reference_refresh(right, compared), 3).cpu,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row per task; 1 when a goal is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=200, help="measured calls of ours")
    add_report_arguments(parser)
    args = parser.parse_args(argv)

    import torch

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for people, goal in GOALS_MS.items():
        found = time_objective(people, args.calls)
        rows.append(
            {"task": f"objective, B = {people}", **found, "goal": goal, "published": PUBLISHED_MS[people]}
        )
    found, what = time_refresh(args.calls), f"refresh, {IDENTITIES} identities"
    rows.append({"task": what, **found, "goal": REFRESH_GOAL, "published": REFRESH_PUBLISHED})
    heads = ("ours", "loops", "goal", "published")
    print(f"{'milliseconds':26}" + "".join(f"{head:>12}" for head in heads))
    for row in rows:
        print(f"{row['task']:26}" + "".join(f"{row[head]:12.2f}" for head in heads))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")
    return int(args.strict and any(row["ours"] > row["goal"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
