#!/usr/bin/env bash
# The trial with what this checkout's environment holds: a Debian 12 into build/trial (kept), our wheel, boot.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
WORK=$PWD/build/trial
for tool in systemd-nspawn debootstrap; do
    command -v "$tool" >/dev/null || { echo "error: no $tool; apt install systemd-container debootstrap" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "error: a container needs root: sudo $0" >&2; exit 2; }
# Its Python is 3.11; packages of another version cannot be lent to it.
SITE=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
[[ $SITE == */python3.11/* ]] || { echo "error: .venv is not of Python 3.11; use boot.sh with a bundle" >&2; exit 2; }

mkdir -p "$WORK/result"
if [ ! -e "$WORK/root/etc/debian_version" ]; then
    rm -rf "$WORK/root.new"
    # dpkg's own defaults, and no waiting for the disk after each file.
    DPKG_FORCE=security-mac,downgrade,unsafe-io debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,python3-venv,mbpoll bookworm "$WORK/root.new" >"$WORK/debootstrap.log"
    mv "$WORK/root.new" "$WORK/root"
fi
rm -rf "$WORK/source"
mkdir -p "$WORK/source"
cp -r systemd prompts config.toml "$WORK/source"
.venv/bin/pip wheel --quiet --no-deps --wheel-dir "$WORK/source/wheels" .
tests/nspawn/boot.sh "$WORK/root" "$WORK/result" "$WORK/source" "$SITE"
