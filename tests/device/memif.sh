# Two processes over shared memory, without huge pages: 100 frames, all at the server, all verified.
. "$(dirname "$0")/common.sh"

start_server
run_device -s device.frames=100 -s policy.mode=offload -s policy.hedge_factor=50 ||
	fail "the device ended with $?"
expect completed "$(number completed)" -eq 100
expect lost "$(number lost)" -eq 0
expect verified "$(verified frames)" -eq 100
expect mismatches "$(verified mismatches)" -eq 0
expect "lines of the CSV" "$(wc -l <"$work/out.csv")" -eq 101

# The same server again, a cut in the middle, f32 on the wire: outputs equal to the bit.
run_device -s device.frames=20 -s policy.mode=fixed -s policy.cut=20 -s policy.hedge_factor=50 ||
	fail "the second device ended with $?"
expect verified "$(verified frames)" -eq 20
expect mismatches "$(verified mismatches)" -eq 0

# SIGTERM: the server says its summary and ends well.
kill -TERM $server_pid
wait $server_pid || fail "the server ended with $?"
grep -q "sessions 2" "$work/server.log" || fail "the server did not count two sessions"
server_pid=
