"""The audit finds what it looks for, and does not take silence for good news."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import audit

NOWHERE = "http://127.0.0.1:1/"
WEAK = [audit.Advisory("urllib3", Version("2.7.0"), "CVE-2026-44431")]


class Package(Distribution):
    """An installed one."""

    def __init__(self, name: str, version: str, *lines: str, needs: tuple[str, ...] = ()) -> None:
        fields = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs), *lines]
        self._text = "\n".join(fields)

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(path)


def there(*packages: Package) -> dict[str, Distribution]:
    return {package.name: package for package in packages}


def groups(**written: str) -> dict[str, list[Requirement]]:
    return {group.strip("_"): [Requirement(line) for line in lines.split(",")] for group, lines in written.items()}


def test_ours_has_nothing_to_mend_and_says_that_the_service_was_not_asked() -> None:
    said: list[str] = []
    assert audit.main(["--service", NOWHERE], said.append) == 0, said
    assert said[0].startswith(f"audit: the advisory service was not asked ({NOWHERE}: ") and said[-1].endswith(
        "0 things to mend"
    )


def test_bounds() -> None:
    written = groups(_="trio>=0.23,lmdb", test="pytest<9")
    assert [name for name, _ in audit.unbounded(written)] == ["lmdb", "pytest"]
    for bound, names in (("urllib3>=2.6.3", ["urllib3"]), ("trio>=1", ["urllib3"]), ("urllib3>=2.7", []), ("urllib3~=2.8", [])):
        assert [name for name, _ in audit.admitted(groups(_=bound), WEAK)] == names


def test_installed_versions_that_are_weak() -> None:
    for version, names in (("2.6.3", ["urllib3"]), ("2.7.0", []), ("2.10.1", [])):
        assert [name for name, _ in audit.weak_ones(there(Package("urllib3", version)), WEAK)] == names


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        (["License-Expression: MIT"], True),
        (["License-Expression: MIT AND Zlib"], True),
        (["License-Expression: GPL-3.0-only OR Apache-2.0"], True),
        (["License-Expression: MIT AND GPL-3.0-only"], False),
        (["License: a page of text", "Classifier: License :: OSI Approved :: BSD License"], True),
        (["License: Proprietary"], False),
        (["Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)"], True),
        ([], False),
    ],
)
def test_licences(lines: list[str], allowed: bool) -> None:
    assert (not [*audit.unlicensed(there(Package("some", "1", *lines)))]) is allowed


def test_what_is_needed_in_turn() -> None:
    installed = there(
        Package("oss2", "2", needs=("requests>=2", 'windows; sys_platform == "win32"', 'dev; extra == "tests"')),
        Package("requests", "2", needs=("urllib3",)),
        *(Package(name, "1") for name in ("urllib3", "windows", "dev", "stranger")),
    )
    assert audit.needed([Requirement("Oss2 >= 1"), Requirement("missing")], installed) == {"oss2", "requests", "urllib3"}
    assert audit.needed([Requirement("oss2[tests]")], installed) == {"oss2", "requests", "urllib3", "dev"}


def test_imports_that_only_another_dependency_brings(tmp_path: Path) -> None:
    package = tmp_path / "ossmount"
    package.mkdir()
    (package / "one.py").write_text("import os, trio\nfrom ossmount import two\ndef f():\n    from outcome import Value\n")
    found = [*audit.undeclared_imports(groups(_="trio>=0.23", test="outcome>=1"), package)]
    assert [name for name, _ in found] == ["outcome"] and "one.py" in found[0][1]


@pytest.fixture
def service() -> Iterator[Callable[[bytes], str]]:
    """Starts an advisory service that answers all questions so; its address."""
    servers: list[HTTPServer] = []

    def start(answer: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
                body = json.dumps({"results": [{}] * len(asked)}).encode() if answer == b"nothing" else answer
                if answer == b"urllib3":
                    vulns = {"vulns": [{"id": "PYSEC-2099-1"}]}
                    results = [vulns if query["package"]["name"] == "urllib3" else {} for query in asked]
                    body = json.dumps({"results": results}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"nothing", 0, "0 things to mend"),
        (b"urllib3", 1, "has the known weakness PYSEC-2099-1"),
        (b"<html>a proxy's page</html>", 2, "was not asked"),
        (b'{"results": []}', 2, "was not asked"),
        (b"[]", 2, "was not asked"),
    ],
)
def test_what_the_service_answers(
    service: Callable[[bytes], str], answer: bytes, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "undeclared_imports", lambda *_: ())  # takes a second, and has a test of its own
    lines: list[str] = []
    assert audit.main(["--strict", "--service", service(answer)], lines.append) == code
    assert said in "\n".join(lines)
