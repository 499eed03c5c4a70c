"""The evaluation protocol: trial lists and the rules that metrics are computed by."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from voiceface.datasets.trials.trial_list import TrialList

__all__ = [
    "Protocol",
]


@dataclass(frozen=True)
class Protocol:
    """Trial lists and rules: everything that determines a metric besides the embeddings.

    Attributes:
        name: in tables.
        lists: in the order of the results.
        tie_breaking: "expected" (a tie among k counts 1/k, expected AP) or "first" (first maximum wins,
            gallery order).
        seed: of the bootstrap draws.
        replicates: of the bootstrap over identities; 0 for no intervals.
        confidence: of the intervals.
        cutoffs: values of k of R@k.
        cmc_length: length of the CMC curve.
        p_target: of minDCF.
    """

    name: str
    lists: tuple[TrialList, ...]
    tie_breaking: str = "expected"
    seed: int = 0
    replicates: int = 1000
    confidence: float = 0.95
    cutoffs: tuple[int, ...] = (1, 5, 10)
    cmc_length: int = 100
    p_target: float = 0.05

    def __post_init__(self) -> None:
        """Check the tie rule and that list names differ."""
        if self.tie_breaking not in ("expected", "first"):
            raise ValueError(f"tie_breaking must be expected or first, found {self.tie_breaking!r}")
        names = [trial_list.name for trial_list in self.lists]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a protocol needs lists of different names, found {', '.join(names) or 'none'}")

    @property
    def strata(self) -> tuple[str, ...]:
        """The different strata of its lists, in order."""
        return tuple(dict.fromkeys(trial_list.stratum for trial_list in self.lists))

    @property
    def rules(self) -> dict[str, Any]:
        """Rules as plain values."""
        keys = ("tie_breaking", "seed", "replicates", "confidence", "cutoffs", "cmc_length", "p_target")
        rules = {key: getattr(self, key) for key in keys}
        return rules | {"cutoffs": list(self.cutoffs), "strata": list(self.strata)}

    @property
    def sha256(self) -> str:
        """Hash of the lists' names and hashes and of the rules: equal hashes mean comparable metrics."""
        content = {"lists": [[q.name, q.sha256] for q in self.lists], "rules": self.rules}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
