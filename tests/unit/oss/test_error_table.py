"""The document of errors is what the tables say, and the tables leave nothing open."""

from __future__ import annotations

import errno
from pathlib import Path

from ossmount.emulator.errors import _KNOWN
from ossmount.errors import OssMountError, errno_of
from ossmount.oss.answers import BY_CODE, Refusal, failure_of
from ossmount.oss.error_table import DONE_ABOUT_IT, kinds, markdown
from ossmount.oss.fetch.trouble import Retry

DOCUMENT = Path(__file__).parents[3] / "docs" / "ERRORS.md"


def test_the_document_is_what_the_tables_say() -> None:
    assert DOCUMENT.read_text() == markdown(), "write it anew: python -m ossmount.oss.error_table > docs/ERRORS.md"


def test_every_kind_and_code_is_in_it() -> None:
    text = markdown()
    assert [kind.__name__ for kind in kinds() if f"| {kind.__name__} |" not in text] == []
    assert [code for code in BY_CODE if f"| `{code}` |" not in text] == []
    assert DONE_ABOUT_IT.keys() == set(Retry)


def test_every_answer_of_oss_has_a_deliberate_errno() -> None:
    """Also those codes that only the embedded server knows: none is a defect (which would be logged as one)."""
    allowed = {errno.EIO, errno.ENOENT, errno.ESTALE, errno.EACCES, errno.ENODATA}
    for code, (status, _) in _KNOWN.items():
        failure = failure_of(Refusal(status, code), "GET a")
        assert isinstance(failure, OssMountError)
        assert errno_of(failure) in allowed, code
        if status == 403:
            assert errno_of(failure) in (errno.EACCES, errno.ENODATA), code
        if status == 503:
            assert errno_of(failure) == errno.EIO, code
