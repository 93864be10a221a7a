# Codecs that lose something: never without being told to, only where calibrated, and then every remote frame equals a
# run here that loses the same.
. "$(dirname "$0")/common.sh"

run() {
	name=$1
	shift
	timeout 120 $lab "$@" --json "$work/out.json" --frames "$work/$name.csv" >"$work/$name.log" 2>&1 ||
		fail "$name ended with $?"
	expect "$name: lost" "$(number lost)" -eq 0
	expect "$name: mismatches" "$(verified mismatches)" -eq 0
}
used() { cut -d, -f4 "$work/$1.csv" | grep -c "^$2\$"; }

run told -s "policy.codecs=f32 u8 bf16 q8 q4" -s policy.min_agreement=0
expect "frames with q4" "$(used told q4)" -gt 100
expect verified "$(verified frames)" -gt 100
for codec in bf16 q8 q4; do
	run $codec -s policy.mode=fixed -s policy.cut=42 -s policy.codec=$codec -s device.frames=40
	expect "frames with $codec" "$(used $codec $codec)" -gt 30
done
# Real tensors through the real engine.
run real $settings -s lab.time=real -s lab.analytic=no -s policy.mode=fixed -s policy.cut=7 -s policy.codec=q8 \
	-s policy.hedge_factor=100 -s link.up.rate=100M -s device.frames=20 -s device.fps=0
expect "frames with q8" "$(used real q8)" -gt 15
expect verified "$(verified frames)" -gt 15
# The plan would never cut there: between two convolutions that write into one concatenation.
run inside $settings -s lab.time=real -s lab.analytic=no -s policy.mode=fixed -s policy.cut=5 \
	-s policy.codec=q8 -s policy.hedge_factor=100 -s link.up.rate=100M -s device.frames=20 -s device.fps=0
expect "frames cut between two parts of a concatenation" "$(used inside q8)" -gt 15
expect verified "$(verified frames)" -gt 15

# A calibration lets through what is good enough: here q8 everywhere, q4 nowhere.
"$bin/kerf-model" make squeezenet-1.1 -o "$work/s.onnx" >/dev/null
mkdir "$work/pictures"
for i in 1 2; do
	printf 'P6\n64 64\n255\n' >"$work/pictures/$i.ppm"
	head -c 12288 /dev/urandom >>"$work/pictures/$i.ppm"
done
"$bin/kerf-model" calibrate "$work/s.onnx" --images "$work/pictures" -o "$work/c.json" >/dev/null ||
	fail "calibrate ended with $?"
awk '/"codec"/ { q4 = /q4/ } /"agreement"/ { sub(/: [0-9.]*/, q4 ? ": 0.5" : ": 1.0") } 1' "$work/c.json" >"$work/d.json"
run calibrated -s model.file="$work/s.onnx" -s model.calibration="$work/d.json" -s "policy.codecs=f32 u8 q8 q4"
expect "frames with q8" "$(used calibrated q8)" -gt 20
expect "frames with q4" "$(used calibrated q4)" -eq 0

refuse() {
	timeout 60 $lab "$@" >"$work/out.log" 2>"$work/refuse.log"
	[ $? -eq 2 ] || fail "$*: not refused with 2"
	grep -q "$pattern" "$work/refuse.log" || fail "$*: does not say '$pattern'"
	[ "$(wc -l <"$work/refuse.log")" -eq 1 ] || fail "$*: not one line"
}
pattern='loses accuracy'
refuse -s "policy.codecs=f32 q8"
pattern='none of f32'
refuse -s "policy.codecs=f32 q9"
pattern='is empty'
refuse -s "policy.codecs="
pattern='made for another network'
refuse -s model.calibration="$work/c.json"
echo '{' >"$work/bad.json"
pattern='bad.json'
refuse -s model.calibration="$work/bad.json"
echo '{"model": "x", "digest": "x", "images": 1}' >"$work/bad.json"
refuse -s model.calibration="$work/bad.json"
