# Regret over traces made here: next to none on a link that does not change, little on one that does.
bin=$1
work=$2
lab=$3
here=$(dirname "$0")
rm -rf "$work"
mkdir -p "$work/traces"
fail() { echo "$*" >&2; exit 1; }

regret="$bin/kerf-perf-regret --lab $lab --conf $here/../../conf/lab/default.ini"
for name in 1 3 5; do printf '0,1000000\n1000000,0\n' >"$work/traces/$name.csv"; done
printf '0,20000000\n60000000,0\n' >"$work/traces/2.csv"
printf '0,1000000\n6000000,9000000\n12000000,0\n' >"$work/traces/4.csv"
printf '0,0\n6000000,9000000\n10000000,0\n' >"$work/traces/6.csv"

# 1: a figure misses its target, which three traces prove nothing of.
timeout 250 $regret --traces "$work/traces" --json "$work/out.json" >"$work/log" 2>&1
[ $? -le 1 ] || fail "ended with $?: $(tail -n 1 "$work/log")"
grep -q '^6 .*left out' "$work/log" || fail "a trace without a median is not left out"
[ "$(grep -c '^[24] ' "$work/log")" -eq 2 ] || fail "not one line for each of two traces"
value() { sed -n "/\"name\": \"$1\"/,/\"unit\"/s/.*\"value\": \([0-9.e+-]*\),*/\1/p" "$work/out.json"; }
below() { awk -v v="$(value "$1")" -v max="$2" 'BEGIN { exit !(v != "" && v < max) }' ||
	fail "$1: $(value "$1"), expected below $2"; }
below "2: regret" 4
below "4: regret" 12
below "arithmetic against measured, p50" 1

# The same seed, the same figures.
timeout 250 $regret --traces "$work/traces" >"$work/log2" 2>&1
sed 1,2d "$work/log" >"$work/a"
sed 1,2d "$work/log2" >"$work/b"
cmp "$work/a" "$work/b" || fail "two runs differ"

timeout 10 $regret --traces "$work/none" >/dev/null 2>"$work/err"
[ $? -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] || fail "a missing directory: $(cat "$work/err")"
timeout 10 $regret --seed >/dev/null 2>"$work/err"
[ $? -eq 2 ] || fail "an option without its value ends with $?"
