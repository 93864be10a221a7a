# Two processes in two network namespaces, af_packet over veth; the kernel pings the server.
. "$(dirname "$0")/common.sh"

[ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
command -v ip >/dev/null || skip "ip (iproute2) is not installed"
a=kerf-dev-$$
b=kerf-srv-$$
remove() {
	ip netns del $a 2>/dev/null
	ip netns del $b 2>/dev/null
}
cleanup=remove
ip netns add $a && ip netns add $b || skip "no network namespaces here"
ip link add veth0 netns $a type veth peer name veth0 netns $b || skip "no veth here"
ip -n $a link set veth0 up
ip -n $b link set veth0 up
ip -n $a addr add 10.47.0.9/24 dev veth0

port="-s port.kind=af_packet -s port.iface=veth0 -s port.huge=no"
server_prefix="ip netns exec $b"
device_prefix="ip netns exec $a"
start_server
if command -v ping >/dev/null; then
	ip netns exec $a ping -c 3 -W 2 10.47.0.2 >"$work/ping.log" 2>&1 || fail "no answer to ping"
fi
run_device -s device.frames=100 -s policy.mode=offload -s policy.hedge_factor=50 ||
	fail "the device ended with $?"
expect completed "$(number completed)" -eq 100
expect verified "$(verified frames)" -eq 100
expect mismatches "$(verified mismatches)" -eq 0

# The server dies in the middle: every frame is done all the same, and exit is 0.
rm "$work/device.log"
run_device -s device.frames=100 -s device.fps=50 -s policy.mode=offload &
device_pid=$!
wait_for_session
sleep 0.5
kill -9 $server_pid
wait $device_pid || fail "the device ended with $? after the server was killed"
expect "completed and skipped" $(($(number completed) + $(number skipped))) -eq 100
expect lost "$(number lost)" -eq 0
grep -q "server is gone" "$work/device.log" || fail "the device did not say so"
