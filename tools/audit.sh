#!/usr/bin/env bash
# Asks for known weaknesses of everything that is installed in the virtual environment: VENV=.venv tools/audit.sh
# pip-audit lives in an environment of its own, so that it audits ours and not itself. Ends with 0 when nothing is known,
# 1 when something is, 2 when it could not be found out.
set -uo pipefail
venv=${VENV:-.venv}
audit=$venv-audit
service=${AUDIT_SERVICE:-https://pypi.org/pypi/pip/json}

fail() { echo "audit: nothing was found out: $1" >&2; exit 2; }

packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || fail "no Python in $venv: make setup"
"$venv/bin/python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10).read(1)' "$service" \
    2>/dev/null || fail "the advisory service ($service) cannot be reached from here"
if [ ! -x "$audit/bin/pip-audit" ]; then
    "$venv/bin/python" -m venv "$audit" && "$audit/bin/python" -m pip install --quiet 'pip-audit >= 2.7' \
        || fail "pip-audit cannot be installed from the package index"
fi
found=$("$audit/bin/pip-audit" --path "$packages" --progress-spinner off --skip-editable 2>&1)
status=$?
echo "$found"
case $status:$found in
    0:*"could not be audited"*) fail "the advisory service does not know the packages above (a mirror of the index in between?)" ;;
    0:*) ;;
    *vulnerabilit*) echo "audit: there are known weaknesses: raise the lower bounds in setup.cfg" >&2; exit 1 ;;
    *) fail "pip-audit failed, see above" ;;
esac
