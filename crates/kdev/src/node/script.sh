# The script that kdev runs on a node, in POSIX sh. The caller passes
#   NONCE VERB SUDO RUNTIME [ARGUMENTS]
# and reads only the part of a line after the nonce, so that other output of
# the login shell is ignored. Each verb first prints the IDs of the machine. Verbs:
#   probe                          prints the user and whether containerd is
#                                  accessible
#   report                         prints the state of the machine and its
#                                  containerd, and whether a load can work
#   images SNAPSHOTTER BASE...     lists the images with these base names in
#                                  each of containerd's namespaces
#   load NAME CONFIG PLATFORM LOCAL SNAPSHOTTER DIGEST...
#                                  checks whether the image is present for the
#                                  CRI. If not: lists which of these layers are
#                                  present, reads a line with the encoding of
#                                  the stream, imports the rest of stdin, and
#                                  verifies the image or restores the old state
nonce=$1 verb=$2 sudo=$3 runtime=$4
shift 4
# Messages of sudo and other programs are parsed in English.
LC_ALL=C
export LC_ALL
# With these, `ctr` would use another containerd or snapshotter than the kubelet.
unset CONTAINERD_ADDRESS CONTAINERD_SNAPSHOTTER
# Some variables are split into words on purpose, but are never glob patterns.
set -f
emit() { printf '%s %s\n' "$nonce" "$*"; }
# After a lost connection or an interrupt, a failed import must still be undone.
trap '' HUP PIPE
trap : TERM INT
emit hello
# The kubelet reports the same IDs, from the same files.
emit machine "$(cat /etc/machine-id 2>/dev/null || cat /var/lib/dbus/machine-id 2>/dev/null)"
emit boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"

# Prints the path of a program, even if it is not on the login shell's PATH.
find_program() {
	command -v "$1" && return
	for folder in /usr/local/bin /usr/bin /usr/sbin /opt/bin /snap/bin; do
		[ -x "$folder/$1" ] && printf '%s\n' "$folder/$1" && return
	done
	return 1
}
# Selects the containerd that the kubelet uses; a machine may have others. $ctr_args
# are arguments between the program and the options.
program=ctr ctr_args= snapshotter=
# The sockets of known runtimes, for a report.
sockets='/run/containerd/containerd.sock /run/k3s/containerd/containerd.sock
	/var/snap/microk8s/common/run/containerd.sock /run/k0s/containerd.sock
	/run/crio/crio.sock /run/cri-dockerd.sock'
case $runtime in
containerd) socket=/run/containerd/containerd.sock root=/var/lib/containerd ;;
k3s)
	socket=/run/k3s/containerd/containerd.sock root=/var/lib/rancher/k3s/agent/containerd
	program=k3s ctr_args=ctr
	# RKE2 has the same runtime version suffix, but no k3s program.
	find_program k3s >/dev/null || {
		program=/var/lib/rancher/rke2/bin/ctr ctr_args="--address $socket"
		root=/var/lib/rancher/rke2/agent/containerd
	}
	;;
microk8s)
	socket=/var/snap/microk8s/common/run/containerd.sock
	root=/var/snap/microk8s/common/var/lib/containerd
	program=microk8s ctr_args=ctr
	;;
k0s)
	socket=/run/k0s/containerd.sock root=/var/lib/k0s/containerd
	program=k0s ctr_args=ctr
	;;
