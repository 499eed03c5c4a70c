"""What a case of archetype_agnostic configures, as an experiment of ours with published behaviour."""

from collections.abc import Mapping
from typing import Any

from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.published_config import translate
from parity.case import Case

SECTIONS = ("training", "validation", "models", "dataset")
KEY_PATHS = {  # loose keys of cases: where the published configuration file has them
    **dict.fromkeys(("temp", "m_u", "m_l", "H", "num_classes"), ("models", "Arch", "eqm")),
    **dict.fromkeys(("regauge_iter", "weighted_enabled"), ("models",)),
    **dict.fromkeys(("lr", "momentum", "weight_decay", "nesterov"), ("training", "optimizer")),
}
REGAUGING_CONSTANTS = {"scale": "scale", "inner": "inner_margin", "g": "inner_margin"}
"""Constants of the published code that its configuration cannot set: name in cases, name in ours."""


def build_config(case: Case, **more: Any) -> ArchetypeAgnosticConfig:
    """The experiment of a case.

    Args:
        case: its `config` holds sections of a published configuration file, or single keys of one.
        more: further keys of `PATH_KEYS`, which stand above those of the case.
    """
    found = translate(build_published_config(case.config, **more)).config
    tight = {ours: case.config[key] for key, ours in REGAUGING_CONSTANTS.items() if key in case.config}
    return found.model_copy(update={"regauging": found.regauging.model_copy(update=tight)})


def build_published_config(config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A published configuration from the sections and single keys of a case."""
    tree: dict[str, Any] = {"models": {}}
    for section in SECTIONS:
        if isinstance(config.get(section), Mapping):
            tree[section] = _copy_tree(config[section])
    for key, value in {**config, **more}.items():
        if key in KEY_PATHS:
            place = tree
            for name in KEY_PATHS[key]:
                place = place.setdefault(name, {})
            place[key] = value
    return tree


def build_backbone_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A published configuration that asks for a case's networks (`face_backbone`, `voice_backbone`)."""
    tree = build_published_config(config)
    parts = tree["models"].setdefault("Arch", {})
    for key, part in (("face_backbone", "vNet"), ("voice_backbone", "aNet")):
        if key in config:
            parts.setdefault(part, {}).setdefault("pretrained", {})["model"] = str(config[key]).split(" ")[0]
        if "output_channel" in config:
            parts.setdefault(part, {})["output_channel"] = config["output_channel"]
    return tree


def _copy_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings that can be changed."""
    return {key: _copy_tree(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
