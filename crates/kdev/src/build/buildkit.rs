//! Finds Dockerfile features that require `BuildKit`.

use crate::build::dockerfile::{Instruction, instructions};

/// Flags of instructions that the legacy builder rejects.
const FLAGS: [(&str, &[&str]); 3] = [
    ("RUN", &["--mount", "--network", "--security", "--device"]),
    ("COPY", &["--chmod", "--link", "--parents", "--exclude"]),
    ("ADD", &["--chmod", "--link", "--checksum", "--keep-git-dir", "--unpack", "--exclude"]),
];

/// Returns the line number of the first instruction that the legacy builder rejects, from
/// 1, and the rejected feature, such as `RUN --mount`.
pub(crate) fn find_buildkit_feature(dockerfile: &str) -> Option<(usize, String)> {
    let mut instructions = instructions(dockerfile).into_iter();
    instructions.find_map(|instruction| Some((instruction.line, buildkit_feature(&instruction)?)))
}

fn buildkit_feature(instruction: &Instruction) -> Option<String> {
    let Instruction { name, args, has_here_documents, .. } = instruction;
    let (_, known) = FLAGS.iter().find(|(instruction, _)| instruction == name)?;
    let mut flags = args.iter().take_while(|arg| arg.starts_with("--"));
    let flag = flags.find_map(|flag| known.iter().find(|one| flag.split('=').next() == Some(one)));
    match flag {
        Some(flag) => Some(format!("{name} {flag}")),
        None => has_here_documents.then(|| format!("{name} <<")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_buildkit_feature_returns_line_and_feature() {
        let table = [
            ("FROM a\nRUN --mount=type=cache,target=/c cargo build\n", Some((2, "RUN --mount"))),
            ("FROM a\n# RUN --mount\nrun --network=none true\n", Some((3, "RUN --network"))),
            ("FROM a\nCOPY --from=b --chmod=755 x /x\n", Some((2, "COPY --chmod"))),
            ("FROM a\nADD --checksum=sha256:1 http://x /x\n", Some((2, "ADD --checksum"))),
            ("FROM a\nRUN <<EOF\ntrue\nEOF\n", Some((2, "RUN <<"))),
            ("FROM a\nCOPY <<-\"END\" /x\n\tEND\n", Some((2, "COPY <<"))),
            ("FROM a\nCOPY --from=b --chown=1:1 x /x\nRUN true\n", None),
            ("FROM a\nRUN cargo build --mount\n", None),
            ("FROM a\nRUN true && \\\n  # more\n\n  RUN --mount=x\n", None),
            ("FROM a\nRUN echo $((1 << 2)) <<<x\n", None),
            ("FROM a\nRUN echo $((1 <<2))\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(line, feature)| (line, feature.to_owned()));
            assert_eq!(find_buildkit_feature(text), expected, "{text:?}");
        }
    }
}
