#!/bin/sh
# Installs ossmount into an image that is derived from Debian or Ubuntu (PyTorch's, PaddlePaddle's, …), with a Python
# environment of its own in /opt/ossmount: the Python of the image, Conda's for instance, stays as it is. The compiler is only
# there while it is needed. Run as root in a Dockerfile; examples/ shows how.
set -eu
source=$(cd "$(dirname "$0")" && pwd)
[ -f "$source/setup.cfg" ] || source=$(dirname "$source")
export DEBIAN_FRONTEND=noninteractive

to_run="fuse3 python3 python3-venv"
to_build="gcc pkg-config libc6-dev libfuse3-dev python3-dev"
for_now=""
for package in $to_build; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || for_now="$for_now $package"
done
apt-get update -qq
# shellcheck disable=SC2086  # lists of packages
apt-get install -y -qq --no-install-recommends $to_run $to_build >/dev/null

copy=$(mktemp -d)
cp -R "$source/setup.cfg" "$source/pyproject.toml" "$source/README.md" "$source/LICENSE" "$source/ossmount" "$copy"
/usr/bin/python3 -m venv /opt/ossmount
/opt/ossmount/bin/pip install -q --no-cache-dir --disable-pip-version-check "$copy[sdk]"
rm -rf "$copy"
ln -sf /opt/ossmount/bin/ossmount /opt/ossmount/bin/ossmount-run /usr/local/bin/

# shellcheck disable=SC2086
[ -z "$for_now" ] || { apt-mark manual libfuse3-3 >/dev/null; apt-get purge -y -qq --auto-remove $for_now >/dev/null; }
rm -rf /var/lib/apt/lists/*
