# What codecs cost in accuracy: measured, written, and obeyed by nobody for another network.
. "$(dirname "$0")/common.sh"

kerf-model make squeezenet-1.1 -o s.onnx
mkdir pictures
for i in 1 2 3; do
	make_picture pictures/a$i.ppm $((3 * i + 4))
done
kerf-model calibrate s.onnx --images pictures -o c.json > out.txt || fail "calibrate ended with $?"
says out.txt '3 pictures'
says c.json '"images": 3'
# One line a cut and codec that loses something; bf16 is the most exact and q4 the least, on average.
for codec in bf16 q8 q4; do
	test "$(grep -c " $codec  *[01]\.[0-9]*  *[0-9.e+-]*$" out.txt)" -ge 10 || fail "too few lines for $codec"
done
grep -q ' f32 \| u8 ' out.txt && fail "codecs without loss were measured"
awk '$(NF - 2) == "bf16" { b += $NF; n++ } $(NF - 2) == "q4" { q += $NF }
	END { exit !(n && b < q / 4 && q / n < 2) }' out.txt || fail "errors are out of any sense"

# Through kerf-model run the same loss shows, and nothing calls it a defect.
for codec in bf16 q8 q4; do
	kerf-model run s.onnx -i pictures/a1.ppm --cut 3 --codec $codec > run.txt || fail "run with $codec: $?"
	says run.txt "codec $codec"
done

# int8: what it costs and gains is measured, and the file is what a run in int8 needs.
kerf-model calibrate s.onnx --images pictures --precision int8 -o i.json > int8.txt || fail "calibrate --precision int8: $?"
grep -q '^int8: agreement [01]\.[0-9]*, error [0-9.e+-]*, [0-9.]* times as fast as f32$' int8.txt || fail "nothing of int8"
says i.json '"precision": "int8"'
test "$(grep -c '"tensor"' i.json)" -ge 30 || fail "too few ranges"
grep -q '"tensor"' c.json && fail "ranges where nobody needs them"
kerf-model run s.onnx -i pictures/a1.ppm --precision int8 --calibration i.json > run8.txt || fail "run in int8: $?"
cmp -s run.txt run8.txt && fail "int8 and f32 gave the same"
kerf-model run s.onnx -i pictures/a1.ppm --precision int8 --calibration i.json --cut 0 > run.txt || fail "cut in int8: $?"
says run.txt "identical to the unsplit run"
kerf-model inspect s.onnx --precision int8 --calibration i.json --rounds 1 > inspect.txt || fail "inspect in int8: $?"
says inspect.txt "in int8"
kerf-model profile s.onnx --precision int8 --calibration i.json --rounds 1 -o p8.json > out.txt || fail "profile in int8: $?"
kerf-model inspect s.onnx --profile p8.json > out.txt 2> err.txt && fail "an int8 profile stood for f32"
says err.txt "p8.json"

# refuses TEXT ARGUMENTS...: a run that must not be.
refuses()
{
	text=$1
	shift
	kerf-model run s.onnx -i pictures/a1.ppm "$@" > out.txt 2> err.txt && fail "kerf-model run $*"
	says err.txt "$text"
	test "$(wc -l < err.txt)" = 1 || fail "kerf-model run $*: not one line"
}
refuses "needs a calibration" --precision int8
refuses "needs a calibration" --precision int8 --calibration c.json
refuses "made for precision f32" --precision bf16 --calibration c.json
refuses "made for precision int8" --calibration i.json
refuses "int16" --precision int16
sed 's/"lo": -*[0-9.e+-]*/"lo": 1e39/' i.json > bad.json
refuses "ranges[0]" --precision int8 --calibration bad.json
sed 's/"tensor": "[^"]*"/"tensor": "nobody"/' i.json > bad.json
refuses "tensor nobody" --precision int8 --calibration bad.json
sed 's/"precision": "int8"/"precision": "int4"/' i.json > bad.json
refuses "int4" --precision int8 --calibration bad.json

sed 's/"precision": "int8"/"precision": 8/' i.json > bad.json
refuses "of another type" --precision int8 --calibration bad.json

kerf-model calibrate s.onnx --images none -o d.json 2> err.txt && fail "no pictures, but done"
says err.txt none
test ! -e d.json || fail "a file of a run that failed"
