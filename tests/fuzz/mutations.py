"""Deterministic mutations of files: flips, cuts, insertions, copies, header fields, tokens of text."""

import random
import re
import struct

__all__ = ["mutate"]

HEADER = 512
NUMBERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TOKENS = [
    b"",
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"99999999999999999999",
    b"..",
    b"/",
    b"\\",
    b"\n",
    b"\r",
    b'"',
    b"'",
]
TOKENS += [
    b",",
    b"\t",
    b" ",
    b"\0",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"[" * 3000,
    b"*a",
    b"&a",
]
TOKENS += [b"{", b"}", b":", b"- ", b"#", b"%", b"!!int ", b"<<", b"x" * 70_000, b"\xc3\xa9", b"e\xcc\x81"]
FORMS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")


def mutate(data: bytes, seed: str) -> bytes:
    """Return a changed copy of a file's bytes, the same for the same seed.

    Args:
        data: the file.
        seed: name and number of the mutation.
    """
    choose = random.Random(seed)
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        choose.choice(_MUTATIONS)(changed, choose)
    return bytes(changed)


def _place(data: bytearray, choose: random.Random) -> int:
    """A place anywhere, or near the beginning or the end, where the headers are."""
    size = len(data) + 1
    where = choose.random()
    if where < 0.3:
        return choose.randrange(min(size, HEADER))
    return size - 1 - choose.randrange(min(size, HEADER)) if where < 0.5 else choose.randrange(size)


def _flip(data: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 1, 8))):
        place = _place(data, choose)
        if place < len(data):
            data[place] ^= 1 << choose.randrange(8)


def _replace(data: bytearray, choose: random.Random) -> None:
    place = _place(data, choose)
    data[place : place + 1] = bytes([choose.choice((0, 0xFF, choose.randrange(256)))])


def _truncate(data: bytearray, choose: random.Random) -> None:
    del data[_place(data, choose) :]


def _insert(data: bytearray, choose: random.Random) -> None:
    data[(place := _place(data, choose)) : place] = choose.randbytes(choose.choice((1, 2, 4, 16, 400)))


def _delete(data: bytearray, choose: random.Random) -> None:
    place = _place(data, choose)
    del data[place : place + choose.choice((1, 2, 4, 16, 400))]


def _duplicate(data: bytearray, choose: random.Random) -> None:
    place, length = _place(data, choose), choose.choice((1, 8, 64, 1000, len(data)))
    target = _place(data, choose)
    data[target:target] = data[place : place + length]


def _set_number(data: bytearray, choose: random.Random) -> None:
    form, place = choose.choice(FORMS), _place(data, choose)
    width = struct.calcsize(form)
    number = choose.choice((*NUMBERS, len(data), len(data) - 1, len(data) + 1)) % 2 ** (8 * width)
    data[place : place + width] = struct.pack(form, number)


def _change_token(data: bytearray, choose: random.Random) -> None:
    place = _place(data, choose)
    found = re.compile(rb"[^\s,;:\"'()\[\]{}]+").search(data, place)
    begin, end = found.span() if found is not None else (place, place)
    data[begin : min(end, begin + 64)] = choose.choice(TOKENS)


_MUTATIONS = (_flip, _replace, _truncate, _insert, _delete, _duplicate, _set_number, _change_token)
