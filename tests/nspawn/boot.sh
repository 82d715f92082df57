#!/usr/bin/env bash
# Boots a Debian of its own in systemd-nspawn, without network, and runs inside.sh there; exit 1 where a step failed.
#   tests/nspawn/boot.sh ROOT WHEELS [DEPENDENCIES]
#     ROOT          debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,python3-venv,mbpoll bookworm ROOT
#     WHEELS        pip wheel --no-deps --wheel-dir WHEELS .
#     DEPENDENCIES  a site-packages with what the wheel needs, made by the same Python version
set -euo pipefail
ROOT=$1 WHEELS=$(realpath "$2") DEPENDENCIES=${3:-}
SOURCE=$(realpath "$(dirname "$0")/../..")
[ "$(id -u)" = 0 ] || { echo "error: systemd-nspawn needs root" >&2; exit 2; }

cat >"$ROOT/etc/systemd/system/trial.service" <<UNIT
[Unit]
After=basic.target dbus.service
[Service]
Type=oneshot
Environment=WHEELS=/wheels ${DEPENDENCIES:+PIP_NO_DEPS=1}
ExecStart=/bin/bash -c '/src/tests/nspawn/inside.sh >/trial.log 2>&1'
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$ROOT/etc/systemd/system/multi-user.target.wants"
ln -sf ../trial.service "$ROOT/etc/systemd/system/multi-user.target.wants/trial.service"
rm -f "$ROOT/trial.log"
binds=(--bind-ro="$SOURCE:/src" --bind-ro="$WHEELS:/wheels")
[ -z "$DEPENDENCIES" ] || binds+=(--bind-ro="$(realpath "$DEPENDENCIES"):/deps")
systemd-nspawn --quiet --boot --directory="$ROOT" --private-network --register=no --keep-unit "${binds[@]}" >/dev/null
cat "$ROOT/trial.log"
! grep -q '^FAILED' "$ROOT/trial.log"
