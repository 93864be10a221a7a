# Real time: the engine computes, packets pass a ring port with the link emulated, every remote frame equals
# the unsplit run. No time is asserted.
. "$(dirname "$0")/common.sh"

timeout 200 $lab $settings -s lab.time=real -s lab.analytic=no -s device.frames=30 -s device.fps=0 \
	-s policy.mode=fixed -s policy.cut=20 -s policy.hedge_factor=100 \
	-s "link.up.rate=100M" --json "$work/out.json" >"$work/lab.log" 2>&1 || fail "the lab ended with $?"
expect completed "$(number completed)" -eq 30
expect lost "$(number lost)" -eq 0
expect verified "$(verified frames)" -ge 25
expect mismatches "$(verified mismatches)" -eq 0

# Jumbo frames over the ring.
timeout 200 $lab $settings -s lab.time=real -s lab.analytic=no -s device.frames=10 -s device.fps=0 -s port.mtu=9000 \
	-s policy.mode=offload -s policy.hedge_factor=100 --json "$work/out.json" >"$work/jumbo.log" 2>&1 ||
	fail "MTU 9000: the lab ended with $?"
expect completed "$(number completed)" -eq 10
expect mismatches "$(verified mismatches)" -eq 0
