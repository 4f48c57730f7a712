# Completes `cargo kdev` in fish.

function __cargo_kdev_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l first (contains --index -- kdev $words)
    or return
    set -l current (commandline --current-token --cut-at-cursor)
    cargo-kdev kdev complete -- $words[(math $first + 1)..] "$current" 2>/dev/null
end

complete --command cargo --no-files --condition '__fish_seen_subcommand_from kdev' --arguments '(__cargo_kdev_complete)'
