"""`voiceface encoders`: the encoders that can be used, those that are missing, and how to get them."""

import argparse
from collections.abc import Sequence
from itertools import groupby

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """List encoders; exit status 0."""
    parser = argparse.ArgumentParser(
        prog="voiceface encoders",
        description="List the frozen encoders of voices and faces: what is installed, what is missing, and "
        "how to get it. Their names are accepted by `voiceface encode` and by `fop`.",
    )
    parser.parse_args(argv)
    from voiceface.encoders.registry import list_encoders

    for name, group in groupby(list_encoders(), key=lambda each: each.name):
        for each in group:
            state = "installed" if each.installed else "not installed"
            facts = [f"{each.dimension} numbers" if each.dimension else "", each.licence]
            facts += [f"trained on {', '.join(each.trained_on)}" if each.trained_on else "", each.hint]
            about = "; ".join(fact for fact in facts if fact)
            print(f"{name:<20} {each.modality:<6} {state:<14} {about}".rstrip())
    return 0
