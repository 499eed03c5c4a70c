"""A machine that executes the instructions of a pickle without calling anything that it names.

Python's own reader runs any code that a pickle requests. This one builds only plain values: numbers, text,
bytes, lists, tuples, sets and dicts. Names stay names; the few that stand for plain data (numpy arrays,
paths, dates) are looked up in tables, everything else ends the reading. An instance of an unknown class that
is filled like a dict or a list becomes one. Time and memory are bounded: containers are counted, copies take
from a budget, keys are plain, and shared values must not multiply beyond the size of the file.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from voiceface.io.foreign_files import EXPANSION_FLOOR
from voiceface.io.pickle_input import PickleInput
from voiceface.io.pickle_plain import Finisher, Instance, Name, PickleRefusedError, plain_dict, refuse_name

__all__ = ["Constructor", "PickleMachine"]

MIN_CONTAINERS, MAX_CONTAINERS = 200_000, 2_000_000
BYTES_PER_CONTAINER = 16
_MARK = object()
_NAME = re.compile(r"[\w.<>]{1,1000}")
_DAMAGE = (IndexError, KeyError, TypeError, AttributeError, OverflowError)

Constructor = Callable[["PickleMachine", tuple[Any, ...]], Any]
"""Plain value of a request: function of the machine and the arguments in the pickle."""


class PickleMachine:
    """Reader of one pickle.

    Args:
        file: positioned at the pickle; after `load` at the byte behind it.
        size: bytes of the whole file, the base of all budgets.
        constructors: by (module, name).
        constants: plain values by (module, name) of names that may remain, such as data types.
        persistent: value of a persistent identifier, as files of `torch.save` have them; None: refused.
        empty_dicts: classes by (module, name) whose empty instances are dicts.
        records: classes by (module, name) whose instances become the dict of their attributes.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        constructors: Mapping[tuple[str, str], Constructor],
        *,
        constants: Mapping[tuple[str, str], Any] | None = None,
        persistent: Callable[[Any], Any] | None = None,
        empty_dicts: frozenset[tuple[str, str]] = frozenset(),
        records: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self.source, self._size, self._constructors = PickleInput(file, size), size, constructors
        self._persistent = persistent
        self._finisher = Finisher(constants or {}, empty_dicts, records)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._instances: list[Instance] = []
        self._containers_left = max(MIN_CONTAINERS, min(MAX_CONTAINERS, size // BYTES_PER_CONTAINER))
        self._budget = max(EXPANSION_FLOOR, 4 * size)

    def run(self) -> Any:
        """Execute the instructions; the value may hold placeholders, see `finish`.

        Raises:
            PickleRefusedError: damaged, or another request than plain values.
        """
        try:
            while (code := self.source.read_code()) != b".":
                action = _ACTIONS.get(code)
                if action is None:
                    raise PickleRefusedError(f"the instruction {code!r}" if code else "its pickle has no end")
                action(self)
            return self._pop()
        except _DAMAGE as error:
            raise PickleRefusedError(f"damaged instructions ({type(error).__name__})") from None
        except (UnicodeError, ValueError) as error:
            if isinstance(error, PickleRefusedError):
                raise
            raise PickleRefusedError(f"text or a number that cannot be decoded ({str(error)[:80]})") from None

    def finish(self, value: Any) -> Any:
        """Plain value of the result of `run`: arrays are built, instances become dicts and lists.

        Raises:
            PickleRefusedError: something else than plain values, or too many of them.
        """
        result = self._finisher.finish(value, self._size)
        for instance in self._instances:  # those as well that the pickle made and threw away
            self._finisher.resolve(instance)
        return result

    def allocate(self, count: int) -> None:
        """Take bytes for a copy from the budget.

        Raises:
            PickleRefusedError: the budget is used up.
        """
        self._budget -= count
        if self._budget < 0:
            raise PickleRefusedError("it expands far beyond the size of the file")

    def construct(self, name: Any, arguments: Any) -> Any:
        """Value of a request to call a name with arguments.

        Raises:
            PickleRefusedError: unknown; it could run code.
        """
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise PickleRefusedError("a call of something that is no function")
        self._count_container()
        maker = self._constructors.get(name.key)
        if maker is None:
            if not all(isinstance(each, Name) for each in arguments):
                raise refuse_name(name)
            return self.new_instance(name)
        try:
            return maker(self, arguments)
        except PickleRefusedError:
            raise
        except (*_DAMAGE, ValueError) as error:
            raise PickleRefusedError(f"{name} with wrong arguments ({str(error)[:80]})") from None

    def new_instance(self, name: Name) -> Instance:
        """Instance of a named class, still empty."""
        instance = Instance(name)
        self._instances.append(instance)
        return instance

    def _count_container(self) -> None:
        self._containers_left -= 1
        if self._containers_left < 0:
            raise PickleRefusedError("it has more containers than a file of its size can need")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _push_container(self, value: Any) -> None:
        self._count_container()
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    def _pop_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise IndexError
        return value

    def _pop_any(self) -> None:
        self._stack.pop()

    def _put(self, place: int) -> None:
        if place > self._size:
            raise PickleRefusedError("a wrong place in the memo")
        self._memo[place] = self._top()

    def _push_name(self, module: Any, name: Any) -> None:
        if (
            not isinstance(module, str)
            or not isinstance(name, str)
            or not _NAME.fullmatch(f"{module}.{name}")
        ):
            raise PickleRefusedError("a name that is none")
        self._push_container(Name(module, name))

    def _name_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._push_name(module, name)

    def _reduce(self) -> None:
        arguments = self._pop()
        self._push(self.construct(self._pop(), arguments))

    def _new_with_keywords(self) -> None:
        if self._pop() != {}:
            raise PickleRefusedError("a call with keywords")
        self._reduce()

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if hasattr(target, "set_state"):
            try:
                target.set_state(state)
            except (ValueError, *_DAMAGE) as error:
                raise PickleRefusedError(f"a wrong state ({str(error)[:80]})") from None
        elif type(target) not in (dict, list):  # their attributes are no content
            raise PickleRefusedError("a change of something that cannot be changed")

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Instance):
            target.elements = [] if target.elements is None else target.elements
            target = target.elements
        if type(target) is not list:
            raise PickleRefusedError("elements of something that is no list")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Instance):
            target.items = {} if target.items is None else target.items
            target = target.items
        if type(target) is not dict or len(items) % 2:
            raise PickleRefusedError("keys of something that is no dict")
        target.update(plain_dict(zip(items[::2], items[1::2])))

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise PickleRefusedError("elements of something that is no set")
        target.update(plain_dict((item, None) for item in items))

    def _persistent_name(self) -> None:
        if self._persistent is None:
            raise PickleRefusedError("the instruction BINPERSID")
        self._push_container(self._persistent(self._pop()))

    def _pair_up(self, items: list[Any]) -> dict[Any, Any]:
        if len(items) % 2:
            raise IndexError
        return plain_dict(zip(items[::2], items[1::2]))


