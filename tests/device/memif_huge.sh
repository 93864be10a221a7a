# The same with huge pages, where the machine has some or lets us make them.
. "$(dirname "$0")/common.sh"

pages=/sys/kernel/mm/hugepages/hugepages-2048kB
before=$(cat $pages/nr_hugepages 2>/dev/null) || skip "no 2 MB huge pages on this kernel"
give_back() { echo "$before" >$pages/nr_hugepages 2>/dev/null; }
if [ "$(cat $pages/free_hugepages)" -lt 320 ]; then
	{ echo $((before + 320)) >$pages/nr_hugepages; } 2>/dev/null || skip "huge pages cannot be made here"
	cleanup=give_back
	[ "$(cat $pages/free_hugepages)" -ge 320 ] || skip "there is no memory for huge pages"
fi
port="-s port.kind=memif -s port.socket=$socket -s port.huge=yes"
start_server
run_device -s device.frames=100 -s policy.mode=offload -s policy.hedge_factor=50 ||
	fail "the device ended with $?"
expect completed "$(number completed)" -eq 100
expect verified "$(verified frames)" -eq 100
expect mismatches "$(verified mismatches)" -eq 0
