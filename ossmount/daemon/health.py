"""The command `health` of the control socket: that the event loop turns, and whether OSS answers.

OSS is asked (one LIST of one key) only where nothing is known: it has served nothing since the last question, and either was
asked for something or not for a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from ossmount.exit_codes import CommandError, ExitCode

_BELIEVED: Final = 20.0  # seconds for which an answer of OSS says that it can be reached
_REFUSED: Final = 2.0  # seconds for which it is not asked again after it did not answer
_PATIENCE: Final = 5.0  # seconds for its answer


class Health:
    """Of one mount."""

    def __init__(self, check: Callable[[], Awaitable[None]], served: Callable[[], int], requests: Callable[[], int]) -> None:
        """check: asks OSS, raises CommandError; served: a number that grows whenever OSS has served a request; requests: how
        many were made."""
        self._check = check
        self._served = served
        self._requests = requests
        self._counted = (0, 0)
        self._asking = trio.Lock()
        self._problem = ""
        self._code = int(ExitCode.OK)
        self._until = float("-inf")  # when what is known has to be found out anew

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if not request.get("ready"):
            return {"alive": True}
        async with self._asking:  # who comes meanwhile takes this answer
            (served, requests), self._counted = self._counted, self._count()
            if self._counted[0] > served:
                self._learn("", ExitCode.OK, _BELIEVED)
            elif self._counted[1] > requests or trio.current_time() >= self._until:
                await self._ask()
        return {"alive": True, "reachable": not self._problem, "problem": self._problem, "code": self._code}

    def _count(self) -> tuple[int, int]:
        return self._served(), self._requests()

    async def _ask(self) -> None:
        try:
            with trio.fail_after(_PATIENCE):
                await self._check()
        except CommandError as error:
            self._learn(error.message, error.code, _REFUSED)
        except trio.TooSlowError:
            self._learn(f"no answer within {_PATIENCE:g} s", ExitCode.UNREACHABLE, _REFUSED)
        else:
            self._learn("", ExitCode.OK, _BELIEVED)
        self._counted = self._count()

    def _learn(self, problem: str, code: int, good_for: float) -> None:
        self._problem, self._code = problem, int(code)
        self._until = trio.current_time() + good_for


def served_of(fetch: dict[str, Any], oss: dict[str, Any]) -> int:
    """Out of the facts of both planes: what only grows when OSS has served a request (a refusal is an answer, too)."""
    counts = [facts["count"] for facts in oss["durations"].values()]
    return int(sum(counts)) + int(fetch.get("bytes", 0))
