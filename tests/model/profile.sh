# kerf-model profile: what it writes, inspect reads; files of other networks are refused.
. "$(dirname "$0")/common.sh"

kerf-model profile squeezenet-1.1 -o p.json --rounds 2 > said.txt
says said.txt "p.json: squeezenet-1.1 on "
says p.json '"model": "squeezenet-1.1"'
kerf-model inspect squeezenet-1.1 --profile p.json | grep -v "^loaded in" > one.txt
kerf-model inspect squeezenet-1.1 --profile p.json | grep -v "^loaded in" > two.txt
cmp one.txt two.txt || fail "recorded times change"
says one.txt "times: recorded on"

# Last cut's head in the file is the whole network in the table.
ns=$(sed -n 's/.*"head_ns": *\([0-9.]*\).*/\1/p' p.json | tail -1)
says one.txt "whole network $(awk -v ns="$ns" 'BEGIN { printf "%.3f", ns / 1e6 }') ms"

# The same name is the same network in the other programs.
kerf-lab -s model.file=squeezenet-1.1 -s model.profile=p.json -s lab.time=virtual \
	-s device.frames=2 > lab.txt 2>&1 || fail "kerf-lab: $(cat lab.txt)"

kerf-model inspect mobilenet-v2 --profile p.json 2> err.txt && fail "another network's profile"
says err.txt "made for another network"
kerf-model inspect squeezenet-1.1 --profile nothing.json 2> err.txt && fail "a missing profile"
head -c 500 p.json > cut.json
kerf-model inspect squeezenet-1.1 --profile cut.json 2> err.txt && fail "a truncated profile"
says err.txt "cut.json:"
sed 's/"ns": *[0-9]/"ns": -1/' p.json > minus.json
kerf-model inspect squeezenet-1.1 --profile minus.json 2> err.txt && fail "negative times"
says err.txt "nodes[0].ns is -1"
exit 0
