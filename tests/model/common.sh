# What the scripts here share: . common.sh PROGRAMS WORK
set -eu
PATH=$1:$PATH
work=$2
data=${KERF_TEST_DATA:-../shared}
case $data in /*) ;; *) data=$PWD/$data ;; esac
rm -rf "$work"
mkdir -p "$work"
cd "$work"

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

# says FILE TEXT: the text (fixed, part of a line) is in the file.
says()
{
	grep -qF -e "$2" "$1" || { cat "$1" >&2; fail "\"$2\" is not in $1"; }
}

# A picture that FFmpeg reads: 96x64, a pattern that depends on the number $2.
make_picture()
{
	awk -v k="$2" 'BEGIN {
		print "P3 96 64 255"
		for (i = 0; i < 96 * 64; i++)
			print int(i * k) % 256, int(i * i * k / 7) % 256, int(i / 96) * 4 % 256
	}' > "$1"
}
