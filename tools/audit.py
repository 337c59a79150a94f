"""What ossmount depends on: bounds, licences, known weaknesses. `python -m tools.audit`, or `make audit`; CI runs it too.

Without a network: every dependency has a lower bound; what ossmount imports is declared; licences are on a list; neither the
bounds in setup.cfg nor what is installed admit a version of tools/advisories.txt. With one: OSV is asked about everything that
is installed. Ends with 1 for what ossmount needs at run time. What only tests and tools need is told and fails nothing, and
neither does a service that cannot be asked (2 with --strict).
"""

from __future__ import annotations

import argparse
import ast
import configparser
import importlib.metadata
import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
SERVICE = "https://api.osv.dev/v1/querybatch"  # source: google.github.io/osv.dev/post-v1-querybatch
LIMIT = 8.0  # seconds for its answer

#: Of run-time dependencies, whose licences bind who passes ossmount on: permissive, or copyleft for their own files only.
LICENCES = (
    *(
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "OLDAP-2.8",
        "PSF-2.0",
    ),
    *("LGPL-2.1-or-later", "MPL-2.0", "Unlicense", "Zlib"),
)
#: As older packages write them.
SPELLINGS = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
RUN_TIME = ("", "sdk")  # groups of setup.cfg: install_requires, and the extra that the images install
OF_THE_WORKSHOP = ("test", "check", "docs")  # which no user installs
OURS = "ossmount"
INSTALLERS = ("pip", "setuptools", "wheel")  # come with the virtual environment

Installed = Mapping[str, importlib.metadata.Distribution]


class Advisory(NamedTuple):
    """Versions below `fixed` are weak."""

    name: str
    fixed: Version
    why: str


