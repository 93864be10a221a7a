# Real networks: the recorded tensors, and the top classes of real photos, whole and split.
. "$(dirname "$0")/common.sh"
compare=$3 top5=$4

if ! test -d "$data/models/images"; then
	echo "SKIP no networks and photos in $data/models"
	exit 77
fi

# check FILE LABELS CUT OPTIONS...
check()
{
	file=$1 labels=$2 cut=$3
	shift 3
	model=$data/models/models/$file.onnx
	kerf-model run "$model" -i "$data/models/expected/$file.kitten.input.f32" -o out.npy \
		> /dev/null
	echo "$file: tensor"
	"$compare" out.npy "$data/models/expected/$file.kitten.output.f32" 1e-4
	kerf-model run "$model" -i "$data/models/images" --resize crop:0.9 --cut "$cut" \
		--labels "$data/models/$labels" "$@" > top.txt 2> warn.txt
	test ! -s warn.txt || fail "$(cat warn.txt)"
	says top.txt "outputs identical to the unsplit run"
	"$top5" "$data/models/expected/top5.json" "$file.onnx" < top.txt
}

for net in mobilenet_v1_0.25_128 mobilenet_v1_0.5_160 mobilenet_v1_0.75_192 mobilenet_v2_1.0_224; do
	check ${net}_imagenet labels_1001_background_first.txt 11 --mean 127.5 --std 127.5
done
check squeezenet1.1_imagenet_fp32 labels_1000.txt 5 --channels bgr --mean 104,117,123 --std 1
