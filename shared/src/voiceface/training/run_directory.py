"""The folder of a run: may it be used, what does it hold, is it the same run, what a failed save means."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from voiceface.io.atomic import write_text

CONFIG_FILE = "config.yaml"

STATE_FILE = "state.safetensors"

LOG_FILE = "log.jsonl"

FILES_BEFORE_FIRST_STEP = {CONFIG_FILE, LOG_FILE, "tensorboard"}  # what a run makes before its first step

logger = logging.getLogger(__name__)


class RunError(ValueError):
    """A run cannot begin or go on; the message says what to do."""


def check_run_directory(out: Path, resume: bool) -> None:
    """Refuse to resume from nowhere and to write among other files.

    A folder in which a run failed before its first step (unreadable data, weights that do not fit) counts as
    empty.

    Raises:
        RunError: `resume` and no such folder, or not `resume` and something is in it.
    """
    if resume and not out.is_dir():
        raise RunError(f"nothing to resume: {out} does not exist; check the path or leave out --resume")
    others = sorted(item.name for item in out.iterdir()) if out.exists() else []
    if others and not resume and not _has_no_steps(out, others):
        raise RunError(
            f"{out} is not empty ({', '.join(others[:4])}): give --resume to go on with the run in it, "
            "or another --out folder"
        )


def prepare_run_directory(out: Path, config: dict[str, Any]) -> None:
    """Remove incomplete files of a killed run and write the configuration, which may now train longer."""
    for leftover in out.rglob(".*.part*"):
        leftover.unlink(missing_ok=True)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    path = out / CONFIG_FILE
    if not (out / STATE_FILE).exists() or not path.exists() or path.read_text("utf-8") != text:
        write_text(path, text)


def load_resume_state(out: Path, run_key: dict[str, Any]) -> dict[str, Any] | None:
    """The latest resume state of the run in a folder, after comparing what the run is.

    Args:
        out: the folder.
        run_key: what must be the same: ``config`` (as `plain` gives it), ``system``, ``seed``.

    Returns:
        The state, or None when the run was stopped before its first save (it begins anew then).

    Raises:
        RunError: configuration (other than a larger `training.max_steps`), system or seed differ; all
            differing keys are named.
        CheckpointError: the state file is damaged.
    """
    from voiceface.checkpoints.native import load_state

    state = None
    if (out / STATE_FILE).exists():
        state = before = load_state(out / STATE_FILE)
    else:
        logger.warning("%s holds no saved state: starting at step 0", out)
        if not (out / CONFIG_FILE).exists():
            return None
        before = {**run_key, "config": yaml.safe_load((out / CONFIG_FILE).read_text("utf-8")) or {}}
    stored = {key: before[key] for key in run_key}
    if longer := _longer_training(stored["config"], run_key["config"]):
        logger.info("%s: training continues to %s steps", out, longer["training"]["max_steps"])
        stored["config"] = longer
    if differing := config_differences(stored, run_key):
        raise RunError(
            f"Cannot resume {out}: its configuration differs from the one given:\n  "
            + "\n  ".join(differing)
            + "\nUse the same configuration (training.max_steps may be larger), or choose a new --out folder."
        )
    return state


def config_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each dotted key whose value differs between two nested dicts.

    Keys inside ``config`` are named as the user writes them, without that word.
    """
    old, new = _flatten(before), _flatten(now)
    return [
        f"{key.removeprefix('config.')}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
        for key in sorted(old.keys() | new.keys())
        if (key in old) != (key in new) or old.get(key) != new.get(key)
    ]


def to_json_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as JSON gives it back (tuples are lists), so that comparing is fair."""
    return json.loads(json.dumps(dict(config)))


@contextmanager
def explain_write_errors(path: Path, step: int, state_path: Path) -> Iterator[None]:
    """Tell the user what a failed write means for the run.

    Args:
        path: what is being written.
        step: completed steps.
        state_path: the resume state, for whether there is one.

    Raises:
        OSError: with the same number as the one it came from.
    """
    try:
        yield
    except OSError as error:
        kept = "the state saved before is whole" if state_path.exists() else "no state was saved before"
        reason = str(error.strerror or error).removeprefix(f"could not write {path}: ")
        raise OSError(
            error.errno,
            f"writing after step {step} failed: {reason}. Nothing was overwritten, {kept}; "
            "make room and start again with --resume",
            str(path),
        ) from error


def _has_no_steps(out: Path, names: list[str]) -> bool:
    """Whether a folder holds only what a run makes before its first step."""
    log = out / LOG_FILE
    return (
        CONFIG_FILE in names
        and FILES_BEFORE_FIRST_STEP.issuperset(names)
        and not (log.exists() and log.stat().st_size)
    )


def _longer_training(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stored configuration with the new `training.max_steps` if that is larger; None otherwise."""
    old, new = before.get("training"), now.get("training")
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return None
    steps, wanted = old.get("max_steps"), new.get("max_steps")
    if not (isinstance(steps, int) and isinstance(wanted, int) and wanted > steps):
        return None
    return {**before, "training": {**old, "max_steps": wanted}}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested dicts; an empty dict counts as a value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
