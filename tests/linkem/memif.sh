# kerf's own ends with the bridge between them, over shared memory, without root: every frame is right, also on
# a link that loses, repeats and reorders packets.
. "$(dirname "$0")/../device/common.sh"

bridge_pid=
stop() {
	[ -n "$bridge_pid" ] && kill -9 "$bridge_pid" 2>/dev/null
}
cleanup=stop
start_server
"$bin/kerf-linkem" --no-huge -m256 --no-shconf \
	--vdev="net_memif0,role=server,socket-abstract=no,socket=$work/near.sock" \
	--vdev="net_memif1,role=client,socket-abstract=no,socket=$socket" -- --ports 0,1 \
	-c "$here/../../conf/links/wan.ini" -s link.up.rate=200M -s link.up.loss=0.01 -s link.up.duplication=0.01 \
	-s link.up.late=0.01 -s link.up.late_by=2ms --json "$work/bridge.json" >"$work/bridge.log" 2>&1 &
bridge_pid=$!
n=0
until grep -qs ready "$work/bridge.log"; do
	kill -0 $bridge_pid 2>/dev/null || fail "the bridge ended at its start"
	n=$((n + 1))
	[ $n -lt 300 ] || fail "the bridge is not ready after 30 s"
	sleep 0.1
done
port="-s port.kind=memif -s port.socket=$work/near.sock -s port.huge=no"
run_device -s device.frames=30 -s device.fps=5 -s policy.mode=offload -s policy.hedge_factor=50 ||
	fail "the device ended with $?"
expect completed "$(number completed)" -eq 30
expect lost "$(number lost)" -eq 0
expect mismatches "$(verified mismatches)" -eq 0
expect verified "$(verified frames)" -ge 20
kill -INT $bridge_pid
wait $bridge_pid || fail "the bridge ended with $?"
bridge_pid=
lost=$(sed -n '/"up"/,/}/s/^ *"lost": \([0-9]*\),*$/\1/p' "$work/bridge.json")
expect "packets lost on the way up" "$lost" -gt 0
