# Lists the images with these base names in each of containerd's namespaces. Arguments:
#   SNAPSHOTTER BASE...

# Lists the images of namespace $1 with one of the base names in $2: the last part
# of their path is the same, ignoring case.
similar_names() {
	ct_in "$1" images ls -q </dev/null 2>/dev/null | awk -v bases=" $2 " '{
		base = tolower($0)
		sub(/@.*/, "", base); sub(/.*\//, "", base); sub(/:.*/, "", base)
		if (index(bases, " " base " ")) print
	}'
}
# Lists the images of a namespace that match these filters.
list_images() {
	namespace=$1
	shift
	[ $# = 0 ] || ct_in "$namespace" images ls "$@" </dev/null 2>/dev/null | awk -v nonce="$nonce" -v namespace="$namespace" '
		NR > 1 && match($0, / sha256:[0-9a-f]+ /) {
			platforms = "-"
			for (i = 4; i <= NF; i++) if ($i ~ /^[a-z0-9]+\/[a-z0-9,\/]+$/) { platforms = $i; break }
			print nonce, "found", namespace, $1, substr($0, RSTART + 1, RLENGTH - 2), platforms
		}'
}

[ -z "$1" ] || snapshotter="--snapshotter $1"
shift
for space in $(ct namespaces ls -q 2>/dev/null); do
	names=$(similar_names "$space" "$*")
	[ "$space" = k8s.io ] && cri_names=$names
	filters=
	for name in $names; do filters="$filters name==\"$name\""; done
	list_images "$space" $filters
done
filters=
for name in $cri_names; do filters="$filters name==\"$name\""; done
[ -z "$filters" ] || ct images check $snapshotter $filters 2>/dev/null | awk -v nonce="$nonce" '
	NR > 1 { print nonce, "checked", $1, $4, $NF }'
# The CRI's names: digests of configurations.
[ -z "$filters" ] || list_images k8s.io $(ct images ls $filters 2>/dev/null | awk '
	NR > 1 { for (i = 2; i <= NF; i++) if ($i ~ /^sha256:/) { print "name~=^sha256:,target.digest==" $i; break } }')
