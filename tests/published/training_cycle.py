"""The whole way of a training run: two steps, validation, save, kill, resume, lengthen."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceface.commandline.dispatch import run_main
from voiceface.testing.fault_injection import InterruptibleRun, check_killed_during_save
from voiceface.testing.runs import read_log_without_clock

SHORT = (
    *("training.max_steps=2", "training.checkpoint_interval=1", "training.validation_interval=1"),
    *("training.log_interval=1", "training.num_workers=0"),
)


@dataclass(frozen=True)
class TrainingCycle:
    """A configuration, the data that it trains on, and how it is shortened.

    Attributes:
        module: module whose `main` trains.
        cfg: bundled configuration, or a published YAML file.
        arguments: flags with their values: data, initial weights.
        schedule: settings that start every optional term of the method within two steps.
        reduced: settings with which networks and batches fit into a test; unused at full size.
        short: settings of the number of steps, of checkpoints and validation.
        longer: settings with which the finished run continues; its last step must be a further one.
        validated: whether the run validates; its log then has rows of validation.
        outputs: files of the finished run that a killed and resumed run must repeat byte by byte.
    """

    module: str
    cfg: str | Path
    arguments: Sequence[str | Path]
    schedule: Sequence[str] = ()
    reduced: Sequence[str] = ()
    short: Sequence[str] = SHORT
    longer: Sequence[str] = ("training.max_steps=3",)
    validated: bool = True
    outputs: tuple[str, ...] = ()

    def run(
        self,
        starter: Callable[..., Any],
        folder: Path,
        *,
        full_size: bool = False,
        batch_size: int | None = None,
    ) -> Path:
        """Go the whole way; returns the folder of the lengthened run.

        Args:
            starter: starts a function in a process.
            folder: holds the runs.
            full_size: networks and batches keep their published sizes.
            batch_size: with `full_size`, the size of the batches instead; None: as configured.

        Raises:
            AssertionError: a part fails, nothing is validated, or a resumed run differs from an uninterrupted
                one.
        """
        settings = [*self.short, *self.schedule, *(() if full_size else self.reduced)]
        if full_size and batch_size:
            settings.append(f"training.batch_size={batch_size}")

        def build_arguments(out: Path, *more: str) -> list[str]:
            flags = ["--cfg", self.cfg, "--out", out, "--device", "cpu", "--threads", "1", *self.arguments]
            words = [word for word in more if not word.startswith("-")]
            changed = {word.partition("=")[0] for word in words}
            kept = [word for word in settings if word.partition("=")[0] not in changed]
            return [str(word) for word in (*flags, *[w for w in more if w not in words], *kept, *words)]

        reference, killed = folder / "run", folder / "killed"
        assert run_main(self.module, build_arguments(reference)) == 0, self.cfg
        log = read_log_without_clock(reference)
        assert steps(log) == [0, 1], f"{self.cfg}: {log}"
        if self.validated:
            assert any(is_validation(row) for row in log), f"{self.cfg} validates nothing: {log}"
        run = InterruptibleRun(self.module, build_arguments, reference, self.outputs)
        check_killed_during_save(run, starter, killed, save_index=3, seconds=3600 if full_size else 120)
        shutil.rmtree(killed)
        assert run.train(reference, "--resume", *self.longer) == 0, self.cfg
        longer = read_log_without_clock(reference)
        assert steps(longer)[:2] == [0, 1] and len(steps(longer)) > 2, f"{self.cfg}: {longer}"
        return reference


def steps(log: Sequence[dict[str, Any]]) -> list[int]:
    """Steps of the rows of a log that state losses, in order."""
    return [row["step"] for row in log if any(key.endswith("loss") or key == "lr" for key in row)]


def is_validation(row: dict[str, Any]) -> bool:
    """Whether a row of a log states validation metrics."""
    return any(key.startswith("val/") for key in row)
