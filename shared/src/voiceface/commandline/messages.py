"""Messages of commands on standard error: disclaimers, files left out, overlap with the training set.

Standard output is for results.
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from voiceface.commandline.exit_status import ERROR, SUCCESS
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.own_files import LeftOut, format_left_out
from voiceface.io.wording import counted

__all__ = [
    "name_options",
    "print_disclaimers",
    "print_skipped",
    "report_left_out",
    "report_notes",
    "warn_training_overlap",
]

MAX_NOTES_SHOWN = 20
SALVAGE = 'on_corrupt="salvage"', "--on-corrupt salvage (of train: data.corrupt_audio=salvage)"
MAX_LEFT_OUT_SHOWN = 1000


def print_disclaimers(*disclaimers: str) -> None:
    """Print each disclaimer once; empty ones are skipped."""
    for text in dict.fromkeys(disclaimers):
        if text:
            print(text, file=sys.stderr)


def name_options(text: str) -> str:
    """Replace the arguments of Python functions in the remedies of readers by the options of commands."""
    return text.replace(*SALVAGE)


def report_left_out(left_out: Sequence[LeftOut], *, strict: bool = False) -> int:
    """Print the files of a person's own that were not used, as one table; nothing if there are none.

    Call it once, after the results are written.

    Args:
        left_out: the files, in any order; of a file that occurs twice the first entry counts.
        strict: files left out are an error (`voiceface.commandline.arguments.add_strict_argument`).

    Returns:
        Exit status: `SUCCESS`, or `ERROR` if `strict` and a file was left out.
    """
    first: dict[Path, LeftOut] = {}
    for item in left_out:
        first.setdefault(item.path, item)
    distinct = list(first.values())
    if not distinct:
        return SUCCESS
    count = "1 file was" if len(distinct) == 1 else f"{len(distinct)} files were"
    table = name_options(format_left_out(distinct, MAX_LEFT_OUT_SHOWN))
    print(f"{count} left out:\n{table}", file=sys.stderr)
    if not strict:
        return SUCCESS
    print(f"error: --strict: {count} left out; the results of the others were written", file=sys.stderr)
    return ERROR


def report_notes(facts: Iterable[FileFacts]) -> None:
    """Print what makes the results of own files doubtful: file and notes, a line for each file with notes.

    Args:
        facts: of the files that were used; results hold all of them.
    """
    noted = {printable(each.file): "; ".join(each.notes) for each in facts if each.notes}
    if not noted:
        return
    print(f"notes about {counted(len(noted), 'file')}:", file=sys.stderr)
    for name, notes in list(noted.items())[:MAX_NOTES_SHOWN]:
        print(f"{name}: {printable(notes)}", file=sys.stderr)
    if len(noted) > MAX_NOTES_SHOWN:
        print(f"and {len(noted) - MAX_NOTES_SHOWN} more", file=sys.stderr)


def print_skipped(skipped: Mapping[str, str] | Iterable[str]) -> None:
    """Print the inputs that could not be used: item -> reason, or sentences that name the item."""
    if isinstance(skipped, Mapping):
        skipped = [f"{item}: {reason}" for item, reason in skipped.items()]
    for line in skipped:
        print(f"skipped: {printable(name_options(line))}", file=sys.stderr)


def warn_training_overlap(identity_names: Iterable[str], training_identities: Collection[str]) -> list[str]:
    """Warn about evaluation identities on which the checkpoint was trained.

    Args:
        identity_names: names of the evaluation identities.
        training_identities: names of the training identities; empty if unknown.

    Returns:
        Names that occur in both, sorted.
    """
    evaluated = set(identity_names)
    overlap = sorted(evaluated & set(training_identities))
    if overlap:
        print(
            f"warning: this checkpoint was trained on {len(overlap)} of {len(evaluated)} identities "
            f"({overlap[0]}{', ...' if len(overlap) > 1 else ''}); use another split to measure unseen ones",
            file=sys.stderr,
        )
    return overlap
