# The same photo, unsplit and split at every cut, with the wire codec in between: equal to the bit.
. "$(dirname "$0")/common.sh"

model=$data/models/models/mobilenet_v2_1.0_224_imagenet.onnx
photo=$data/models/images/kitten_224.png
if [ ! -f "$model" ] || [ ! -f "$photo" ]; then
	echo "no real network and photo in $data: a known architecture and a pattern instead"
	model=$work/model.onnx
	photo=$work/photo.ppm
	kerf-model make squeezenet-1.1 -o "$model"
	make_picture "$photo" 3
fi
cuts=$(kerf-model inspect "$model" --json --all --rounds 1 | sed -n 's/^ *"cut": \([0-9]*\),*$/\1/p')
[ "$(echo "$cuts" | wc -l)" -gt 20 ] || fail "only $(echo "$cuts" | wc -l) cuts"
for cut in $cuts; do
	kerf-model run "$model" -i "$photo" --mean 127.5 --std 127.5 --cut "$cut" --top 1 >out.txt 2>err.txt || {
		# Cuts that too many tensors cross are refused by name.
		says err.txt "tensors"
		continue
	}
	says out.txt "identical to the unsplit run"
	done=${done:-0}
	done=$((done + 1))
done
echo "$done cuts"
[ "$done" -gt 20 ] || fail "only $done cuts were run"
