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
case $middle in 0,* | *,none) fail "30 Mbit/s: chose $middle, expected a cut in the middle" ;; esac
