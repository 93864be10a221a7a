# Every scenario of conf/lab that runs in virtual time: no frame is lost, every remote one is right, and a second
# run gives the same bytes. Real traces, where they are at hand.
. "$(dirname "$0")/common.sh"

run() {
	name=$1
	shift
	for i in 1 2; do
		timeout 120 "$bin/kerf-lab" "$@" --json "$work/out.json" --frames "$work/$i.csv" \
			--truth "$work/$i.truth" >"$work/$name.log" 2>&1 || fail "$name ended with $?"
		mv "$work/out.json" "$work/$i.json"
	done
	for f in json csv truth; do
		cmp "$work/1.$f" "$work/2.$f" || fail "$name: two runs differ"
	done
	cp "$work/1.json" "$work/out.json"
	[ "$(number completed)" -gt 0 ] || fail "$name: no frame"
	[ "$(number lost)" -eq 0 ] || fail "$name: $(number lost) frames lost"
	[ "$(verified mismatches)" -eq 0 ] || fail "$name: $(verified mismatches) mismatches"
}

for name in step fade outage wifi lte wan lossy cross-traffic server-load nic-100g; do
	grep -q '^time = virtual' "$here/../../conf/lab/$name.ini" || fail "no scenario $name in virtual time"
done
for ini in "$here"/../../conf/lab/*.ini; do
	grep -q '^time = virtual' "$ini" || continue
	run "$(basename "$ini" .ini)" -c "$ini"
done
traces=${KERF_TEST_DATA:-../shared}/traces
for name in zhuge-office-wifi_0 mahimahi-ATT-LTE-driving-2016-up mmwave-uplink-walk-lateral-run1; do
	[ -f "$traces/$name.csv" ] || continue
	run "$name" -c "$here/../../conf/lab/step.ini" -s "link.up.trace=$traces/$name.csv"
done
