"""docs/ERRORS.md: every failure, its errno and what is done about it, written from the tables that decide.

`python -m ossmount.oss.error_table` prints it.
"""

from __future__ import annotations

import errno
import inspect
import os

from ossmount import errors
from ossmount.errors import CredentialsRefused, Denied, OssMountError, Throttled, Unavailable
from ossmount.oss.answers import BY_CODE, BY_STATUS, THROTTLED_END
from ossmount.oss.clock import REFUSAL
from ossmount.oss.fetch import trouble
from ossmount.oss.fetch.backoff import FIRST, MOST
from ossmount.oss.fetch.trouble import RETRIES, Retry, Trouble

HEAD = """# Errors

<!-- Written by `python -m ossmount.oss.error_table`; a test compares. Change ossmount/errors.py, ossmount/oss/answers.py or
ossmount/oss/fetch/trouble.py instead. -->

What a program that reads the mount gets to see, and what comes before that. Each failure is of one kind, and each kind has
one errno. Repeated attempts never go beyond `--timeout`; a failure that took until then is repeated at once for 2 seconds,
since the kernel asks again for each page of a READ that failed.
"""


def _pauses(retry: Retry) -> str:
    return f"after {FIRST[retry]:g} s, doubling to {MOST[retry]:g} s, jittered"


DONE_ABOUT_IT = {
    Retry.NEVER: "not repeated",
    Retry.AT_ONCE: "repeated at once",
    Retry.SOON: f"repeated until `--timeout`, from the byte that was reached; {_pauses(Retry.SOON)}",
    Retry.LATER: f"the same; {_pauses(Retry.LATER)}, and all requests of the mount slow down",
    Retry.RESIGNED: "once more, signed with OSS's own time",
    Retry.ONCE: "once more from the first byte",
}


def kinds() -> list[type[OssMountError]]:
    """All kinds of failure, in the order of errors.py."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OssMountError)]
    return [kind for kind in found if kind.__module__ == errors.__name__]


def markdown() -> str:
    """The whole of docs/ERRORS.md."""
    return "\n".join([HEAD, _errnos(), _codes(), _statuses(), _transport()])


def _errnos() -> str:
    rows = []
    for number in dict.fromkeys(kind.errno for kind in kinds()):
        name = f"`{_name(number)}` ({os.strerror(number)})"
        rows += [f"| {name} | {kind.__name__} | {_meaning(kind)} |" for kind in kinds() if kind.errno == number]
    return _table("What a program sees", "errno | kind | when", rows)


def _codes() -> str:
    rows = [f"| `{code}` | {_outcome(known.failure, code)} | {known.advice} |" for code, known in BY_CODE.items()]
    rows.append(f"| `…{THROTTLED_END}` | {_outcome(Throttled)} | |")
    note = "\nOf an object that was listed before, 404 is ESTALE: the version is gone.\n"
    return _table("Codes that OSS answers", "code | errno, and what is done | advice in the message", rows) + note


def _statuses() -> str:
    rows = [f"| {status} | {_outcome(kind)} |" for status, kind in BY_STATUS.items()]
    rows += [f"| 500 to 599 | {_outcome(Unavailable)} |", f"| 300 to 399, all others | {_outcome(OssMountError)} |"]
    return _table("Answers with another code, or none", "status | errno, and what is done", rows)


def _transport() -> str:
    found = (trouble.transport(""), trouble.stalled(""), trouble.damaged(""))
    meanings = [_meaning(maker) for maker in (trouble.transport, trouble.stalled, trouble.damaged)]
    rows = [f"| {meaning} | {_shown(each)} |" for meaning, each in zip(meanings, found, strict=True)]
    return _table("What goes wrong on the way", "what | errno, and what is done", rows)


def _outcome(kind: type[OssMountError], code: str = "") -> str:
    retry = Retry.RESIGNED if code == REFUSAL else RETRIES.get(kind, Retry.NEVER)
    return _shown(Trouble(kind, retry, ""))


def _shown(found: Trouble) -> str:
    what = DONE_ABOUT_IT[found.retry]
    if found.failure is Denied and found.retry is Retry.NEVER:
        what += ", but once where the credentials have changed meanwhile"
    if found.failure is CredentialsRefused:
        what = "repeated with the next credentials; where such are to be expected, they are waited for until `--timeout`"
    return f"`{_name(found.failure.errno)}`; {what}"


def _meaning(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")


def _name(number: int) -> str:
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode[number]  # which has another name for it


def _table(title: str, columns: str, rows: list[str]) -> str:
    line = "|".join("---" for _ in columns.split("|"))
    return f"## {title}\n\n| {columns} |\n|{line}|\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
