#compdef cargo-kdev
# Completes `cargo kdev` in zsh: cargo's own completion calls this function.

_cargo-kdev() {
	local -a values described
	local line
	while IFS= read -r line; do
		values+=("${line%%$'\t'*}")
		if [[ $line == *$'\t'* ]]; then
			described+=("${line%%$'\t'*} -- ${line#*$'\t'}")
		else
			described+=("$line")
		fi
	done < <(cargo-kdev kdev complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	(( ${#values} )) || return 1
	# A single folder can be continued.
	local -a flags
	[[ ${#values} -ne 1 || $values[1] != */ ]] || flags=(-S '')
	compadd -l -d described "${flags[@]}" -a values
}

if [[ ${funcstack[1]} == _cargo-kdev ]]; then
	_cargo-kdev "$@"
fi
