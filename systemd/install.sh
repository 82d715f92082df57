#!/usr/bin/env bash
# Puts the inspector on this machine, or a newer one in its place: program, user, units, first config.
# Configuration, prompts, banks and the record are never overwritten; `uninstall` leaves them too.
#   sudo systemd/install.sh [install | uninstall]      PYTHON=python3.12 WHEELS=directory for other choices
# Beside a directory `wheels`, as in the archive of `make bundle`, it asks no network.
set -euo pipefail
# Root's own may keep what it makes from everybody else, the services' user included.
umask 022

HERE=$(cd "$(dirname "$0")" && pwd)
SOURCE=$(dirname "$HERE")
PREFIX=/opt/alfa-inspector
CONFIG=/etc/alfa-inspector
STATE=/var/lib/alfa-inspector
UNITS=/etc/systemd/system
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-}
[ -n "$WHEELS" ] || [ ! -d "$SOURCE/wheels" ] || WHEELS=$SOURCE/wheels

die() { echo "error: $*" >&2; exit 2; }

check_machine() {
    [ "$(id -u)" = 0 ] || die "must run as root: sudo $0"
    command -v systemctl >/dev/null || die "there is no systemd on this machine"
}

check_python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "$PYTHON is missing or older than 3.11; say which to use: PYTHON=python3.12 $0"
    "$PYTHON" -c 'import ensurepip' 2>/dev/null ||
        die "no venv module for $PYTHON; on Debian and Ubuntu: apt install python3-venv"
    # Compiled packages are for one version of Python; pip would only say that none fits.
    if [ -n "$WHEELS" ] && [ -e "$WHEELS/PYTHON" ]; then
        local wanted
        wanted=$(cat "$WHEELS/PYTHON")
        "$PYTHON" -c 'import sys, platform
sys.exit(f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}" != sys.argv[1])' "$wanted" ||
            die "the wheels are for Python $wanted, $PYTHON is another; say PYTHON=python${wanted% *} or make the bundle here"
    fi
}

# Beside the old one first: an installation that fails half-way leaves what runs alone.
install_program() {
    local fresh=$PREFIX.new
    rm -rf "$fresh"
    "$PYTHON" -m venv "$fresh"
    if [ -n "$WHEELS" ]; then
        "$fresh/bin/pip" install --quiet --no-index --find-links "$WHEELS" alfa-inspector
    else
        "$fresh/bin/pip" install --quiet --constraint "$SOURCE/constraints.txt" "$SOURCE"
    fi
    # Scripts of a venv name their interpreter by its full path.
    grep -rlIZ "$fresh" "$fresh/bin" "$fresh/pyvenv.cfg" | xargs -0 sed -i "s|$fresh|$PREFIX|g"
    rm -rf "$PREFIX.old"
    [ ! -e "$PREFIX" ] || mv "$PREFIX" "$PREFIX.old"
    mv "$fresh" "$PREFIX"
    rm -rf "$PREFIX.old"
}

install_units() {
    install -D -m 0644 "$HERE/alfa-inspector.sysusers" /etc/sysusers.d/alfa-inspector.conf
    install -D -m 0644 "$HERE/alfa-inspector.tmpfiles" /etc/tmpfiles.d/alfa-inspector.conf
    systemd-sysusers /etc/sysusers.d/alfa-inspector.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/alfa-inspector.conf
    install -m 0644 "$HERE"/alfa.target "$HERE"/alfa-*.service "$UNITS"
    systemctl daemon-reload
}

# In the file and not in the units: commands that people run read the same paths as the services.
first_config() {
    sed -e "s|^prompts = \"prompts\" |prompts = \"$STATE/prompts\" |" -e "s|^state = \"var\" |state = \"$STATE\" |" \
        -e "s|^runtime = \"run\" |runtime = \"/run/alfa-inspector\" |" "$SOURCE/config.toml"
}

install_first_files() {
    [ -e "$CONFIG/config.toml" ] || first_config | install -m 0640 -g alfa /dev/stdin "$CONFIG/config.toml"
    local prompts
    for prompts in "$SOURCE"/prompts/*.toml; do
        [ -e "$STATE/prompts/$(basename "$prompts")" ] ||
            install -m 0640 -o alfa -g alfa "$prompts" "$STATE/prompts/"
    done
}

# So that `edge-check` and the others are found by name.
link_commands() {
    local command
    for command in "$PREFIX"/bin/edge-* "$PREFIX"/bin/alfa-*; do
        ln -sf "$command" "/usr/local/bin/$(basename "$command")"
    done
}

uninstall() {
    find /usr/local/bin -maxdepth 1 -type l -lname "$PREFIX/*" -delete
    systemctl stop alfa.target 'alfa-*' 2>/dev/null || true
    systemctl disable alfa.target 2>/dev/null || true
    # What was enabled by name; `disable` takes no patterns.
    rm -rf "$UNITS/alfa.target.wants"
    rm -f "$UNITS"/alfa.target "$UNITS"/alfa-results.service "$UNITS"/alfa-detector@.service "$UNITS"/alfa-camera@.service \
        "$UNITS"/alfa-gpu.service
    rm -f /etc/sysusers.d/alfa-inspector.conf /etc/tmpfiles.d/alfa-inspector.conf
    rm -rf "$PREFIX"
    systemctl daemon-reload
    echo "removed; $CONFIG and $STATE are left, and the user alfa"
}

check_machine
case "${1:-install}" in
install)
    check_python
    install_program
    install_units
    install_first_files
    link_commands
    echo "installed. First time: edit $CONFIG/config.toml, run edge-check, then for its lines and detectors"
    echo "  systemctl enable --now alfa.target alfa-results alfa-detector@main alfa-camera@LINE"
    echo "After an upgrade, what runs is still the old program: systemctl restart 'alfa-*'"
    ;;
uninstall) uninstall ;;
*) die "$1: say install or uninstall" ;;
esac