M = PickleMachine


def _refuse_text_names(machine: "PickleMachine") -> None:
    """Names of tensors as text, which PyTorch writes in protocol 0 and cannot read itself."""
    raise PickleRefusedError(
        "tensors in pickle protocol 0, which PyTorch cannot read; save it with protocol 2"
    )


def _constant(value: Any) -> Callable[[M], None]:
    return lambda m: m._push(value)


def _number(form: str) -> Callable[[M], None]:
    return lambda m: m._push(m.source.unpack(form))


def _text(form: str, encoding: str) -> Callable[[M], None]:
    errors = "surrogatepass" if encoding == "utf-8" else "strict"
    return lambda m: m._push(m.source.read(m.source.unpack(form)).decode(encoding, errors))


def _binary(form: str, kind: type = bytes) -> Callable[[M], None]:
    return lambda m: m._push(kind(m.source.read(m.source.unpack(form))))


def _integer(form: str) -> Callable[[M], None]:
    return lambda m: m._push(int.from_bytes(m.source.read(m.source.unpack(form)), "little", signed=True))


def _tuple(count: int) -> Callable[[M], None]:
    def act(m: M) -> None:
        m._push_container(tuple([m._pop() for _ in range(count)][::-1]))

    return act


# https://github.com/python/cpython/blob/3.11/Lib/pickle.py lists the instructions of protocols 0 to 5.
_ACTIONS: dict[bytes, Callable[[M], Any]] = {
    b"(": _constant(_MARK),
    b"0": M._pop_any,
    b"1": M._pop_mark,
    b"2": lambda m: m._push(m._top()),
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": lambda m: m._push(m.source.integer()),
    b"L": lambda m: m._push(int(m.source.line().removesuffix(b"L"))),
    b"F": lambda m: m._push(float(m.source.line())),
    b"J": _number("<i"),
    b"K": _number("<B"),
    b"M": _number("<H"),
    b"G": _number(">d"),
    b"\x8a": _integer("<B"),
    b"\x8b": _integer("<i"),
    b"S": lambda m: m._push(m.source.quoted()),
    b"V": lambda m: m._push(m.source.long_line().decode("raw-unicode-escape")),
    b"T": _text("<i", "latin-1"),
    b"U": _text("<B", "latin-1"),
    b"X": _text("<I", "utf-8"),
    b"\x8c": _text("<B", "utf-8"),
    b"\x8d": _text("<Q", "utf-8"),
    b"B": _binary("<I"),
    b"C": _binary("<B"),
    b"\x8e": _binary("<Q"),
    b"\x96": _binary("<Q", bytearray),
    b"]": lambda m: m._push_container([]),
    b"}": lambda m: m._push_container({}),
    b"\x8f": lambda m: m._push_container(set()),
    b")": _tuple(0),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"t": lambda m: m._push_container(tuple(m._pop_mark())),
    b"l": lambda m: m._push_container(m._pop_mark()),
    b"d": lambda m: m._push_container(m._pair_up(m._pop_mark())),
    b"\x91": lambda m: m._push_container(frozenset(plain_dict((item, None) for item in m._pop_mark()))),
    b"a": lambda m: m._append([m._pop()]),
    b"e": lambda m: m._append(m._pop_mark()),
    b"s": lambda m: m._set_items([m._pop(), m._pop()][::-1]),
    b"u": lambda m: m._set_items(m._pop_mark()),
    b"\x90": lambda m: m._add(m._pop_mark()),
    b"p": lambda m: m._put(int(m.source.line())),
    b"q": lambda m: m._put(m.source.unpack("<B")),
    b"r": lambda m: m._put(m.source.unpack("<I")),
    b"\x94": lambda m: m._put(len(m._memo)),
    b"g": lambda m: m._push(m._memo[int(m.source.line())]),
    b"h": lambda m: m._push(m._memo[m.source.unpack("<B")]),
    b"j": lambda m: m._push(m._memo[m.source.unpack("<I")]),
    b"c": lambda m: m._push_name(m.source.line().decode(), m.source.line().decode()),
    b"\x93": M._name_on_stack,
    b"R": M._reduce,
    b"\x81": M._reduce,
    b"\x92": M._new_with_keywords,
    b"b": M._build,
    b"P": _refuse_text_names,
    b"Q": M._persistent_name,
    b"\x80": lambda m: m.source.check_protocol(),
    b"\x95": lambda m: m.source.check_frame(),
}
