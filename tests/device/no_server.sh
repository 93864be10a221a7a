# No server at all: every frame runs here. SIGINT in a run without end: a summary, and exit 0.
. "$(dirname "$0")/common.sh"

run_device -s device.frames=10 || fail "the device ended with $?"
expect local "$(number local)" -eq 10
expect completed "$(number completed)" -eq 10

run_device -s device.frames=0 -s device.fps=20 &
runner=$!
sleep 6
pid=$(pgrep -P "$(pgrep -P $runner -n timeout || echo $runner)" -n kerf-device || pgrep -P $runner -n kerf-device)
kill -INT "$pid"
wait $runner
code=$?
[ $code -eq 0 ] || fail "SIGINT: exit code $code"
grep -q "^frames " "$work/device.log" || fail "no summary after SIGINT"
expect completed "$(number completed)" -gt 0
expect lost "$(number lost)" -eq 0
