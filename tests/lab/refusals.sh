# Bad link settings: one line and exit 2.
. "$(dirname "$0")/common.sh"

refuse() {
	timeout 60 $lab "$@" >"$work/out.log" 2>"$work/refuse.log"
	[ $? -eq 2 ] || fail "$*: not refused with 2"
	[ "$(wc -l <"$work/refuse.log")" -eq 1 ] || fail "$*: not one line"
	grep -q 'link.up.* rate' "$work/refuse.log" || fail "$*: does not name the link"
}
refuse -s link.up.rate=fast
refuse -s link.up.rate=-5M
refuse -s link.up.rate=500G
refuse -s link.up.rate=
refuse -s "link.up.rate=5s:5M"
refuse -s "link.up.rate=0s:5M 3s:2M 2s:1M"
