# Bad settings, ports and traces: one line and exit 2.
. "$(dirname "$0")/../device/common.sh"

eal="--no-huge -m256 --no-shconf --vdev=net_null0 --vdev=net_null1"
refuse() {
	timeout 60 "$bin/kerf-linkem" $eal -- "$@" >"$work/out.log" 2>"$work/refuse.log"
	[ $? -eq 2 ] || fail "$*: not refused with 2"
	[ "$(wc -l <"$work/refuse.log")" -eq 1 ] || fail "$*: not one line"
	grep -q -e "$pattern" "$work/refuse.log" || fail "$*: does not say '$pattern'"
}
ini="-c $here/../../conf/links/lte.ini"
pattern=--ports
refuse $ini
refuse $ini --ports 0
refuse $ini --ports 0,0
refuse $ini --ports 0,1,2
pattern='port 7'
refuse $ini --ports 0,7
pattern='link.up.rate'
refuse $ini --ports 0,1 -s link.up.rate=500G
pattern='no option of this program'
refuse $ini --ports 0,1 --frames x
pattern='not a time'
refuse $ini --ports 0,1 -t soon
# Traces that are no traces; the file and mostly the line are named.
trace() {
	printf "$1" >"$work/trace.csv"
	pattern=$2
	refuse $ini --ports 0,1 -s link.up.trace="$work/trace.csv"
}
trace '' 'trace.csv'
trace '# nothing\n' 'trace.csv'
trace '0,5\n9,5\n3,5\n' 'trace.csv:3'
trace '0,-5\n9,5\n' 'trace.csv:1'
trace '0,5000000000000\n9,5\n' 'trace.csv:1'
trace '0,99999999999999999999\n9,5\n' 'trace.csv:1'
trace '99999999999999999999,5\n' 'trace.csv:1'
trace '0,5\n' 'trace.csv'
trace '5\n3\n' 'trace.csv:2'
trace '0\n' 'trace.csv'
trace '0,5\n9' 'trace.csv:2'

# CR LF is taken; rates of 0 and 400 Gbit/s and a queue smaller than a packet are links like others.
run() {
	timeout 60 "$bin/kerf-linkem" $eal -- $ini --ports 0,1 -t 100ms --json "$work/out.json" "$@" \
		>"$work/run.log" 2>&1 || fail "$*: ended with $?"
}
printf 't_us,rate_bps\r\n0,5000000\r\n1000000,0\r\n' >"$work/trace.csv"
run -s link.up.trace="$work/trace.csv"
run -s link.up.rate=0 -s link.down.rate=400G
sent=$(sed -n '/"up"/,/}/s/^ *"delivered": \([0-9]*\),*$/\1/p' "$work/out.json")
expect "packets over a link of rate 0" "$sent" -eq 0
run -s link.up.queue=40
sent=$(sed -n '/"up"/,/}/s/^ *"delivered": \([0-9]*\),*$/\1/p' "$work/out.json")
expect "packets through a queue smaller than they are" "$sent" -eq 0
