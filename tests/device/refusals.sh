# Bad input: one clear line and an exit code.
. "$(dirname "$0")/common.sh"

# refuse CODE PATTERN command...: one line on stderr that matches.
refuse() {
	code=$1
	pattern=$2
	shift 2
	timeout 60 "$@" >"$work/out.log" 2>"$work/refuse.log"
	got=$?
	[ $got -eq "$code" ] || fail "$*: exit $got, expected $code"
	lines=$(grep -vc '^$' "$work/refuse.log")
	[ "$lines" -eq 1 ] || fail "$*: $lines lines on stderr, expected one"
	grep -q -- "$pattern" "$work/refuse.log" || fail "$*: does not say '$pattern'"
}

ini=$work/bad.ini
device="$bin/kerf-device -c $ini"
printf '[device]\nframes = 10\nfpz = 3\n' >$ini
refuse 2 'bad.ini:3.*fpz' $device
printf '[device]\nfps = many\n' >$ini
refuse 2 'bad.ini:2.*fps.*many' $device
printf '[devise]\nfps = 1\n' >$ini
refuse 2 'devise' $device
: >$ini
refuse 2 'policy.mode' $device -s policy.mode=clever
refuse 2 'nonsense' $device -s nonsense
refuse 2 'unknown option' $device --jsn x
refuse 2 'value missing' $bin/kerf-device -c
refuse 2 'unexpected argument' $device more
refuse 1 'nofile.ini' $bin/kerf-device -c $work/nofile.ini
refuse 1 'nofile.onnx' $device -s model.file=$work/nofile.onnx
refuse 1 'no-such.png' $device $settings -s input.path=$work/no-such.png
refuse 2 '9999\|cut' $device $settings -s policy.mode=fixed -s policy.cut=999 -s port.socket=$socket -s port.huge=no
refuse 2 'port.*warp' $device $settings -s port.kind=warp -s port.huge=no
refuse 1 'nosuchif' $device $settings -s port.kind=af_packet -s port.iface=nosuchif0 -s port.huge=no
refuse 2 'device.cpu' $device $settings -s device.cpu=4095 -s port.socket=$socket
refuse 1 'mkdir -p' $device $settings -s port.socket=$work/none/x.sock -s port.huge=no
if [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)" -lt 128 ]; then
	refuse 1 'vm.nr_hugepages' $device $settings -s port.huge=yes
fi
head -c 100000 /dev/urandom >$work/noise.onnx
refuse 1 'noise.onnx' $device -s model.file=$work/noise.onnx

refuse 2 'needs a calibration' $device $settings -s model.precision=int8

# The same model in another precision at the server.
start_server -s model.precision=bf16
run_device -s device.frames=5
[ $? -eq 1 ] || fail "another precision must end with 1"
grep -q "model mismatch.*in bf16" "$work/device.log" || fail "the refusal does not name the precision"
kill $server_pid
wait $server_pid

# Another model at the server: refused by name.
start_server -s model.file=mobilenet-v2
run_device -s device.frames=5
[ $? -eq 1 ] || fail "a model mismatch must end with 1"
grep -q "model mismatch.*mobilenet-v2" "$work/device.log" || fail "the refusal does not name the model"
