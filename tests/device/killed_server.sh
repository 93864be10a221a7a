# The server is killed with SIGKILL in mid-run: the device finishes every frame, says so, uses the server
# again when it is back, and exits 0.
. "$(dirname "$0")/common.sh"

start_server
run_device -s device.frames=400 -s device.fps=40 -s policy.mode=offload &
device_pid=$!
wait_for_session
sleep 1
kill -9 $server_pid
wait $server_pid 2>/dev/null
sleep 2
start_server
wait $device_pid || fail "the device ended with $?"
expect "completed and skipped" $(($(number completed) + $(number skipped))) -eq 400
expect lost "$(number lost)" -eq 0
expect sessions "$(number sessions)" -eq 2
expect mismatches "$(verified mismatches)" -eq 0
grep -q "server is gone" "$work/device.log" || fail "the device did not say that the server is gone"
[ "$(grep -c "server is there" "$work/device.log")" -eq 2 ] || fail "the server was not used again"
tail -n 5 "$work/out.csv" | grep -q remote || fail "the last frames did not run at the server"