def declared(path: Path) -> dict[str, list[Requirement]]:
    """What setup.cfg asks for, by extra; "" for install_requires."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(path.read_text("utf-8"))
    groups = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return {
        group: [Requirement(line) for line in text.split("\n") if line and line[0] != "#"] for group, text in groups.items()
    }


def advisories(path: Path) -> list[Advisory]:
    lines = [line.split(maxsplit=2) for line in path.read_text("utf-8").splitlines() if line and line[0] != "#"]
    return [Advisory(canonicalize_name(name), Version(fixed), why) for name, fixed, why in lines]


def installed() -> Installed:
    return {canonicalize_name(each.name): each for each in importlib.metadata.distributions()}


def needed(requirements: Iterable[Requirement], there: Installed) -> set[str]:
    """The names of these and of all that they need in turn, as far as it is installed."""
    found: set[tuple[str, str]] = set()
    left = [(requirement, "") for requirement in requirements]
    while left:
        requirement, extra = left.pop()
        name = canonicalize_name(requirement.name)
        if name not in there or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in found:
                found.add((name, wanted))
                left += [(Requirement(each), wanted) for each in there[name].requires or ()]
    return {name for name, _ in found}


# -- the checks: each gives what is wrong, as (name, message)


def unbounded(groups: Mapping[str, list[Requirement]]) -> Iterator[tuple[str, str]]:
    for group, requirements in groups.items():
        for each in requirements:
            if not any(bound.operator in (">=", "==", "~=") for bound in each.specifier):
                yield each.name, f"has no lower bound in setup.cfg{f' (extra {group})' if group else ''}"


def admitted(groups: Mapping[str, list[Requirement]], weak: Iterable[Advisory]) -> Iterator[tuple[str, str]]:
    """Weak versions that setup.cfg would let pip install."""
    bounds = [each for group in RUN_TIME for each in groups.get(group, ())]
    for advisory in weak:
        own = [bound for each in bounds if canonicalize_name(each.name) == advisory.name for bound in each.specifier]
        lowest = [Version(bound.version) for bound in own if bound.operator in (">=", "==", "~=")]
        if not lowest or max(lowest) < advisory.fixed:
            yield advisory.name, f"setup.cfg admits versions below {advisory.fixed}: {advisory.why}"


def weak_ones(there: Installed, weak: Iterable[Advisory]) -> Iterator[tuple[str, str]]:
    for advisory in weak:
        if advisory.name in there and Version(there[advisory.name].version) < advisory.fixed:
            yield advisory.name, f"{there[advisory.name].version} is below {advisory.fixed}: {advisory.why}"


def unlicensed(there: Installed) -> Iterator[tuple[str, str]]:
    for name, each in there.items():
        if not any(all(part.strip(" ()") in LICENCES for part in choice.split(" AND ")) for choice in licences(each)):
            yield name, f"has a licence that tools/audit.py does not list: {' or '.join(licences(each))[:80]!r}"


def licences(each: importlib.metadata.Distribution) -> list[str]:
    """The choices that its metadata gives, as SPDX writes them."""
    written = [text for field in ("License-Expression", "License") for text in each.metadata.get_all(field) or ()]
    trove = [line for line in each.metadata.get_all("Classifier") or () if line.startswith("License")]
    classifiers = [line.rpartition(" :: ")[2] for line in trove]
    texts = [choice.strip() for text in (*written, *classifiers) if text for choice in text.split(" OR ")]
    return [SPELLINGS.get(text, text) for text in texts] or ["none"]


def undeclared_imports(groups: Mapping[str, list[Requirement]], package: Path) -> Iterator[tuple[str, str]]:
    """Modules that ossmount imports, and that it would only have by way of another dependency."""
    bringing = importlib.metadata.packages_distributions()
    for_users = [each for group, requirements in groups.items() if group not in OF_THE_WORKSHOP for each in requirements]
    names = {canonicalize_name(each.name) for each in for_users}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in {name.partition(".")[0] for name in modules} - {OURS, *sys.stdlib_module_names}:
                brought = {canonicalize_name(name) for name in bringing.get(module, [module])}
                if not brought & names:
                    yield module, f"is imported by {path.relative_to(package.parent)} and is not declared in setup.cfg"


def ask(there: Installed, service: str) -> list[tuple[str, str]]:
    """What the advisory service knows. Raises OSError, ValueError, KeyError, TypeError when it gives no answer in time."""
    found: list[list[tuple[str, str]] | Exception] = []

    def run() -> None:
        try:
            found.append([*_asked(there, service)])
        except (OSError, ValueError, KeyError, TypeError) as error:
            found.append(error)

    asking = threading.Thread(target=run, daemon=True)  # looking a name up takes as long as it likes
    asking.start()
    asking.join(LIMIT)
    if not found:
        raise TimeoutError(f"no answer within {LIMIT:g} s")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _asked(there: Installed, service: str) -> Iterator[tuple[str, str]]:
    names = sorted(set(there) - {OURS})
    queries = [{"package": {"ecosystem": "PyPI", "name": name}, "version": there[name].version} for name in names]
    request = urllib.request.Request(service, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        results = json.load(answer)["results"]
    for name, result in zip(names, results, strict=True):
        for found in result.get("vulns", ()):
            yield name, f"{there[name].version} has the known weakness {found['id']}"


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description="audits the dependencies of ossmount")
    parser.add_argument("--strict", action="store_true", help="end with 2 when the advisory service cannot be asked")
    parser.add_argument("--service", default=SERVICE)
    given = parser.parse_args(arguments)
    groups, weak, there = declared(ROOT / "setup.cfg"), advisories(ROOT / "tools/advisories.txt"), installed()
    at_run_time = needed([each for group in RUN_TIME for each in groups[group]], there)
    everything = needed([each for requirements in groups.values() for each in requirements], there)
    wrong = [*unbounded(groups), *admitted(groups, weak), *undeclared_imports(groups, ROOT / OURS)]
    found = [*weak_ones(there, weak), *unlicensed(there)]
    asked = True
    try:
        found += ask(there, given.service)
    except (OSError, ValueError, KeyError, TypeError) as error:
        asked = False
        say(f"audit: the advisory service was not asked ({given.service}: {error}); the list in tools/advisories.txt was")
    wrong += [each for each in found if each[0] in at_run_time]
    for name, message in [each for each in found if each[0] not in at_run_time]:
        say(f"audit: only for tests and tools: {name} {message}")
    for name in sorted(set(there) - everything - {OURS, *INSTALLERS}):
        say(f"audit: nothing in setup.cfg asks for {name}, which is installed")
    for name, message in wrong:
        say(f"audit: {name} {message}")
    say(f"audit: {len(there)} packages, {len(at_run_time)} of them for run time: {len(wrong)} things to mend")
    return 1 if wrong else 2 if given.strict and not asked else 0


if __name__ == "__main__":
    sys.exit(main())
