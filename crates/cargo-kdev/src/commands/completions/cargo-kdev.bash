# Completes `cargo kdev` in bash. cargo's own completion completes everything else.

# Completes the words after `cargo`, the first of which has this index.
_cargo_kdev() {
	local first=$1 words=() word="" i
	# bash splits words at `=` and `:`.
	for ((i = first; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((${#words[@]})) && [[ $word == [=:] || ${COMP_WORDS[i - 1]} == [=:] ]]; then
			words[${#words[@]} - 1]+=$word
		else
			words+=("$word")
		fi
	done
	word=${words[${#words[@]} - 1]}
	local split=${word%"${word##*[=:]}"} candidate
	COMPREPLY=()
	while IFS=$'\t' read -r candidate _; do
		COMPREPLY+=("${candidate#"$split"}")
	done < <(cargo-kdev kdev complete -- "${words[@]:1}" 2>/dev/null)
	# A single folder can be continued.
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
		compopt -o nospace 2>/dev/null
	fi
}

# Remembers the completion of `cargo` that this one replaces.
_cargo_kdev_find_cargo() {
	local other
	other=$(complete -p cargo 2>/dev/null) || return
	other=${other#*-F }
	other=${other%% *}
	[[ $other == _cargo_or_kdev ]] || _cargo_kdev_other=$other
}

_cargo_or_kdev() {
	local first=1
	[[ ${COMP_WORDS[1]-} != +* ]] || first=2
	if [[ ${COMP_WORDS[first]-} == kdev ]] && ((COMP_CWORD > first)); then
		_cargo_kdev "$first"
		return
	fi
	if [[ -z ${_cargo_kdev_other-} ]]; then
		# bash-completion loads the completion of a command when it is needed.
		complete -r cargo
		if declare -F _comp_load >/dev/null; then
			_comp_load cargo
		elif declare -F _completion_loader >/dev/null; then
			_completion_loader cargo
		fi
		_cargo_kdev_find_cargo
		complete -F _cargo_or_kdev cargo
	fi
	[[ -z ${_cargo_kdev_other-} ]] || "$_cargo_kdev_other" "$@"
}

_cargo_kdev_find_cargo
complete -F _cargo_or_kdev cargo
