# Other people's programs behind the emulator: two network namespaces, bridged over af_packet ports; the
# kernel pings across. Times are only bounded from below: the emulator never delivers early.
. "$(dirname "$0")/../device/common.sh"

[ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
command -v ip >/dev/null || skip "ip (iproute2) is not installed"
command -v ping >/dev/null || skip "ping (iputils-ping) is not installed"
a=kerf-a-$$
b=kerf-b-$$
remove() {
	[ -n "$bridge_pid" ] && kill -9 "$bridge_pid" 2>/dev/null
	ip netns del $a 2>/dev/null
	ip netns del $b 2>/dev/null
	ip link del kfa$$ 2>/dev/null
	ip link del kfb$$ 2>/dev/null
}
bridge_pid=
cleanup=remove
ip netns add $a && ip netns add $b || skip "no network namespaces here"
ip link add kfa$$ type veth peer name veth0 netns $a || skip "no veth here"
ip link add kfb$$ type veth peer name veth0 netns $b || skip "no veth here"
for i in $a $b; do
	ip -n $i link set veth0 up
done
ip link set kfa$$ up
ip link set kfb$$ up
ip -n $a addr add 10.47.1.1/24 dev veth0
ip -n $b addr add 10.47.1.2/24 dev veth0

# bridge settings...: in the background, until it is ready.
bridge() {
	"$bin/kerf-linkem" --no-huge -m256 --no-shconf --vdev="net_af_packet0,iface=kfa$$,qdisc_bypass=1" \
		--vdev="net_af_packet1,iface=kfb$$,qdisc_bypass=1" -- --ports 0,1 -c "$here/../../conf/links/default.ini" \
		--json "$work/out.json" --truth "$work/truth.csv" "$@" >"$work/bridge.log" 2>&1 &
	bridge_pid=$!
	n=0
	until grep -qs ready "$work/bridge.log"; do
		kill -0 $bridge_pid 2>/dev/null || fail "the bridge ended at its start"
		n=$((n + 1))
		[ $n -lt 300 ] || fail "the bridge is not ready after 30 s"
		sleep 0.1
	done
}

end_bridge() {
	kill -INT $bridge_pid
	wait $bridge_pid || fail "the bridge ended with $?"
	bridge_pid=
}

# The link's rate and both delays are in the time of an echo: 2 x 20 ms, and 2 x 1042 bytes at 1 Mbit/s.
bridge -s link.up.rate=1M -s link.down.rate=1M -s link.up.delay=20ms -s link.down.delay=20ms
ip netns exec $a ping -c 5 -i 0.2 -s 1000 -W 2 10.47.1.2 >"$work/ping.log" || fail "no answer to ping"
least=$(sed -n 's/^rtt.*= \([0-9]*\).*/\1/p' "$work/ping.log")
expect "least ms of an echo" "$least" -ge 56
end_bridge
[ "$(sed -n '/"up"/,/}/s/^ *"delivered": \([0-9]*\),*$/\1/p' "$work/out.json" | head -n 1)" -ge 5 ] ||
	fail "the statistics count fewer than 5 packets up"
# Each echo is in the log with start, finish and delivery: 1042 + 24 bytes take 8.528 ms at 1 Mbit/s.
[ "$(awk -F, '$1 == "up" && $7 == 1042 && $5 - $4 == 8528000000 && $6 - $5 == 20000000000' "$work/truth.csv" |
	wc -l)" -eq 5 ] || fail "the log lacks the times of the 5 echoes"

# A link that loses everything one way.
bridge -s link.down.loss=1
ip netns exec $a ping -c 2 -i 0.2 -W 1 10.47.1.2 >"$work/ping.log" && fail "an answer over a dead link"
end_bridge
grep -q '^down,.*,lost,0,0,0$' "$work/truth.csv" || fail "the log does not say that packets are lost"
