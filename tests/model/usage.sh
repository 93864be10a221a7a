# kerf-model: wrong usage gives 2, what cannot be done gives 1, each with one line that says what.
. "$(dirname "$0")/common.sh"

# refuses CODE TEXT ARGUMENTS...: exit code, exactly one line, and the text in it.
refuses()
{
	code=$1 text=$2
	shift 2
	got=0
	kerf-model "$@" > out.txt 2> err.txt || got=$?
	test $got = "$code" || { cat err.txt; fail "kerf-model $*: exit $got, $code expected"; }
	says err.txt "$text"
	test "$(wc -l < err.txt)" = 1 || { cat err.txt; fail "kerf-model $*: not one line"; }
}

for command in make inspect run profile; do
	kerf-model $command --help > help.txt 2>&1 || fail "$command --help"
	says help.txt "usage: kerf-model $command"
	refuses 2 "unrecognized option" $command --frobnicate
done
kerf-model --help > help.txt || fail "--help"
kerf-model --version | grep -q '^kerf-model [0-9]' || fail "--version"
kerf-model > out.txt 2>&1 && fail "no command"
refuses 2 "make, inspect, run, profile or calibrate expected" frobnicate

make_picture a.ppm 3
echo "this is text" > text.png
mkdir empty
kerf-model make squeezenet-1.1 -o s.onnx > /dev/null
head -c 100000 s.onnx > short.onnx
head -c 5000 /dev/zero | tr '\0' '\377' > noise.onnx

refuses 2 "efficientnet-b0" make
refuses 2 "squeezenet-1.1" make resnet-51 -o x.onnx
refuses 2 "-o FILE is missing" make resnet-50
refuses 2 "--batch 0: a whole number from 1" make resnet-50 -o x.onnx --batch 0
refuses 2 "--seed -1" make resnet-50 -o x.onnx --seed -1
refuses 2 "one NAME expected" make resnet-50 vgg-16 -o x.onnx
refuses 1 "nowhere/x.onnx: cannot write: No such file" make squeezenet-1.1 -o nowhere/x.onnx
refuses 1 "empty: is a directory" make squeezenet-1.1 -o empty
refuses 1 "/dev/null: is a device" make squeezenet-1.1 -o /dev/null
test -c /dev/null || fail "/dev/null was replaced"
test ! -e x.onnx || fail "a refused make left a file"

refuses 2 "one model expected, 0 given" inspect
refuses 2 "exclude each other" inspect s.onnx --block --all
refuses 2 "--rounds 0" inspect s.onnx --rounds 0
refuses 1 "missing.onnx" inspect missing.onnx
refuses 1 "dimension 2 is 224 in the file, 192 was asked for" inspect s.onnx --input-shape 1,3,192,192
refuses 1 "input shape 1,3,x" inspect s.onnx --input-shape 1,3,x
refuses 1 "--input-shape is for files" profile resnet-18 -o p.json --input-shape 1,3,224,224
refuses 1 "known network (mobilenet-v1" inspect resnet51
refuses 1 "short.onnx" inspect short.onnx
refuses 1 "noise.onnx" inspect noise.onnx
refuses 1 "empty" inspect ./empty
refuses 2 "-o FILE is missing" profile s.onnx
refuses 1 "cannot write" profile s.onnx -o nowhere/p.json --rounds 1

refuses 2 "-i INPUT is missing" run s.onnx
refuses 2 "--cut x" run s.onnx -i a.ppm --cut x
refuses 2 "--codec q9: unknown, one of f32, u8, bf16, q8, q4 expected" run s.onnx -i a.ppm --cut 1 --codec q9
refuses 2 "--codec needs --cut" run s.onnx -i a.ppm --codec u8
refuses 2 "--std 1,0,1: positive" run s.onnx -i a.ppm --std 1,0,1
refuses 2 "--mean 1,,2" run s.onnx -i a.ppm --mean 1,,2
refuses 2 "--mean nan" run s.onnx -i a.ppm --mean nan
refuses 2 "--resize crop:1.5" run s.onnx -i a.ppm --resize crop:1.5
refuses 2 "--resize zoom" run s.onnx -i a.ppm --resize zoom
refuses 2 "--channels yuv" run s.onnx -i a.ppm --channels yuv
refuses 2 "--top 0" run s.onnx -i a.ppm --top 0
refuses 2 "--threads 0" run s.onnx -i a.ppm --threads 0
refuses 1 "--mean has 2 numbers, 1 or 3 expected" run s.onnx -i a.ppm --mean 1,2

last=$(kerf-model inspect s.onnx --rounds 1 | sed -n 's/^ *\([0-9]*\)  (all local).*/\1/p')
refuses 1 "--cut 9999 is out of range, 0 to $last expected" run s.onnx -i a.ppm --cut 9999
refuses 1 "out of range" run s.onnx -i a.ppm --cut 18446744073709551615
refuses 1 "--codec u8 sends pixels" run s.onnx -i a.ppm --cut 1 --codec u8
refuses 1 "missing.png" run s.onnx -i missing.png
refuses 1 "text.png" run s.onnx -i text.png
refuses 1 "empty" run s.onnx -i empty
refuses 1 "no-labels.txt" run s.onnx -i a.ppm --labels no-labels.txt
refuses 1 "cannot write" run s.onnx -i a.ppm -o nowhere/o.npy

kerf-model run s.onnx -i a.ppm -o out.npy > /dev/null
refuses 1 "out.npy" run s.onnx -i out.npy
head -c $((4 * 3 * 224 * 224)) /dev/zero > zero.f32
head -c 1000 zero.f32 > short.f32
refuses 1 "short.f32" run s.onnx -i short.f32
refuses 1 "has values" run s.onnx -i zero.f32 --cut 0 --codec u8

# Labels of another network: a warning, and it still runs.
seq 1 7 > labels.txt
kerf-model run s.onnx -i a.ppm --labels labels.txt > out.txt 2> err.txt || fail "few labels"
says err.txt "labels.txt has 7 lines, the network 1000 classes"

# A full disk is no success, and nothing half-written stays.
if test -c /dev/full; then
	kerf-model inspect s.onnx --rounds 1 > /dev/full 2> err.txt && fail "/dev/full"
	says err.txt "cannot write to standard output"
fi

# Ended in the middle: its unfinished file goes with it.
kerf-model profile s.onnx --rounds 10000 -o long.json > /dev/null 2>&1 &
n=0
until ls | grep -q '^long.*\.tmp$'; do
	n=$((n + 1))
	test $n -lt 300 || fail "profile does not begin"
	sleep 0.1
done
kill -TERM $!
wait $! && fail "SIGTERM is no success"
test "$(ls | grep -c '\.tmp$')" = 0 || fail "temporary files are left"
exit 0
refuses 2 "--images DIR is missing" calibrate s.onnx -o d.json
refuses 2 "-o FILE is missing" calibrate s.onnx --images .
refuses 2 "--resize bend" calibrate s.onnx --images . -o d.json --resize bend
