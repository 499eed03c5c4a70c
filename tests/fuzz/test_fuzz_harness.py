"""The fuzz harness: mutations follow from their number; a crash or a hang costs one input and is counted."""

from pathlib import Path

from mutations import mutate
from run import Worker, fuzz_reader

STUB = """
import json, os, sys, time
print('"ready"', flush=True)
for request in sys.stdin:
    name, first, last = json.loads(request)
    for number in range(first, last):
        if number == 2:
            os.kill(os.getpid(), 11)
        if number == 4:
            time.sleep(60)
        found = "foreign" if number == 5 else "error"
        print(json.dumps([number, found, "words"]), flush=True)
"""


def test_mutations_follow_from_their_number() -> None:
    data = bytes(range(256)) * 8
    changed = [mutate(data, f"a:{number}") for number in range(200)]
    assert changed == [mutate(data, f"a:{number}") for number in range(200)]
    assert len(set(changed)) > 190 and changed[0] != mutate(data, "b:0")
    assert sum(each == data for each in changed) < 5
    assert {len(each) < len(data) for each in changed} == {True, False}
    assert all(isinstance(mutate(b"", f"a:{number}"), bytes) for number in range(200))


def test_a_crash_and_a_hang_cost_one_input_each(tmp_path: Path) -> None:
    program = tmp_path / "stub.py"
    program.write_text(STUB)
    worker = Worker(program)
    try:
        classes, words = fuzz_reader(worker, "a", 7, seconds=2)
    finally:
        worker.stop()
    assert classes == {"error": 4, "crash": 1, "hang": 1, "foreign": 1}
    assert [line.split(": ")[0] for line in words] == ["a, input 2", "a, input 4", "a, input 5"]
    assert "status -11" in words[0]
