# Prints the configuration of an image as one line. Arguments:
#   NAME

# Prints column $1 of the first image of a list, or the first digest if it is empty.
first() {
	awk -v column="$1" 'NR > 1 {
		if (column) { print $column; exit }
		for (i = 2; i <= NF; i++) if ($i ~ /^sha256:/) { print $i; exit }
	}'
}
target=$(ct images ls "name==\"$1\"" 2>/dev/null | first '')
# The CRI's name for the image is the digest of the configuration.
config=
[ -z "$target" ] || config=$(ct images ls "name~=^sha256:,target.digest==$target" 2>/dev/null | first 1)
[ -z "$config" ] || emit config "$(one_line "$(ct content get "$config" 2>/dev/null)")"
emit listed
