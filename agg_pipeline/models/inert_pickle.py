"""Pickles, read without running them: names stay names, and calls become values of ``Named``."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from schemas.limits import INTEGER_BITS, PICKLE_OPERATIONS

PUSH = frozenset(
    code.name
    for code in pickletools.opcodes
    if re.fullmatch(r"(BIN)?(INT|FLOAT)[12]?|LONG[14]?|(SHORT_)?(BIN)?(STRING|UNICODE|BYTES)8?|BYTEARRAY8", code.name)
)
"""Operations that push their argument, a number or a text."""
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
CONTAINERS: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = frozenset(("PROTO", "FRAME"))


class DamagedPickleError(ValueError):
    """The bytes are no pickle, or one with operations that files of models don't have."""


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A class or function that a pickle names, or what a call of it would give; nothing is imported or called.

    Attributes:
        name: module and name, joined by a dot.
        arguments: of the call; None where there is no call.
        mark: what a pickle's owner knows an object by (a persistent id), where there is one.
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    mark: tuple[Any, ...] | None = None


Build = Callable[[Named], Any]
LARGE = 1 << 12
"""Bytes of a text or of bytes from which on it is not remembered for a later use; none is used twice."""


class Stream(Protocol):
    """What is read of a file."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""

    def readline(self) -> bytes:
        """The rest of a line."""

    def tell(self) -> int:
        """The position."""


def _ignore(_target: Any, _state: Any) -> None:
    """Leave an object that is not made without its state."""


def read_pickle(
    stream: Stream,
    check_name: Callable[[str], None],
    build: Build,
    set_state: Callable[[Any, Any], None] = _ignore,
    emit: Callable[[Any, Any], None] | None = None,
    operations: int = PICKLE_OPERATIONS,
) -> Any:
    """Read the pickle at the position of a stream; the stream is left behind it.

    Args:
        stream: of the bytes.
        check_name: called with every name of a class or function; raises to refuse it.
        build: gives the value of a call or of a persistent id, or returns it as it is.
        set_state: called with what ``build`` gave and with its state; defaults to leaving the state out.
        emit: called with every key and value of the outermost dict, which stays empty; None keeps them in it.
        operations: most operations of the pickle.

    Returns:
        A value of plain Python types, ``Named`` and whatever ``build`` gives. Parts may occur in it several times.

    Raises:
        DamagedPickleError: the pickle is damaged, or has too many operations or ones that are not supported.
    """
    machine = _Machine(check_name, build, set_state, emit)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], stream))):
            if count >= operations:
                raise DamagedPickleError(f"its pickle has more than {operations} operations")
            machine.run(operation.name, argument)
        return machine.stack.pop()
    except DamagedPickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedPickleError("its pickle is damaged") from error


class _Machine:
    """The stack machine of pickle, without the operations that import or call something."""

    def __init__(
        self,
        check_name: Callable[[str], None],
        build: Build,
        set_state: Callable[[Any, Any], None],
        emit: Callable[[Any, Any], None] | None,
    ) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._check_name = check_name
        self._build = build
        self._set_state = set_state
        self._emit = emit

    def run(self, name: str, argument: Any) -> None:
        """Run an operation."""
        stack = self.stack
        if name in PUSH:
            if isinstance(argument, int) and argument.bit_length() > INTEGER_BITS:
                raise DamagedPickleError(f"its pickle has an integer of more than {INTEGER_BITS} bits")
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[int(argument)] = self._remembered()
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[int(argument)])
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in CONTAINERS:
            stack.append(CONTAINERS[name]())
        elif name in SHORT_TUPLES:
            self._pop_tuple(SHORT_TUPLES[name])
        elif name not in IGNORED:
            self._run_rare(name, argument)

    def _run_rare(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "MARK":
                self._marks.append(len(stack))
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._remembered()
            case "GLOBAL":
                self._name(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                own = stack.pop()
                self._name(stack.pop(), own)
            case "BINPERSID":
                stack.append(self._build(Named("", mark=_tuple(stack.pop()))))
            case "REDUCE" | "NEWOBJ":
                arguments = _tuple(stack.pop())
                self._call(stack.pop(), arguments)
            case "BUILD":
                state = stack.pop()
                self._set_state(stack[-1], state)
            case "TUPLE":
                stack.append(tuple(self._pop_mark()))
            case "LIST":
                stack.append(self._pop_mark())
            case "DICT":
                items = self._pop_mark()
                stack.append({})
                self._set(items)
            case "SETITEM":
                value = stack.pop()
                self._set([stack.pop(), value])
            case "SETITEMS":
                self._set(self._pop_mark())
            case "APPEND":
                self._append([stack.pop()])
            case "APPENDS":
                self._append(self._pop_mark())
            case "ADDITEMS":
                items = self._pop_mark()
                stack[-1].update(map(_key, items))
            case "STOP":
                pass
            case _:
                raise DamagedPickleError(f"its pickle has the operation {name}, which files of models don't have")

    def _remembered(self) -> Any:
        """What the memo keeps of the value on the stack."""
        value = self.stack[-1]
        return None if isinstance(value, str | bytes | bytearray) and len(value) > LARGE else value

    def _name(self, module: Any, own: Any) -> None:
        if not isinstance(module, str) or not isinstance(own, str):
            raise TypeError("a name is no text")
        name = f"{'builtins' if module == '__builtin__' else module}.{own}"  # as Python 2 called it
        self._check_name(name)
        self.stack.append(Named(name))

    def _call(self, called: Any, arguments: tuple[Any, ...]) -> None:
        if not isinstance(called, Named) or called.arguments is not None:
            raise TypeError("what is called is no name")
        self.stack.append(self._build(Named(called.name, arguments)))

    def _pop_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _pop_tuple(self, size: int) -> None:
        items = tuple(self.stack[-size:])
        if len(items) < size:
            raise IndexError("the stack is too short")
        self.stack[-size:] = [items]

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if self._emit is not None and len(self.stack) == 1:
            for place in range(0, len(items), 2):
                self._emit(items[place], items[place + 1])
        elif isinstance(target, dict):
            target.update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def _append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)


def _key(value: Any) -> Any:
    """A key of a dict; a nested tuple would be hashed deeper than the C stack is."""
    if not isinstance(value, str | int | float | bytes | None):
        raise TypeError("a key is neither text nor number")
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise TypeError("arguments are no tuple")
    return value
