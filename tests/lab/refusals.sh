# Bad settings: one line and exit 2.
. "$(dirname "$0")/common.sh"

refuse() {
	timeout 60 $lab "$@" >"$work/out.log" 2>"$work/refuse.log"
	[ $? -eq 2 ] || fail "$*: not refused with 2"
	[ "$(wc -l <"$work/refuse.log")" -eq 1 ] || fail "$*: not one line"
	grep -q "$pattern" "$work/refuse.log" || fail "$*: does not say '$pattern'"
}
pattern='link.up.rate'
refuse -s link.up.rate=fast
refuse -s link.up.rate=-5M
refuse -s link.up.rate=500G
refuse -s link.up.rate=
refuse -s "link.up.rate=5s:5M"
refuse -s "link.up.rate=0s:5M 3s:2M 2s:1M"
pattern='device.slowdown'
refuse -s device.slowdown=0.5
pattern='input.mean'
refuse -s input.mean=1,2
refuse -s input.mean=1e300
refuse -s input.std=1e-45
pattern='cut 0 only'
refuse -s policy.mode=fixed -s policy.cut=42 -s policy.codec=u8
refuse -s policy.mode=fixed -s policy.cut=1000
