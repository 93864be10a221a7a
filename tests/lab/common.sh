# Sourced by the scripts of this folder.
. "$(dirname "$0")/../device/common.sh"
lab="$bin/kerf-lab -c $here/../../conf/lab/step.ini"
