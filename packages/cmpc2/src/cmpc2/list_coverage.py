"""What is present of the files that published lists name, found before anything is encoded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmpc2.evaluation import MediaPaths

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.datasets.identities import Identity
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.metrics.unavailable import UnavailableResult

__all__ = ["open_published_lists"]


def open_published_lists(
    paths: Sequence[Path],
    identity_source: "Corpus | Sequence[Identity]",
    media_paths: MediaPaths,
    *,
    on_missing: str = "error",
) -> "tuple[list[TrialList], list[UnavailableResult]]":
    """Read lists and look for every file that they name; nothing is decoded.

    Lists are returned with all their trials, because the clips of an utterance depend on its row in the list;
    trials of absent files are skipped later.

    Args:
        paths: the lists.
        identity_source: identities of the listed files.
        media_paths: folders of the files.
        on_missing: "error", or "skip" trials whose files are absent.

    Returns:
        (lists that can be evaluated, lists that cannot).

    Raises:
        TrialListError: with "error", a list is invalid or files are absent, the message names those of all
            lists and absent folders; with "skip", no list is left.
    """
    from voiceface.datasets.trials.coverage import MISSING_ITEMS_REMEDY, check_trial_items, find_obstacle
    from voiceface.datasets.trials.reading import read_trial_list
    from voiceface.datasets.trials.trial_list import TrialListError, trial_list_name
    from voiceface.io.packed_folders import file_exists, folder_exists
    from voiceface.metrics.unavailable import UnavailableResult

    present: dict[str, bool] = {}
    lists: list[TrialList] = []
    unavailable: list[UnavailableResult] = []
    skipped: list[str] = []
    for path in paths:
        try:
            found = read_trial_list(path, identity_source)
            for items, find in (
                (found.voices, media_paths.voice_path),
                (found.faces, media_paths.face_path),
            ):
                present |= {item: file_exists(find(item)) for item in items if item not in present}
            existing = {item for item in (*found.probes, *found.gallery) if present[item]}
            kept = check_trial_items(found, existing, on_missing)
            if reason := find_obstacle(kept, identity_source):
                raise TrialListError(reason)
        except TrialListError as error:
            unavailable.append(UnavailableResult.from_error(trial_list_name(path), error))
            continue
        lists.append(found)
        if kept.skipped:
            skipped.append(f"skipped: {found.name}: {kept.skipped} trials or items, whose files are absent")
    if unavailable and (on_missing == "error" or not lists):
        roots = (("voices", media_paths.voice_root), ("faces", media_paths.face_root))
        texts = [f"no folder of {what} at {root}" for what, root in roots if not folder_exists(root)]
        texts += [str(each).removesuffix(f". {MISSING_ITEMS_REMEDY}") for each in unavailable]
        remedy = f". {MISSING_ITEMS_REMEDY}" if on_missing == "error" else ""
        raise TrialListError(f"{'; '.join(texts)}{remedy}")
    for text in skipped:
        print(text, file=sys.stderr)
    return lists, unavailable
