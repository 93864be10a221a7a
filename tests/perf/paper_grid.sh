# The paper's grid: every gain is 0 to 100%, emulated transfers cost a little more than arithmetic, and files are written.
bin=$1
work=$2
rm -rf "$work"
mkdir -p "$work"
fail() { echo "$*" >&2; exit 1; }
grid="$bin/kerf-perf-paper-grid"

timeout 280 $grid --network mobilenet-v3-small --analytic --quick --grid "$work/grid.json" >"$work/log" 2>"$work/err" ||
	fail "ended with $?: $(tail -n 1 "$work/err")"
for how in paper emulated; do
	grep "^$how: " "$work/log" | awk '{ for (i = 1; i <= NF; i++) if ($i == "%") v = $(i - 1)
		if (v < 0 || v > 100) { print; exit 1 } }' || fail "a share that is none"
	[ "$(grep -c "^$how: mean gain over" "$work/log")" -ge 3 ] || fail "$how: too few choices"
done
mean() { sed -n "s/^$1: mean gain over local *\([0-9.e+-]*\) .*/\1/p" "$work/log"; }
awk -v a="$(mean paper)" -v b="$(mean emulated)" 'BEGIN { exit !(a > b && a - b < 5) }' ||
	fail "gain over local: paper $(mean paper), emulated $(mean emulated)"
# At 1 MB/s a picture takes 150 ms, everything here with 10 times the server's time less.
grep -q '"best": *\[\["local"' "$work/grid.json" || fail "batch 1 at 1 MB/s is not best done here"

timeout 10 $grid --network resnet-51 >/dev/null 2>"$work/err"
[ $? -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] || fail "an unknown network: $(cat "$work/err")"
timeout 10 $grid --slowdown 0 >/dev/null 2>"$work/err"
[ $? -eq 2 ] || fail "--slowdown 0 ends with $?"
