# Sourced by the scripts of this folder: $1 is the directory of the programs, $2 one to work in.
set -u
bin=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"
mkdir -p "$work"
socket=$work/memif.sock
# A small network, so that frames are quick even with sanitizers.
settings="-s model.file=squeezenet-1.1 -s model.rounds=3"
server_pid=
cleanup=

finish() {
	# Its huge pages are free when it is gone.
	[ -n "$server_pid" ] && kill -9 "$server_pid" 2>/dev/null && wait "$server_pid" 2>/dev/null
	[ -n "$cleanup" ] && $cleanup
}
trap finish EXIT

fail() {
	echo "FAILED: $*"
	for f in "$work"/*.log; do
		[ -s "$f" ] && echo "--- $f" && tail -n 30 "$f"
	done
	exit 1
}

skip() {
	echo "SKIP $*"
	exit 77
}

# start_server [settings...]: in the background, until it says that it is ready.
start_server() {
	$server_prefix "$bin/kerf-server" -c "$here/../../conf/server.ini" $settings $port "$@" \
		>"$work/server.log" 2>&1 &
	server_pid=$!
	n=0
	until grep -qs ready "$work/server.log"; do
		kill -0 $server_pid 2>/dev/null || fail "the server ended at its start"
		n=$((n + 1))
		[ $n -lt 600 ] || fail "the server is not ready after 60 s"
		sleep 0.1
	done
}

# run_device [settings...]: in the foreground; results in $work/out.json.
run_device() {
	$device_prefix timeout 120 "$bin/kerf-device" -c "$here/../../conf/device.ini" --json "$work/out.json" \
		--frames "$work/out.csv" $settings $port "$@" >"$work/device.log" 2>&1
}

# Until a device in the background has a session.
wait_for_session() {
	n=0
	until grep -qs "server is there" "$work/device.log"; do
		n=$((n + 1))
		[ $n -lt 300 ] || fail "no session"
		sleep 0.1
	done
}

# Value of a number in the JSON: number completed
number() {
	sed -n "s/^ \"$1\": \([0-9]*\),*$/\1/p" "$work/out.json" | head -n 1
}

# Value inside "verified".
verified() {
	sed -n '/"verified"/,/}/s/^ *"'"$1"'": \([0-9]*\),*$/\1/p' "$work/out.json"
}

expect() {
	[ "$2" "$3" "$4" ] || fail "$1: $2 $3 $4 is not so"
}

server_prefix=
device_prefix=
port="-s port.kind=memif -s port.socket=$socket -s port.huge=no"
