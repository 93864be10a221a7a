# --explain: the candidate with the star is what ran, its total is the CSV's prediction, and parts add up.
. "$(dirname "$0")/common.sh"

for frame in 0 45 90 140; do
	timeout 120 $lab --explain $frame --frames "$work/out.csv" >"$work/log" 2>&1 || fail "frame $frame: $?"
	line=$(sed -n "$((frame + 2))p" "$work/out.csv")
	star=$(grep '^\* ' "$work/log") || fail "frame $frame: nothing is chosen"
	[ "$(grep -c '^\* ' "$work/log")" -eq 1 ] || fail "frame $frame: more than one is chosen"
	grep -q "^chosen: .*, because " "$work/log" || fail "frame $frame: no reason"
	grep -q "^frame $frame took " "$work/log" || fail "frame $frame: no outcome"
	echo "$line" | awk -F, -v star="$star" '
		{
			n = split(star, s, " ")
			local_ = s[2] == "local"
			if (local_ != ($4 == "none")) { print "the star is at another kind"; exit 1 }
			if (!local_ && s[2] != "#" $3) { print "the star is at another cut"; exit 1 }
			d = s[n] - $6
			if (d > 0.002 || d < -0.002) { print "total " s[n] ", CSV " $6; exit 1 }
			d = $17 + $18 + $19 + $20 - $6
			if (d > 0.00001 || d < -0.00001) { print "parts " d " off"; exit 1 }
		}' >"$work/why" || fail "frame $frame: $(cat "$work/why")"
done
# Cheapest first, unless the star was kept by the hysteresis.
sed -n '/candidate .*total/,/^chosen/p' "$work/log" | sed '1d;$d' | awk '{ print $NF }' >"$work/totals"
sort -n "$work/totals" | cmp - "$work/totals" || fail "candidates are not in order of their totals"

for bad in x -1 1x 4294967296 ''; do
	timeout 10 $lab --explain "$bad" >/dev/null 2>"$work/err"
	[ $? -eq 2 ] && [ "$(wc -l <"$work/err")" -eq 1 ] || fail "--explain '$bad' is not refused in a line"
done
timeout 60 $lab --explain 9 -s device.frames=5 >"$work/log" 2>&1 || fail "a frame that is none: $?"
grep -q '^frame 9 was never planned' "$work/log" || fail "a frame that is none is not named"
