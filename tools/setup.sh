#!/usr/bin/env bash
# Installs what ossmount needs to run (.runs), or to run and be tested (.ready): Debian packages where it may, and a virtual
# environment, in which a file of that name says so.
set -euo pipefail
packages=(gcc pkg-config libfuse3-dev fuse3 python3-dev)
extras=""
if [ "$1" = .ready ]; then
    packages+=(openssl systemd nginx-light libnginx-mod-http-echo)
    # what reads the completions and manual pages in the tests
    packages+=(fish mandoc zsh)
    extras="[sdk,test,check,docs]"
fi
# The interpreter's own venv module is a package of its own on Debian and Ubuntu.
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then sudo=(); elif sudo -n true 2>/dev/null; then sudo=(sudo); else
        echo "ossmount needs these packages; install them and try again:" >&2
        echo "    sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "Installing with apt: ${missing[*]}"
    log=$(mktemp)
    # nginx is started by the benchmarks themselves; Debian's own service must not take port 80.
    if ! { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2; rm -f "$log"
        echo "apt could not install: ${missing[*]}" >&2
        exit 1
    fi
    rm -f "$log"
fi

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
echo "Installing Python packages into $VENV"
# compat: a path in a .pth file; the default, a finder, would cost each start of Python here 14 ms
"$VENV/bin/python" -m pip install -q --disable-pip-version-check -e ".$extras" --config-settings editable_mode=compat
# pip compiles what it installs, but not a checkout, and PYTHONDONTWRITEBYTECODE would have each command compile it anew
"$VENV/bin/python" -m compileall -q ossmount
touch "$VENV/.runs" "$VENV/$1"
