"""Worker of the fuzz session: reads mutated files and prints the class of each; a crash ends it alone."""

import json
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path

from mutations import mutate
from reader import digest, write_seed
from readers import READERS

__all__ = ["main"]

MEMORY = 3 * 2**30


def main() -> int:
    """Answer requests (reader, first, last), one JSON line each, with one line for each input."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # libraries print
        os.dup2(nowhere, output)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write('"ready"\n')
    answers.flush()
    with tempfile.TemporaryDirectory() as folder:
        for request in sys.stdin:
            name, first, last = json.loads(request)
            limit_memory()
            reader = READERS[name]
            data = write_seed(reader, Path(folder))
            path = Path(folder) / reader.file
            expected = digest(reader.read(path))
            for number in range(first, last):
                changed = mutate(data, f"{name}:{number}")
                path.write_bytes(changed)
                found, words = _classify(name, path, expected)
                answers.write(json.dumps([number, found, words]) + "\n")
                answers.flush()
    return 0


def limit_memory() -> None:
    """Allow `MEMORY` bytes of addresses beyond those in use: threads and caches of former readers stay."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _classify(name: str, path: Path, expected: str) -> tuple[str, str]:
    """Class of one input and, unless it is right, words about it."""
    reader = READERS[name]
    try:
        value = reader.read(path)
    except (*reader.errors, FileNotFoundError) as error:
        text = str(error)
        if not isinstance(error, reader.errors) or path.name not in text:
            return "foreign", f"{type(error).__name__}: {text[:200]}"
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
            return "foreign", f"control characters in {text[:200]!r}"
        return "error", ""
    except BaseException as error:
        return "foreign", f"{type(error).__name__}: {str(error)[:200]}"
    if digest(value) == expected:
        return "equal", ""
    return ("silent", "other content accepted") if reader.verified else ("accepted", "")


if __name__ == "__main__":
    raise SystemExit(main())
