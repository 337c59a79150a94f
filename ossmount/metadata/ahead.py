"""Where the next pages of a large directory begin, guessed from the page before, so that several can be asked for at once.

A guess that is wrong costs a request, never a name: what a page showed goes into the coverage whatever was expected of it,
and a reader who meets a gap asks for it. Names are read as numbers in the smallest alphabet that fits a sample of them
(decimal, hexadecimal, letters and digits), so that the step from page to page can be added up; numbered files give exact
guesses, hashes good ones, words poor ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

MOST = 8  # pages under way for one directory; at 30 ms each 250 pages a second, more than a core can parse
_SAMPLE = 32  # names of a page that are looked at
_WIDTH = 10  # characters of a name that are read as a number, from the first that differs
_DIGITS = b"0123456789"
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_ALPHABETS = (_DIGITS, _DIGITS + b"abcdef", _DIGITS + b"ABCDEF", _DIGITS + _LOWER, _DIGITS + _LOWER.upper() + _LOWER)


class Guess(NamedTuple):
    """How the names of a directory go on behind a page."""

    prefix: bytes  # what all names of the page begin with
    alphabet: bytes
    width: int  # characters behind the prefix that are read as a number
    tail: bytes  # what follows them, when it is the same for all
    step: int  # from one page to the next

    def value(self, name: bytes) -> int | None:
        """A name's number; None for one that the guess says nothing of."""
        if not name.startswith(self.prefix):
            return None
        number = 0
        ended = False
        for at in range(len(self.prefix), len(self.prefix) + self.width):
            digit = -1 if ended or at >= len(name) else self.alphabet.find(name[at : at + 1])
            ended = ended or digit < 0
            number = number * len(self.alphabet) + max(digit, 0)
        return number

    def name(self, value: int) -> bytes | None:
        """The name with that number; None beyond the last."""
        base = len(self.alphabet)
        if value >= base**self.width:
            return None
        characters = bytearray()
        for _ in range(self.width):
            value, digit = divmod(value, base)
            characters.append(self.alphabet[digit])
        return self.prefix + bytes(reversed(characters)) + self.tail


def _common(one: bytes, other: bytes) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length


def _run(name: bytes, start: int, alphabet: bytes) -> int:
    length = 0
    while length < _WIDTH and start + length < len(name) and name[start + length] in alphabet:
        length += 1
    return length


def guess(names: Sequence[bytes]) -> Guess | None:
    """A guess from the names of one page, in byte order; None where they tell nothing."""
    if len(names) < _SAMPLE:
        return None
    first, last = names[0], names[-1]
    sample = [*names[:: len(names) // _SAMPLE], last]
    differs = _common(first, last)
    fitting = [(alphabet, [_run(name, differs, alphabet) for name in sample]) for alphabet in _ALPHABETS]
    fitting = [(alphabet, runs) for alphabet, runs in fitting if min(runs) > 0]
    if not fitting:
        return None
    # Numbers and hashes of one width fill it in their own alphabet; a hash has digits of any number in front.
    alphabet, runs = next((fit for fit in fitting if min(fit[1]) == max(fit[1])), fitting[0])
    start = differs
    while start > 0 and last[start - 1] in alphabet and differs - start < _WIDTH:
        start -= 1
    width = differs - start + max(runs)
    tails = {name[differs + run :] for name, run in zip(sample, runs, strict=True)}
    regular = len(tails) == 1 and min(runs) == max(runs)
    tail = tails.pop() if regular else b""
    made = Guess(first[:start], alphabet, width, tail, 0)
    low, high = made.value(first), made.value(last)
    if low is None or high is None or high <= low:
        return None
    step, rest = divmod((high - low) * len(names), len(names) - 1)
    if rest or not regular:
        step = step * 9 // 10  # rather ask for a tenth twice than leave a gap that costs a page of its own
    return made._replace(step=step) if step > 0 else None


class Stream:
    """The listing of one directory by somebody who reads on: which pages to ask for next."""

    def __init__(self, made: Guess) -> None:
        self._guess = made
        self._window = 1
        self._planned: list[int] = []  # numbers at which pages were asked for already

    def adjust(self, made: Guess) -> None:
        """A later page: steps are taken from it. Another part of the names is another stream."""
        if made[:4] != self._guess[:4]:
            self._planned = []
        self._guess = made

    def plan(self, frontier: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Start-after and expected end of the pages to ask for now, when all is known up to the name `frontier`."""
        made = self._guess
        at = made.value(frontier)
        if at is None:
            return
        self._planned = [p for p in self._planned if p >= at]
        if len(self._planned) > self._window // 2:
            return
        self._window = min(MOST, self._window * 2)
        for ahead in range(1, self._window + 1):
            value = at + ahead * made.step
            if any(abs(value - p) < made.step // 2 for p in self._planned):
                continue
            name, end = made.name(value), made.name(value + made.step)
            if name is None:
                return
            self._planned.append(value)
            yield name, end or name
