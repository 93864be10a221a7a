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

kerf-model calibrate s.onnx --images none -o d.json 2> err.txt && fail "no pictures, but done"
says err.txt none
test ! -e d.json || fail "a file of a run that failed"
