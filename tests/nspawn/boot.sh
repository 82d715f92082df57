#!/usr/bin/env bash
# Boots a Debian of its own in systemd-nspawn, without network, and runs inside.sh there; exit 1 where a step failed.
# It runs in a copy of ROOT that is gone afterwards. SHORT=1 leaves out the slow steps.
#   tests/nspawn/boot.sh ROOT RESULT SOURCE [DEPENDENCIES]
#     ROOT          debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,python3-venv,mbpoll bookworm ROOT
#     RESULT        a directory for trial.log
#     SOURCE        the unpacked archive of `make bundle`; or a directory with the project and, in wheels/, its own
#                   wheel alone, where DEPENDENCIES is a site-packages of the same Python version with all it needs
set -euo pipefail
ROOT=$(realpath "$1") RESULT=$(realpath "$2") SOURCE=$(realpath "$3") DEPENDENCIES=${4:-}
HERE=$(realpath "$(dirname "$0")")
[ "$(id -u)" = 0 ] || { echo "error: systemd-nspawn needs root" >&2; exit 2; }

cat >"$ROOT/etc/systemd/system/trial.service" <<UNIT
[Unit]
After=basic.target dbus.service
[Service]
Type=oneshot
Environment=SHORT=${SHORT:-} ${DEPENDENCIES:+PIP_NO_DEPS=1}
ExecStart=/bin/bash -c '/trial/inside.sh >/result/trial.log 2>&1'
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$ROOT/etc/systemd/system/multi-user.target.wants"
ln -sf ../trial.service "$ROOT/etc/systemd/system/multi-user.target.wants/trial.service"
rm -f "$RESULT/trial.log"
binds=(--bind-ro="$HERE:/trial" --bind-ro="$SOURCE:/src" --bind="$RESULT:/result")
[ -z "$DEPENDENCIES" ] || binds+=(--bind-ro="$(realpath "$DEPENDENCIES"):/deps")
systemd-nspawn --quiet --boot --directory="$ROOT" --ephemeral --private-network --register=no --keep-unit \
    "${binds[@]}" >"$RESULT/console.log" 2>&1 || true
[ -s "$RESULT/trial.log" ] || { cat "$RESULT/console.log"; echo "error: the container did not run the trial" >&2; exit 1; }
cat "$RESULT/trial.log"
grep -q '^ok data-is-left' "$RESULT/trial.log" && ! grep -q '^FAILED' "$RESULT/trial.log"
