# Pictures that travel as the files they come from: decoded by the server to the very pixels that the device has.
. "$(dirname "$0")/common.sh"

mkdir "$work/pictures"
# 16 x 16 pixels, and the same behind a comment of 20000 bytes.
base64 -d >"$work/pictures/a.jpg" <<'END'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4x9
lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAAQABAD
ASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABAX/xAAXEAADAQAAAAAAAAAAAAAAAAAAAwRh/8QAFQEBAQAAAAAAAAAAAAAAAAAAAAL/xAAX
EQADAQAAAAAAAAAAAAAAAAAAAwQx/9oADAMBAAIRAxEAPwCKmTCgmTB6ZMHpkwplAirw/9k=
END
{ printf '\377\330\377\376\116\042'; head -c 20000 /dev/zero; tail -c +3 "$work/pictures/a.jpg"; } >"$work/pictures/b.jpg"
{ printf 'P6\n16 16\n255\n'; head -c 768 /dev/zero; } >"$work/pictures/c.ppm"

run() {
	name=$1
	shift
	timeout 120 $lab -s input.path="$work/pictures" "$@" --json "$work/out.json" --frames "$work/$name.csv" \
		>"$work/$name.log" 2>&1 || fail "$name ended with $?: $(tail -n 1 "$work/$name.log")"
	expect "$name: lost" "$(number lost)" -eq 0
	expect "$name: mismatches" "$(verified mismatches)" -eq 0
}
# Frames of a picture (0 to 2) that went with a codec.
used() { awk -F, -v p="$2" -v c="$3" 'NR > 1 && $1 % 3 == p && $4 == c' "$work/$1.csv" | wc -l; }

# The plan takes it where it is the smallest; the third picture has none.
run chosen -s link.up.rate=20M -s device.frames=90
expect "a.jpg as jpeg" "$(used chosen 0 jpeg)" -gt 20
expect "b.jpg as jpeg" "$(used chosen 1 jpeg)" -gt 20
expect "c.ppm as jpeg" "$(used chosen 2 jpeg)" -eq 0
awk -F, 'NR > 30 && $1 % 3 == 1 && $4 == "jpeg" && ($5 < 20305 || $5 > 25000)' "$work/chosen.csv" | grep -q . &&
	fail "b.jpg did not travel as it is"
# Decoding takes time by a file's size: at 200 ns a byte b.jpg is slower than its pixels, a.jpg is not.
run sizes -s input.jpeg_decode=2060us -s link.up.rate=1G -s device.frames=90
expect "small files as jpeg" "$(used sizes 0 jpeg)" -gt 20
expect "large files as jpeg" "$(used sizes 1 jpeg)" -lt 5
run never -s policy.codecs=f32 -s link.up.rate=20M -s device.frames=30
expect "jpeg that was not allowed" "$(grep -c jpeg "$work/never.csv")" -eq 0

# Really decoded by FFmpeg and really computed.
run real -s lab.time=real -s lab.analytic=no -s policy.mode=offload -s policy.codec=jpeg -s policy.hedge_factor=100 \
	-s link.up.rate=100M -s device.frames=21 -s device.fps=0
expect "frames as jpeg" "$(grep -c ',jpeg,' "$work/real.csv")" -eq 14
expect verified "$(verified frames)" -ge 12

timeout 60 $lab -s policy.mode=offload -s policy.codec=jpeg >"$work/out.log" 2>"$work/refuse.log"
[ $? -eq 2 ] || fail "jpeg from a source that has none is not refused with 2"
[ "$(wc -l <"$work/refuse.log")" -eq 1 ] || fail "not one line: $(cat "$work/refuse.log")"
