# Lists the builds of an image: the names that match a pattern, the other names of the same
# images, and the containers. In the mode `prune`, holds the lock of loads, reads a line with
# names to remove and one with names to unpin, and prints the removed names. It waits for a load
# that holds the lock, but not longer than this number of seconds. Otherwise lists the pods of the
# containers. Arguments:
#   MODE PATTERN SECONDS

# Prints a table of `ctr images ls` without the columns that nothing reads.
print_images() {
	awk -v nonce="$nonce" '{
		for (i = 2; i < NF; i++) if ($i ~ /^sha256:/) { print nonce, "image", $1, $i, $NF; break }
	}'
}
# Prints the pod of each container that uses one of the images.
list_pods() {
	names=$(printf '%s\n' "$images" | awk '{ print $1 }')
	for id in $(printf '%s\n' "$containers" | awk -v names=" $(one_line "$names") " 'index(names, " " $2 " ") { print $1 }'); do
		info=$(ct containers info "$id" 2>/dev/null)
		emit user "$id" "$(label namespace)" "$(label name)"
	done
}
# Prints the kubelet's label for the pod's name or namespace.
label() { printf '%s\n' "$info" | sed -n 's/.*"io.kubernetes.pod.'"$1"'": *"\([^"]*\)".*/\1/p' | head -n 1; }
# Fails the run: without a complete list, nothing can be removed.
fail() {
	emit failed "$(one_line "$1")"
	exit 0
}

# Waits in the queue of the lock. If flock cannot (BusyBox), polls it: then loads can overtake.
wait_for_lock() {
	status=0
	flock -w "$1" -E 75 9 2>/dev/null || status=$?
	[ "$status" != 75 ] || return 1
	[ "$status" != 0 ] || return 0
	tries=0
	until flock -n 9; do
		[ "$tries" -lt "$(($1 * 5))" ] || return 1
		tries=$((tries + 1))
		sleep 0.2 2>/dev/null || sleep 1
	done
}

command -v awk >/dev/null || fail "awk not found"
mode=$1
if [ "$mode" = prune ]; then
	open_lock || {
		[ -r /etc/machine-id ] && emit no-lock flock || emit no-lock /etc/machine-id
		exit 0
	}
	flock -n 9 || {
		emit waiting
		wait_for_lock "$3" || { emit busy; exit 0; }
	}
fi
builds=$(ct images ls "name~=$2" 2>/dev/null) || fail "$(ct images ls "name~=$2" 2>&1 >/dev/null)"
targets=$(printf '%s\n' "$builds" | awk '{ for (i = 2; i < NF; i++) if ($i ~ /^sha256:/) { if (!seen[$i]++) print $i; break } }')
if [ -n "$targets" ]; then
	filters=
	for target in $targets; do filters="$filters target.digest==$target"; done
	images=$(ct images ls $filters 2>/dev/null) || fail "$(ct images ls $filters 2>&1 >/dev/null)"
	containers=$(ct containers ls 2>/dev/null) || fail "$(ct containers ls 2>&1 >/dev/null)"
	printf '%s\n' "$images" | print_images
	printf '%s\n' "$containers" | awk -v nonce="$nonce" 'NF > 1 && $1 != "CONTAINER" { print nonce, "container", $1, $2 }'
	[ "$mode" = prune ] || list_pods
	# The layers, for the sizes. An image without its manifest has none.
	for target in $targets; do
		emit manifest "$target" "$(one_line "$(ct content get "$target" 2>/dev/null)")"
	done
fi
emit listed
[ "$mode" = prune ] || exit 0
# Without regular output, this end could take hours to notice that the other end is gone, and
# would keep the lock.
(exec 9>&-; while sleep 10 >/dev/null 2>&1 && emit alive; do :; done) &
heartbeat=$!
trap 'kill "$heartbeat" 2>/dev/null' EXIT
read -r remove && read -r unpin || exit 0
for name in $unpin; do ct images label "$name" io.cri-containerd.pinned= >/dev/null 2>&1; done
[ -n "$remove" ] || { emit done; exit 0; }
output=$(ct images rm $remove 2>&1) || emit failed "$(one_line "$output")"
# `ctr` prints each name that it has removed, among its messages.
for name in $remove; do
	printf '%s\n' "$output" | grep -Fqx -- "$name" && emit removed "$name"
done
emit done
