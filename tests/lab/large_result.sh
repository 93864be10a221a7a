# A network that answers with a picture, as segmentation does: the time that the result takes to come down is learnt and
# foreseen.
. "$(dirname "$0")/common.sh"

# ONNX with two nodes, x [1,3,160,160] -> Relu -> Sigmoid -> y: a field is a tag, a length and bytes.
perl -e '
	sub field { my ($n, $bytes) = @_; return pack("Cw/a*", $n << 3 | 2, $bytes) if length $bytes < 128;
		my $l = length $bytes; return pack("C", $n << 3 | 2) . chr($l & 127 | 128) . chr($l >> 7) . $bytes; }
	sub number { my ($n, $v) = @_; return $v < 128 ? pack("CC", $n << 3, $v) : pack("CCC", $n << 3, $v & 127 | 128, $v >> 7); }
	sub value { my $name = shift; my $dims = join "", map { field(1, number(1, $_)) } 1, 3, 160, 160;
		return field(1, $name) . field(2, field(1, number(1, 1) . field(2, $dims))); }
	sub node { my ($op, $in, $out) = @_; return field(1, field(1, $in) . field(2, $out) . field(4, $op)); }
	my $graph = node("Relu", "x", "m") . node("Sigmoid", "m", "y") . field(2, "g") . field(11, value("x")) . field(12, value("y"));
	binmode STDOUT;
	print number(1, 8) . field(7, $graph) . field(8, number(2, 13));' >"$work/picture.onnx"

timeout 120 $lab $settings -s model.file="$work/picture.onnx" -s policy.mode=offload -s policy.hedge_factor=100 \
	-s link.up.rate=200M -s link.down.rate=100M -s device.frames=60 -s device.fps=10 \
	--json "$work/out.json" --frames "$work/frames.csv" >"$work/log" 2>&1 || fail "ended with $?: $(tail -n 1 "$work/log")"
expect lost "$(number lost)" -eq 0
expect mismatches "$(verified mismatches)" -eq 0
expect verified "$(verified frames)" -ge 55
# 307 KB at 100 Mbit/s take 25 ms and more, which the last frame's prediction has in it.
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
	END { p = $at["pred_ms"]; t = $at["latency_ms"]; exit !(t > 25 && p < 1.1 * t && t < 1.1 * p) }' "$work/frames.csv" ||
	fail "the last frame's prediction: $(tail -n 1 "$work/frames.csv")"
