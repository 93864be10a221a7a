# Sourced by apps/quickstart and tests/run: the packages that kerf needs, and the build.

BUILD_PACKAGES=(gcc g++ make cmake pkg-config dpdk-dev libdnnl-dev libnuma-dev libcunit1-dev
	libprotobuf-c-dev protobuf-c-compiler libonnx-dev libavformat-dev libavcodec-dev libavutil-dev
	libswscale-dev libjansson-dev libxxhash-dev)
VIDEO_PACKAGES=(python3-imageio)
TEST_PACKAGES=(iproute2 iputils-ping gnuplot-nox libonnx-testdata)

# Installs those of the given packages that are missing, with apt-get and nothing else.
install_packages() {
	local missing=() package sudo=

	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
			missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] && return
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || {
			echo "missing packages: ${missing[*]}; install them as root" >&2
			exit 1
		}
		sudo=sudo
	fi
	echo "installing with apt-get: ${missing[*]}"
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		"${missing[@]}" >/dev/null
}

# build DIR [cmake options...]: says nothing but what is wrong.
build() {
	local dir=$1

	shift
	echo "building in $dir/"
	mkdir -p "$dir"
	{ cmake -S . -B "$dir" "$@" && cmake --build "$dir" -j"$(nproc)"; } >"$dir/build.log" 2>&1 || {
		tail -n 40 "$dir/build.log" >&2
		exit 1
	}
}
