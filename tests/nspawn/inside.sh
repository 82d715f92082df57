#!/usr/bin/env bash
# Runs as root inside the booted container: installs the product as a person would, then looks at it under faults.
# Every step prints `ok NAME` or `FAILED NAME`; the host reads them. /src is the project.
set -uo pipefail

APP=/opt/alfa-inspector
RECORD=/var/lib/alfa-inspector/results.sqlite
PROMPTS=/var/lib/alfa-inspector/prompts

step() { # NAME COMMAND...
    local name=$1
    shift
    if "$@"; then echo "ok $name"; else echo "FAILED $name"; fi
}

# Patience is for a machine that is busy with all other tests; what holds costs none of it.
within() { # SECONDS COMMAND...: asks again until it holds
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.2
    done
}

sql() { "$APP/bin/python" -c 'import sqlite3, sys
print(*sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute(sys.argv[2]).fetchone(), sep="|")' "$RECORD" "$1"; }
recorded() { sql "SELECT count(*) FROM verdicts WHERE score IS NOT NULL"; }
judged_more_than() { [ "$(recorded)" -gt "$1" ]; }
main_pid() { systemctl show -P MainPID alfa-detector@main; }
another_detector_than() { local now; now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$1" ] && systemctl is-active -q alfa-detector@main; }
last_prompts() { sql "SELECT prompts FROM verdicts WHERE score IS NOT NULL ORDER BY id DESC LIMIT 1"; }
prompts_other_than() { [ "$(last_prompts)" != "$1" ]; }
faulty() { sql "SELECT count(*) FROM verdicts WHERE result = 'FAULT'"; }
# A part that a killed detector held is told missing only when its time is up, long after parts behind it are judged.
nothing_missing() { [ "$(sql "SELECT total(n) FROM (SELECT max(seq) + 1 - count(*) AS n FROM verdicts GROUP BY line, epoch)")" = 0.0 ]; }
prompts_are() { [ "$(last_prompts)" = "$1" ]; }
status_says() { systemctl show -P StatusText alfa-detector@main | grep -q "$1"; }
owed() { sql "SELECT (SELECT sum(captured) FROM epochs) - (SELECT count(*) FROM verdicts)"; }
nothing_owed() { [ "$(owed)" = 0 ]; }
heartbeat() { mbpoll -0 -r 1 -1 -q -p 5020 127.0.0.1 | grep '^\[1\]'; }
heartbeat_other_than() { local now; now=$(heartbeat) && [ -n "$1" ] && [ "$now" != "$1" ]; }

install_product() {
    /src/systemd/install.sh || return 1
    # What our wheel needs lies there where the container has no network.
    [ ! -d /deps ] || echo /deps >"$(echo $APP/lib/python3*/site-packages)/deps.pth"
    printf '\n[plc]\nport = 5020\n' >>/etc/alfa-inspector/config.toml
    # Slow enough for the model on two busy cores: faults are to come from what is done here alone.
    sed -i 's/^rate_hz = .*/rate_hz = 0.5/' /etc/alfa-inspector/config.toml
}

start_plc() { systemd-run -q --unit plc "$APP/bin/python" -m edge.plc.simulator --port 5020; }
start_all() { systemctl enable -q --now alfa-results alfa-detector@main alfa-camera@plate alfa.target; }
all_active() { systemctl is-active -q alfa-results alfa-detector@main alfa-camera@plate; }

prompts() { "$APP/bin/alfa-prompts" "$@" --line plate --config /etc/alfa-inspector/config.toml; }

break_prompts() { # by hand: `alfa-prompts apply` would refuse it
    install -m 0640 -o alfa -g alfa "$1" $PROMPTS/.new && mv $PROMPTS/.new $PROMPTS/metal_plate.toml
    systemctl reload alfa-detector@main
}

step install install_product
step verify systemd-analyze verify alfa-results.service alfa-detector@main.service alfa-camera@plate.service alfa-gpu.service
step plc start_plc
step start start_all
step active within 300 all_active
# Without them there is nothing to look at, and their journal says why.
all_active || { systemctl status --no-pager 'alfa-*'; journalctl --no-pager -q -u 'alfa-*' -n 60; exit 1; }
step judges within 120 judged_more_than 1
step plc-answers within 60 heartbeat
step plc-heartbeat within 60 heartbeat_other_than "$(heartbeat)"
step unprivileged test "$(ps -o user= -p "$(main_pid)")" = alfa
step runtime-directory test "$(stat -c %a:%U /run/alfa-inspector)" = 750:alfa

pid=$(main_pid)
kill -9 "$pid"
step killed-detector-returns within 300 another_detector_than "$pid"
# Counted now: what the killed one had judged is in the record long since.
step killed-detector-judges within 120 judged_more_than "$(recorded)"

# The watchdog's half minute is left out of the short form.
if [ -z "${SHORT:-}" ]; then
    pid=$(main_pid)
    kill -STOP "$pid"
    step hung-detector-is-replaced within 300 another_detector_than "$pid"
    step hung-detector-judges within 120 judged_more_than "$(recorded)"
fi

# Of parts before one that is judged now, none is missing: the fallen detector's are told, and none will be later.
step restarts-are-made-up-for within 120 judged_more_than $(($(recorded) + 1))
step killed-parts-are-told within 120 nothing_missing
hash=$(last_prompts) faults=$(faulty)
sed 's/^descriptors = \[$/&\n    "something never seen",/' $PROMPTS/metal_plate.toml >/tmp/changed.toml
step apply prompts apply /tmp/changed.toml --reload
step apply-changes-the-hash within 120 prompts_other_than "$hash"
step applied-is-what-runs prompts diff /tmp/changed.toml
step applied-belongs-to-the-service test "$(stat -c %U:%G:%a $PROMPTS/metal_plate.toml)" = alfa:alfa:640
step rollback prompts rollback --reload
step rollback-brings-the-hash-back within 120 prompts_are "$hash"
# A part that a reload lost is missing until its time is up, and then a fault.
step reloads-leave-none-missing within 120 nothing_missing
step reloads-cost-no-part test "$(faulty)" = "$faults"

echo 'not [ toml' >/tmp/broken.toml
step broken-reload break_prompts /tmp/broken.toml
step broken-reload-is-told within 60 status_says metal_plate.toml
# The first may have been in hand before.
step broken-reload-goes-on within 120 judged_more_than $(($(recorded) + 1))
step broken-reload-keeps-the-old test "$(last_prompts)" = "$hash"

systemctl stop alfa-camera@plate
step every-part-has-its-verdict within 120 nothing_owed
echo "info recorded $(sql "SELECT count(*), sum(result = 'FAULT'), sum(fault = 'no_verdict'), sum(fault = 'frame_lost') FROM verdicts")"
step stop systemctl stop alfa.target
step stopped within 60 sh -c '! systemctl is-active -q alfa-results'
for unit in alfa-results alfa-detector@main alfa-camera@plate; do
    echo "info $unit restarts $(systemctl show -P NRestarts $unit) result $(systemctl show -P Result $unit)"
done
step uninstall /src/systemd/install.sh uninstall
step nothing-is-enabled test ! -e /etc/systemd/system/alfa.target.wants
step data-is-left test -e $RECORD -a -e /etc/alfa-inspector/config.toml
journalctl --no-pager -q -u 'alfa-*' | tail -60
