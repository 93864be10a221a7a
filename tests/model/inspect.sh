# kerf-model inspect: bottlenecks, sizes, and the JSON that says the same.
. "$(dirname "$0")/common.sh"

# Bakhtiarnia et al. 2022, EfficientNet V1-B0: 15 natural bottlenecks, useful after these blocks.
kerf-model inspect efficientnet-b0 --block --rounds 1 > block.txt
says block.txt "15 natural bottlenecks, useful after blocks 1, 3, 5, 11"
for ratio in 0.5000 0.2083 0.1042 0.0625; do
	grep -q " $ratio .*natural, useful$" block.txt || fail "no useful cut of ratio $ratio"
done
test "$(grep -c '^ *[0-9]* *block[0-9]*/' block.txt)" = 16 || fail "not 16 blocks"

# Sizes: cut 0 of 224x224x3 has 150528 values; u8 there and nowhere else; all local sends nothing.
kerf-model inspect efficientnet-b0 --rounds 1 > all.txt
grep -q '^ *0  (input) .* 1x224x224x3 .* 602\.1  *150\.5  *301\.1  *159\.9  *84\.7 ' all.txt || fail "sizes of cut 0"
grep -q '(all local)  *0  -  *0\.0000  *-  *-  .* 0\.000$' all.txt || fail "last cut"

# More cuts with --all: one per node and one more.
nodes=$(sed -n 's/.*, \([0-9]*\) nodes$/\1/p' all.txt)
rows=$(kerf-model inspect efficientnet-b0 --rounds 1 --all | grep -c '^ *[0-9]*  .*\.')
test "$rows" = $((nodes + 1)) || fail "$rows cuts of $nodes nodes"

# Times: the head grows, the tail shrinks, their sum is the whole.
awk '/natural bottlenecks/ { exit }
	$1 ~ /^[0-9]+$/ && NR > 2 {
		for (i = NF; $i !~ /^[0-9.]+$/; i--)
			;
		head = $(i - 1); tail = $i
		if (($1 == 0) != ($(i - 5) != "-"))
			exit bad = 1
		if (head < before || head + tail < whole - .003 || (whole && head + tail > whole + .003))
			exit bad = 1
		before = head; whole = head + tail; rows++
	}
	END { exit bad || rows < 20 }' all.txt || fail "u8 behind cut 0, or times do not add up"

kerf-model inspect efficientnet-b0 --block --json --rounds 1 > block.json
says block.json '"natural": 15'
says block.json '"f32": 37632'
test "$(grep -c '"useful": true' block.json)" = 4 || fail "useful cuts in JSON"
test "$(grep -c '"block": "block' block.json)" = 16 || fail "blocks in JSON"
kerf-model inspect efficientnet-b0 --json --rounds 1 > all.json
says all.json '"u8": 150528'
test "$(grep -c '"u8":' all.json)" = 1 || fail "u8 at more than one cut in JSON"

# A loaded network takes little beside its weights (with AVX2, which most have): of those it uses, and of those in its
# file, which Winograd's replace by larger ones. Sanitizers take much.
if ! grep -qF __asan_init "$(command -v kerf-model)"; then
	for network in mobilenet-v3-small squeezenet-1.1 densenet-121 resnet-18; do
		kerf-model make "$network" -o network.onnx
		ONEDNN_MAX_CPU_ISA=AVX2 kerf-model inspect network.onnx --json --rounds 1 > memory.json
		awk -v network=$network -v in_file="$(stat -c %s network.onnx)" '/"weight_bytes"/ { used = $2 + 0 }
			/"resident_bytes"/ { all = $2 + 0 } /"program_bytes"/ { program = $2 + 0 }
			END { taken = all - program; small = network ~ /squeezenet/
				exit !(used && taken > used && taken <= 1.3 * used && (small || taken <= 1.3 * in_file)) }' memory.json ||
			fail "$network: $(grep _bytes memory.json | tr -d '\n')"
	done
	rm -f network.onnx
fi

if command -v gnuplot >/dev/null; then
	kerf-model inspect efficientnet-b0 --block --rounds 1 --plot "it's.svg" >/dev/null || fail "--plot ended with $?"
	grep -q '</svg>' "it's.svg" || fail "no picture"
	for word in f32 q8 'natural bottleneck' useful head tail; do
		grep -q "$word" "it's.svg" || fail "$word is not in the picture"
	done
fi
kerf-model inspect squeezenet-1.1 --rounds 1 --plot none/x.svg >/dev/null 2>err.txt && fail "a picture in no directory"
test "$(wc -l <err.txt)" = 1 || fail "not one line: $(cat err.txt)"

# What takes over a second says so on a terminal, and there only; nothing of it is left.
if command -v script > /dev/null; then
	script -qec "kerf-model inspect vgg-16 --rounds 3" tty.txt > /dev/null || fail "inspect on a terminal"
	says tty.txt "the network ..."
fi
kerf-model inspect squeezenet-1.1 --rounds 200 > out.txt 2> err.txt || fail "inspect with many rounds"
test -s err.txt && fail "progress without a terminal"
exit 0
