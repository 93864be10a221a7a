# kerf-model make and run: the same outputs whole, split, from a file, in a batch.
. "$(dirname "$0")/common.sh"
compare=$3

make_picture a.ppm 3
make_picture b.ppm 5
make_picture c.ppm 11

kerf-model make mobilenet-v2 -o m.onnx > made.txt
says made.txt "m.onnx: mobilenet-v2, batch 1, seed 0"
kerf-model make mobilenet-v2 -o again.onnx > /dev/null
kerf-model make mobilenet-v2 -o other.onnx --seed 7 > /dev/null
cmp m.onnx again.onnx || fail "the same seed gives another file"
cmp -s m.onnx other.onnx && fail "another seed gives the same file"
test "$(ls | grep -c tmp)" = 0 || fail "temporary files are left"

kerf-model run m.onnx -i a.ppm -o whole.npy > whole.txt
says whole.txt "a.ppm: top 5 of 1000 classes, probabilities as the network gives them"
kerf-model run mobilenet-v2 -i a.ppm -o zoo.npy > /dev/null
cmp whole.npy zoo.npy || fail "saved and loaded it computes something else"
kerf-model run other.onnx -i a.ppm -o other.npy > /dev/null
cmp -s whole.npy other.npy && fail "the weights do not matter"
kerf-model run m.onnx -i b.ppm -o b.npy > /dev/null
cmp -s whole.npy b.npy && fail "the picture does not matter"

# Split at a good part of the cuts, the ends included. Bytes are what inspect says.
kerf-model inspect m.onnx --rounds 1 --all > cuts.txt
last=$(sed -n 's/^ *\([0-9]*\)  (all local).*/\1/p' cuts.txt)
for cut in 0 1 2 3 7 11 20 $((last / 2)) $((last - 2)) $((last - 1)); do
	kerf-model run m.onnx -i a.ppm --cut "$cut" -o split.npy > split.txt ||
		fail "cut $cut: $(cat split.txt)"
	says split.txt "outputs identical to the unsplit run"
	cmp whole.npy split.npy || fail "cut $cut writes other outputs"
	bytes=$(sed -n 's/.* \([0-9]*\) bytes sent.*/\1/p' split.txt)
	kb=$(awk -v b="$bytes" 'BEGIN { printf "%.1f", b / 1000 }')
	grep -q "^ *$cut  .* $kb " cuts.txt || fail "cut $cut: $bytes bytes are not in inspect"
done
kerf-model run m.onnx -i a.ppm --cut "$last" > split.txt
says split.txt "all local: 0 bytes sent"
says split.txt "outputs identical to the unsplit run"
kerf-model run m.onnx -i a.ppm --cut 0 --codec u8 > split.txt
says split.txt "150528 bytes sent"
says split.txt "outputs identical to the unsplit run"

# Several tensors cross inside a residual block.
several=$(awk '$3 == 2 { print $1; exit }' cuts.txt)
test -n "$several" || fail "no cut with two tensors"
kerf-model run m.onnx -i a.ppm --cut "$several" > split.txt
says split.txt ": 2 tensors,"
says split.txt "outputs identical to the unsplit run"

# Three pictures in batches of two: the same rows as one at a time.
kerf-model make mobilenet-v2 -o two.onnx --batch 2 > /dev/null
kerf-model run two.onnx -i a.ppm -i b.ppm -i c.ppm --cut 9 -o two.npy > two.txt
says two.txt "outputs identical to the unsplit run"
test "$(grep -c 'top 5 of' two.txt)" = 3 || fail "not three tables"
kerf-model run m.onnx -i a.ppm -i b.ppm -i c.ppm -o one.npy > one.txt
"$compare" two.npy one.npy 1e-4
for f in one two; do
	awk '/top 5 of/ { print $1 } $1 ~ /^[0-9]+$/ { print $1, $2 }' $f.txt > $f.ranks
done
cmp one.ranks two.ranks || fail "tables of a batch"
test "$(sort -u one.ranks | wc -l)" -gt 8 || fail "all pictures have the same classes"

# Raw zeros in are what a mean-coloured picture gives; crop, order of channels and mean matter.
head -c $((4 * 3 * 224 * 224)) /dev/zero > zero.f32
awk 'BEGIN { print "P3 8 8 255"; for (i = 0; i < 64; i++) print 10, 20, 30 }' > flat.ppm
kerf-model run m.onnx -i zero.f32 -o zero.npy > /dev/null
kerf-model run m.onnx -i flat.ppm --mean 10,20,30 --std 2 -o rgb.npy > /dev/null
kerf-model run m.onnx -i flat.ppm --mean 30,20,10 --std 2 --channels bgr -o bgr.npy > /dev/null
cmp zero.npy rgb.npy || fail "--mean is not subtracted"
cmp zero.npy bgr.npy || fail "--channels bgr does not turn the order"
# ImageNet's own mean is red, green, blue: it has to turn with the picture.
kerf-model run m.onnx -i flat.ppm --mean 103.53,116.28,123.675 --std 57.375,57.12,58.395 \
	--channels bgr -o given.npy > /dev/null
kerf-model run m.onnx -i flat.ppm --channels bgr -o preset.npy > /dev/null
cmp given.npy preset.npy || fail "the preset mean is not turned with --channels bgr"
kerf-model run m.onnx -i a.ppm --resize stretch -o stretch.npy > /dev/null
kerf-model run m.onnx -i a.ppm --resize crop:0.875 -o crop.npy > /dev/null
cmp whole.npy crop.npy || fail "crop:0.875 is not the preset"
cmp -s whole.npy stretch.npy && fail "--resize stretch does nothing"

# Labels belong to their classes; --top counts.
seq -f 'name %g' 0 999 > labels.txt
kerf-model run m.onnx -i a.ppm --labels labels.txt --top 3 > top.txt 2> warn.txt
test ! -s warn.txt || fail "a warning for right labels: $(cat warn.txt)"
test "$(awk '/name/ && $2 == $5' top.txt | wc -l)" = 3 || fail "labels: $(cat top.txt)"
