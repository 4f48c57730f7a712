# Calls the `ctr` of the selected containerd.
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
one_line() { printf '%s' "$1" | tr '\n\t\r' '   '; }
