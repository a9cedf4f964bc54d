"""Python's marshal format, as much of it as profiles are written in, read without marshal.

marshal.loads() of bytes that somebody made up can end the interpreter. This reader knows tuples, dictionaries, strings,
numbers and references to what was read before, and refuses all else, code objects first of all. It reads what Python
2.5 and newer have written.

Reading order: Reader.items(), then what each kind of object is read by.

Source: CPython, Python/marshal.c.
"""

from __future__ import annotations

from struct import error as struct_error
from struct import unpack_from
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 8  # dictionaries and tuples in each other; a profile has four
WIDEST = 5  # parts of a tuple
SHARED = 0x80  # of a type: what follows may be referred to
_END: Any = object()
_LIMIT = 10  # digits of 15 bits of an integer; a profile has none of more than five


class DamagedError(ValueError):
    """These are no bytes of a profile; says why, and where."""


class Reader:
    """Reads one object.

    Attributes:
        at: the offset of the next byte.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self._shared: list[Any] = []
        self._interned: list[str] = []  # of Python 2

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Yield the items of the dictionary that the bytes begin with.

        Raises: DamagedError: there is none, or it has what no profile has.
        """
        code = self._byte()
        if code & ~SHARED != ord("{"):
            raise self._damaged("no dictionary")
        if code & SHARED:
            self._shared.append(_END)
        yield from self._items(1)

    def _items(self, depth: int) -> Iterator[tuple[Any, Any]]:
        while (key := self._object(depth)) is not _END:
            value = self._object(depth)
            if value is _END:
                raise self._damaged("a key without a value")
            yield key, value

    def _object(self, depth: int) -> Any:
        """Return the next object; _END where a dictionary ends."""
        if depth > DEEPEST:
            raise self._damaged("nested too deep")
        code = self._byte()
        kind, place = chr(code & ~SHARED), -1
        if code & SHARED:
            place = len(self._shared)
            self._shared.append(_END)  # until it is whole: what refers to itself is none of ours
        try:
            found = self._content(kind, depth)
        except (IndexError, struct_error):
            raise self._damaged("it ends too early") from None
        if place >= 0:
            self._shared[place] = found
        return found

    def _content(self, kind: str, depth: int) -> Any:
        match kind:
            case "0":
                return _END
            case "(":
                return self._tuple(self._long(), depth)
            case ")":
                return self._tuple(self._byte(), depth)
            case "{":
                return self._dictionary(depth)
            case "i":
                return self._long()
            case "I":
                return self._take("<q", 8)
            case "l":
                return self._integer()
            case "g":
                return self._take("<d", 8)
            case "f":
                return self._decimal()
            case "u" | "a" | "A" | "s":
                return self._text(self._long())
            case "z" | "Z":
                return self._text(self._byte())
            case "t":
                self._interned.append(self._text(self._long()))
                return self._interned[-1]
            case "R":
                return self._reference(self._interned)
            case "r":
                return self._reference(self._shared)
        if kind == "c":
            raise self._damaged("a code object, as python -m profile writes and cProfile does not")
        raise self._damaged(f"type {kind!r}")

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise self._damaged("it ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def _take(self, form: str, size: int) -> Any:
        self.at += size
        return unpack_from(form, self.data, self.at - size)[0]

    def _long(self) -> int:
        return int(self._take("<i", 4))

    def _bytes(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise self._damaged("it ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(f"{why}, at byte {self.at:,}")

    # --- one kind each -----------------------------------------------------------------------------------------------

    def _tuple(self, size: int, depth: int) -> tuple[Any, ...]:
        if not 0 <= size <= WIDEST:
            raise self._damaged(f"a tuple of {size:,}")
        found = tuple([self._object(depth + 1) for _ in range(size)])
        if _END in found:
            raise self._damaged("a tuple that is not whole")
        return found

    def _dictionary(self, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in self._items(depth + 1):
            if type(key) is not tuple or not {str, int} >= {*map(type, key)}:
                raise self._damaged("a key that is no function")
            found[key] = value
        return found

    def _integer(self) -> int:
        size = self._long()
        if abs(size) > _LIMIT:
            raise self._damaged("an integer too large")
        number: int = sum(self._take("<H", 2) << 15 * place for place in range(abs(size)))
        return -number if size < 0 else number

    def _text(self, size: int) -> str:
        return self._bytes(size).decode("utf-8", "replace")

    def _decimal(self) -> float:
        try:
            return float(self._text(self._byte()))
        except ValueError:
            raise self._damaged("no number") from None

    def _reference(self, known: list[Any]) -> Any:
        place = self._long()
        if not 0 <= place < len(known) or known[place] is _END:
            raise self._damaged("a reference to nothing")
        return known[place]