*)
	socket= root=
	program=${runtime%% *}
	ctr_args=${runtime#"$program"}
	;;
esac
one_line() { printf '%s' "$1" | tr '\n\t\r' '   '; }
# These facts are also available without containerd.
if [ "$verb" = report ]; then
	emit time "$(date +%s)"
	emit user "$(id -un)"
	emit socket "$socket"
	for other in $sockets; do [ -S "$other" ] && emit listens "$other"; done
	emit disk "$root" "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $2, $4 }')"
	for tool in zstd gzip flock; do command -v "$tool" >/dev/null && emit tool "$tool"; done
fi
ctr=$(find_program "$program") || { emit no-ctr "$program"; exit 0; }
emit ctr $ctr $ctr_args
if [ "$sudo" = auto ]; then
	sudo=yes
	{ [ "$(id -u)" = 0 ] || [ -w "$socket" ]; } && sudo=no
fi
ct_in() {
	namespace=$1
	shift
	if [ "$sudo" = yes ]; then sudo -n "$ctr" $ctr_args -n "$namespace" "$@"; else "$ctr" $ctr_args -n "$namespace" "$@"; fi
}
ct_stdin() { ct_in k8s.io "$@"; }
# stdin is reserved for the import: a sudo with a separate terminal would read it.
ct() { ct_stdin "$@" </dev/null; }
# Reports how containerd is called and its version, or why it is inaccessible.
report_containerd() {
	if answer=$(ct version 2>&1); then
		emit sudo "$sudo"
		emit versions "$(one_line "$answer")"
		# The CRI may use another snapshotter than `ctr`: its containers show which.
		set -- $(ct containers ls -q 2>/dev/null)
		[ $# = 0 ] || emit snapshotter "$(ct containers info "$1" 2>/dev/null |
			sed -n 's/.*"Snapshotter": *"\([a-z0-9.-]*\)".*/\1/p')"
	else
		# Removes the versions that it printed before it failed.
		case $answer in *'ctr: '*) answer="ctr: ${answer#*ctr: }" ;; esac
		emit no-access "$(one_line "$answer")"
		return 1
	fi
}
# The CRI records a second name for each image: the config digest. If both names
# refer to the same manifest and it is unpacked, the name has the expected
# configuration and the CRI knows the image.
check_image() {
	set -- $(ct images check $snapshotter "name==\"$name\"" "name==\"$config\"" 2>/dev/null | awk -v name="$name" -v config="$config" '
		BEGIN { target = config_target = unpacked = "-" }
		$1 == name { target = $3; unpacked = $NF }
		$1 == config { config_target = $3 }
		END { print target, config_target, unpacked }')
	target=${1#-} config_target=${2#-} unpacked=$3
}
is_verified() {
	check_image
	[ -n "$target" ] && [ "$target" = "$config_target" ] && [ "$unpacked" = true ]
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

case $verb in
images)
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
	;;
probe)
	emit user "$(id -un)"
	report_containerd
	;;
report)
	report_containerd || exit 0
	for space in $(ct namespaces ls -q 2>/dev/null); do emit namespace "$space"; done
	emit cri "$(ct plugins ls 2>/dev/null | awk '$1 == "io.containerd.grpc.v1" && $2 == "cri" { print $NF }')"
	# The sudoers rule may allow other verbs but not the import. `-l` only checks.
	if [ "$sudo" = yes ]; then
		output=$(sudo -n -l "$ctr" $ctr_args -n k8s.io image import --platform linux/amd64 - 2>&1 </dev/null) ||
			emit no-import "$(one_line "$output")"
	fi
	;;
load)
	name=$1 config=$2 platform=$3 local=$4
	[ -z "$5" ] || snapshotter="--snapshotter $5"
	shift 5
	# One load at a time: a failed import must not remove a name that another
	# load is about to verify. Any file that all users can read can be the lock.
	if command -v flock >/dev/null && [ -r /etc/machine-id ]; then
		exec 9</etc/machine-id
		flock -n 9 || {
			# An image that is already present does not have to wait for another load.
			if is_verified; then emit present; exit 0; fi
			emit waiting
			flock 9
		}
	fi
	if is_verified; then emit present; exit 0; fi
	old_target=$target old_config_target=$config_target
	emit room "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
	for tool in zstd gzip; do command -v "$tool" >/dev/null && emit "$tool"; done
	# Which of the given layers are present, unpacked or as a blob.
	ct snapshots $snapshotter ls 2>/dev/null | awk -v nonce="$nonce" -v candidates=" $* " '
		$NF == "Committed" && index(candidates, " " $1 " ") { print nonce, "snapshot", $1 }'
	ct content ls 2>/dev/null | awk -v nonce="$nonce" -v candidates=" $* " '
		match($0, /containerd.io\/uncompressed=sha256:[0-9a-f]+/) {
			diff_id = substr($0, RSTART + 27, RLENGTH - 27)
			if (index(candidates, " " diff_id " ")) print nonce, "blob", $1, $2, diff_id
		}'
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
	emit loaded
	;;
esac
