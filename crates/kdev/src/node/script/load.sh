# Checks whether the image is present for the CRI. If not: lists which of these layers
# are present, reads a line with the encoding of the stream, imports the rest of stdin,
# and verifies the image or restores the old state. Arguments:
#   NAME CONFIG PLATFORM LOCAL SNAPSHOTTER PATTERN LAYER...
# The pattern matches the names of all builds of the image; it is empty if the image is no
# build. A layer of the image is DIFF_ID/CHAIN_ID; one that can be the base of a patch, DIFF_ID.

# The CRI records a second name for each image: the config digest. If both names
# refer to the same manifest and it is unpacked, the name has the expected
# configuration and the CRI knows the image.
check_image() {
	set -- $(ct images check $snapshotter "name==\"$name\"$1" "name==\"$config\"" 2>/dev/null | awk -v name="$name" -v config="$config" '
		BEGIN { target = config_target = unpacked = "-" }
		$1 == name { target = $3; unpacked = $NF }
		$1 == config { config_target = $3 }
		END { print target, config_target, unpacked }')
	target=${1#-} config_target=${2#-} unpacked=$3
}
is_verified() {
	check_image "$1"
	[ -n "$target" ] && [ "$target" = "$config_target" ] && [ "$unpacked" = true ]
}
# Returns whether nothing has to be sent. The first check only finds a build that is pinned.
is_present() {
	is_verified "$is_pinned" && return
	[ -n "$is_pinned" ] && is_verified && pin
}
# Pins a build, so that the kubelet keeps it while no container uses it, and records the time.
# The import drops both labels. Earlier builds are not pinned any more. `ctr` prints the labels
# that the image then has.
pin() {
	[ -n "$is_pinned" ] || return 0
	labels=$(ct images label "$name" io.cri-containerd.pinned=pinned "kdev.loaded=$(date +%s)" 2>&1)
	case $labels in
	*io.cri-containerd.pinned=pinned*) ;;
	*) emit unpinned "$(one_line "$labels")"; return 0 ;;
	esac
	builds=$(ct images ls "name~=$pattern" 2>/dev/null)
	emit builds "$(printf '%s\n' "$builds" | grep -c ':kdev-')"
	for other in $(printf '%s\n' "$builds" | awk -v name="$name" '$1 != name && /io.cri-containerd.pinned=pinned/ { print $1 }'); do
		ct images label "$other" io.cri-containerd.pinned= >/dev/null 2>&1
	done
}
# A containerd that has crashed is usually restarted soon. What the import left
# behind can only be removed after that.
wait_for_containerd() {
	tries=0
	until ct version >/dev/null 2>&1 || [ "$tries" -ge 30 ]; do
		tries=$((tries + 1))
		sleep 1
	done
}
# Removes names that refer to an unverified image. $1 is the manifest that the
# image's name referred to before, to which it is reset; $2 that of the CRI's name.
restore() {
	other=
	[ -n "$1" ] && other=$(ct images ls "target.digest==$1" 2>/dev/null | awk 'NR == 2 { print $1 }')
	case $other in
	"$name") ;;
	'') ct images rm "$name" >/dev/null 2>&1 ;;
	*) ct images tag --force "$other" "$name" >/dev/null 2>&1 ;;
	esac
	[ -n "$2" ] || ct images rm "$config" >/dev/null 2>&1
}

name=$1 config=$2 platform=$3 local=$4
[ -z "$5" ] || snapshotter="--snapshotter $5"
pattern=$6
is_pinned=${6:+',labels."io.cri-containerd.pinned"==pinned'}
shift 6
if open_lock; then
	flock -n 9 || {
		# An image that is already present does not have to wait for another load. A removal, which
		# also holds the lock, leaves the pinned build.
		if is_verified "$is_pinned"; then emit present; exit 0; fi
		emit waiting
		flock 9
	}
fi
if is_present; then emit present; exit 0; fi
old_target=$target old_config_target=$config_target
emit room "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
for tool in zstd gzip; do command -v "$tool" >/dev/null && emit "$tool"; done
# Which of the given layers are present, as a blob or unpacked. The node may have thousands,
# so only these are requested.
filters= blobs= chains=
for layer; do filters="$filters labels.\"containerd.io/uncompressed\"==${layer%/*}"; done
[ $# = 0 ] || blobs=$(ct content ls $filters 2>/dev/null | awk -v nonce="$nonce" '
	match($0, /containerd.io\/uncompressed=sha256:[0-9a-f]+/) {
		print nonce, "blob", $1, $2, substr($0, RSTART + 27, RLENGTH - 27)
	}')
[ -z "$blobs" ] || printf '%s\n' "$blobs"
for layer; do
	case $layer in */*) ;; *) continue ;; esac
	case $blobs in *" ${layer%/*}"*) ;; *) chains="$chains ${layer#*/}" ;; esac
done
set -- $chains
# A snapshot needs those of all layers below it: if the first one is missing, all are.
case $([ $# = 0 ] || ct snapshots $snapshotter info "$1" 2>/dev/null) in
*Committed*)
	ct snapshots $snapshotter ls 2>/dev/null | awk -v nonce="$nonce" -v chains=" $chains " '
		$NF == "Committed" && index(chains, " " $1 " ") { print nonce, "snapshot", $1 }'
	;;
esac
emit listed
# The reply: the codec of the stream and, for a patch, the digest of its base.
read -r codec patch_base || exit 0
case $codec in
zstd) decode='zstd -dcq' ;;
gzip) decode='gzip -dc' ;;
*) decode=cat ;;
esac
if [ -n "$patch_base" ]; then
	umask 077
	# In memory if possible.
	scratch=$(mktemp -p /dev/shm kdev.XXXXXX 2>/dev/null || mktemp)
	trap 'rm -f "$scratch"' EXIT
	ct content get "$patch_base" >"$scratch" 2>/dev/null
	case sha256:$(sha256sum <"$scratch") in
	"$patch_base "*) emit patch; decode="zstd -dcq --long=27 --patch-from=$scratch" ;;
	esac
fi
emit ready
# Without regular output, this end could take hours to notice that the other
# end is gone, and would keep the lock.
while sleep 10 >/dev/null 2>&1 9>&- && emit alive; do :; done &
heartbeat=$!
set -- $snapshotter --platform "$platform"
[ "$local" = yes ] && set -- "$@" --local
output=$({ $decode | ct_stdin image import "$@" - >/dev/null; } 2>&1) && code=0 || code=$?
kill "$heartbeat" 2>/dev/null
# A name that is moved keeps the CRI's label, and the CRI of 1.x ignores names
# that already have it.
[ "$code" = 0 ] && [ -n "$old_target" ] && ct images label "$name" io.cri-containerd.image= >/dev/null 2>&1
[ "$code" = 0 ] || wait_for_containerd
tries=0
while ! is_verified; do
	# The CRI is notified of an image by an event, slightly later.
	[ "$code" = 0 ] && [ "$tries" -lt 200 ] || {
		restore "$old_target" "$old_config_target"
		emit failed "$code" "$(one_line "$output")"
		exit 0
	}
	tries=$((tries + 1))
	sleep 0.05 2>/dev/null || sleep 1
done
pin
emit loaded
