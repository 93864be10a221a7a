# Virtual time: the same seed gives the same bytes, and the cut follows the link.
. "$(dirname "$0")/common.sh"

for i in 1 2; do
	timeout 120 $lab --json "$work/$i.json" --frames "$work/$i.csv" >"$work/lab$i.log" 2>&1 ||
		fail "the lab ended with $?"
done
cmp "$work/1.json" "$work/2.json" || fail "the JSON differs"
cmp "$work/1.csv" "$work/2.csv" || fail "the CSV differs"
cp "$work/1.json" "$work/out.json"
expect completed "$(number completed)" -eq 200
expect lost "$(number lost)" -eq 0
expect mismatches "$(verified mismatches)" -eq 0

# Another seed is another session, not another result of anything that matters.
timeout 120 $lab -s lab.seed=2 -s input.seed=2 --json "$work/out.json" >"$work/lab3.log" 2>&1
expect completed "$(number completed)" -eq 200

# frame,t_ns,cut,codec,...: what was chosen late in each phase.
chosen() { sed -n "$(($1 + 2))p" "$work/1.csv" | cut -d, -f3,4; }
expect "200 Mbit/s" "$(chosen 40)" = 0,u8
expect "5 Mbit/s" "$(chosen 140 | cut -d, -f2)" = none
expect "1 Gbit/s" "$(chosen 190)" = 0,u8
middle=$(chosen 90)
case $middle in 0,* | *,none) fail "40 Mbit/s: chose $middle, expected a cut in the middle" ;; esac

# A disk that is full fails the run; files that cannot be written fail it at its start.
short="$lab -s device.frames=5"
broken() {
	timeout 60 "$@" 2>"$work/broken.log"
	[ $? -eq 1 ] || fail "$*: not failed with 1"
	grep -q 'cannot be written' "$work/broken.log" || fail "$*: does not say why"
	[ "$(wc -l <"$work/broken.log")" -eq 1 ] || fail "$*: not one line"
}
if [ -w /dev/full ]; then
	broken $short --frames /dev/full >/dev/null
	broken $short --json /dev/full >/dev/null
	broken $short >/dev/full
fi
broken $short --json "$work/none/out.json" >"$work/early.log"
[ -s "$work/early.log" ] && fail "the JSON's directory was missed only after the run"

# No standard files: nothing that is meant for them ends up in another file.
timeout 60 $short --json "$work/out.json" --frames "$work/out.csv" <&- >&- 2>&- ||
	fail "without standard files: $?"
expect "lines of the CSV" "$(wc -l <"$work/out.csv")" -eq 6
expect completed "$(number completed)" -eq 5

# Jumbo frames and more buffers find their memory.
timeout 60 $short -s port.mtu=9000 >"$work/jumbo.log" 2>&1 || fail "MTU 9000: $?"
timeout 60 $short -s port.mbufs=65536 >"$work/mbufs.log" 2>&1 || fail "65536 mbufs: $?"

# The person's choice of cores counts.
timeout 60 $bin/kerf-lab -l "$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')" -- -c \
	"$here/../../conf/lab/step.ini" -s device.frames=5 >"$work/eal.log" 2>&1 ||
	fail "kerf-lab -l: $?"
