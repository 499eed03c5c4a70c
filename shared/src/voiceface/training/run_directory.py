"""Run directory: checks before use, configuration, resume state, explanation of failed writes."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from voiceface.io.atomic import write_text
from voiceface.io.foreign_files import read_file_text
from voiceface.runtime.yaml_values import load_yaml

if TYPE_CHECKING:
    from voiceface.runtime.config import Config

CONFIG_FILE = "config.yaml"
STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"
FEATURES_FOLDER = "features"
"""Folder of features that frozen encoders computed for a run, before it starts."""
FILES_BEFORE_FIRST_STEP = {CONFIG_FILE, LOG_FILE, FEATURES_FOLDER, "tensorboard"}

logger = logging.getLogger(__name__)

__all__ = [
    "CONFIG_FILE",
    "FEATURES_FOLDER",
    "LOG_FILE",
    "STATE_FILE",
    "RunError",
    "check_run_directory",
    "config_differences",
    "explain_write_errors",
    "load_resume_state",
    "prepare_run_directory",
    "to_json_values",
]


class RunError(ValueError):
    """A run cannot start or resume; the message states the remedy."""


def check_run_directory(out: Path, resume: bool) -> None:
    """Check that a directory exists if a run resumes in it, and that it is empty otherwise.

    A directory in which a run failed before its first step (unreadable data, incompatible weights) counts as
    empty.

    Raises:
        RunError: `resume` without a directory, or a directory that is not empty without `resume`.
    """
    if resume and not out.is_dir():
        raise RunError(f"nothing to resume: {out} does not exist; check the path, or omit --resume")
    others = sorted(item.name for item in out.iterdir()) if out.exists() else []
    if others and not resume and not _has_no_steps(out, others):
        raise RunError(
            f"{out} is not empty ({', '.join(others[:4])}): give --resume to resume the run in it, "
            "or choose another --out folder"
        )


def prepare_run_directory(out: Path, config: dict[str, Any]) -> None:
    """Remove incomplete files of a killed run, and write the configuration (max_steps may have grown)."""
    for leftover in out.rglob(".*.part*"):
        leftover.unlink(missing_ok=True)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    path = out / CONFIG_FILE
    if not (out / STATE_FILE).exists() or not path.exists() or path.read_text("utf-8") != text:
        write_text(path, text)


def load_resume_state(
    out: Path, run_key: dict[str, Any], schema: "Config | None" = None
) -> dict[str, Any] | None:
    """Load the latest resume state of a run, after comparing the run's configuration with the given one.

    Args:
        out: run directory.
        run_key: values that must be equal: ``config`` (as `to_json_values` returns it), ``system``, ``seed``.
        schema: the typed configuration. Keys that are newer than the stored one have the defaults of its
            classes.

    Returns:
        The state, or None if the run was stopped before its first save (it starts at step 0).

    Raises:
        RunError: configuration (other than a larger `training.max_steps`), system or seed differ; all
            differing keys are named.
        CheckpointError: the state file is corrupt.
    """
    from voiceface.checkpoints.resume_state import load_state
    from voiceface.runtime.config import add_defaults

    state = None
    if (out / STATE_FILE).exists():
        state = before = load_state(out / STATE_FILE)
    else:
        logger.warning("%s holds no saved state: starting at step 0", out)
        if not (out / CONFIG_FILE).exists():
            return None
        text = read_file_text(out / CONFIG_FILE, RunError, "the configuration of a run")
        try:
            before = {**run_key, "config": load_yaml(text) or {}}
        except yaml.YAMLError as error:
            raise RunError(f"{out / CONFIG_FILE} is not readable YAML: {error}") from None
    stored = {key: before[key] for key in run_key}
    if longer := _longer_training(stored["config"], run_key["config"]):
        logger.info("%s: training continues to %s steps", out, longer["training"]["max_steps"])
        stored["config"] = longer
    now = run_key
    if schema is not None:
        stored, now = ({**key, "config": add_defaults(key["config"], schema)} for key in (stored, now))
    if differing := config_differences(stored, now):
        raise RunError(
            f"Cannot resume {out}: its configuration differs from the one given:\n  "
            + "\n  ".join(differing)
            + "\nUse the same configuration (training.max_steps may be larger), or choose a new --out folder."
        )
    return state


def config_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the dotted keys whose values differ between two nested dicts, one line per key.

    Keys inside ``config`` are named as the user writes them, without this prefix.
    """
    old, new = _flatten(before), _flatten(now)
    return [
        f"{key.removeprefix('config.')}: {old.get(key, 'missing')!r} in the run, "
        f"{new.get(key, 'missing')!r} given"
        for key in sorted(old.keys() | new.keys())
        if (key in old) != (key in new) or old.get(key) != new.get(key)
    ]


def to_json_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a configuration to the values that JSON returns (tuples become lists), for comparisons."""
    return json.loads(json.dumps(dict(config)))


@contextmanager
def explain_write_errors(path: Path, step: int, state_path: Path) -> Iterator[None]:
    """Extend the message of a failed write by its consequence for the run and the remedy.

    Args:
        path: file that is being written.
        step: completed steps.
        state_path: the resume state, which may exist.

    Raises:
        OSError: with the same error number as the original one.
    """
    try:
        yield
    except OSError as error:
        kept = "the last saved state is intact" if state_path.exists() else "no state had been saved yet"
        reason = str(error.strerror or error).removeprefix(f"could not write {path}: ")
        raise OSError(
            error.errno,
            f"writing after step {step} failed: {reason}. Nothing was overwritten, {kept}; "
            "free disk space and restart with --resume",
            str(path),
        ) from error


def _has_no_steps(out: Path, names: list[str]) -> bool:
    """Whether a directory holds only the files that a run writes before its first step."""
    log = out / LOG_FILE
    return (
        (CONFIG_FILE in names or names == [FEATURES_FOLDER])
        and FILES_BEFORE_FIRST_STEP.issuperset(names)
        and not (log.exists() and log.stat().st_size)
    )


def _longer_training(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stored configuration with the new `training.max_steps` if it is larger, otherwise None."""
    old, new = before.get("training"), now.get("training")
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return None
    old_steps, new_steps = old.get("max_steps"), new.get("max_steps")
    if not (isinstance(old_steps, int) and isinstance(new_steps, int) and new_steps > old_steps):
        return None
    return {**before, "training": {**old, "max_steps": new_steps}}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested dicts; an empty dict counts as a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
