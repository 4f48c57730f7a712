//! Prints what is wrong with pods: cause, what it was seen by, and what helps.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use kdev::{Answer, Cause, Confidence, Diagnosis, Verdict};

use crate::prose::broken;

const TITLE: Style = Style::new().bold();
const CAUSE: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
const SEEN: Style = AnsiColor::BrightBlack.on_default();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// All verdicts, in colours that the stream may strip; on a screen of this width
/// lines are broken.
pub(crate) fn text(answer: &Answer, width: Option<usize>) -> String {
    let mut lines = String::new();
    for verdict in &answer.verdicts {
        if !lines.is_empty() {
            lines.push('\n');
        }
        let _ = writeln!(lines, "{TITLE}{}{TITLE:#}", broken(&title(verdict), 0, 4, width));
        if verdict.diagnoses.is_empty() {
            let _ = writeln!(lines, "  nothing is wrong with it");
        }
        verdict.diagnoses.iter().for_each(|one| diagnosis(&mut lines, one, width));
    }
    if lines.is_empty() { nothing(answer, width) } else { lines }
}

/// What there is to say where nothing is wrong.
fn nothing(answer: &Answer, width: Option<usize>) -> String {
    let Answer { context, namespace, looked_at, not_wanted, .. } = answer;
    let mut lines = Vec::new();
    if *looked_at == 0 {
        lines.push(format!(
            "namespace `{namespace}` of context `{context}` has no pods, and nothing that makes any"
        ));
    } else {
        lines.push(format!("nothing is wrong in namespace `{namespace}`"));
        lines.extend(not_wanted.iter().cloned());
    }
    lines.into_iter().map(|line| broken(&line, 0, 2, width) + "\n").collect()
}

/// As `pod/hello-5c9 of deployment/hello on node-1: Ready`.
fn title(verdict: &Verdict) -> String {
    let of = verdict.owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
    let on = verdict.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let alike = match verdict.unready_siblings {
        0 => String::new(),
        more => format!(" ({more} more of its pods are not ready)"),
    };
    format!("{}{of}{on}: {}{alike}", verdict.subject, verdict.state)
}

fn diagnosis(lines: &mut String, diagnosis: &Diagnosis, width: Option<usize>) {
    let (style, label) = match (diagnosis.cause, diagnosis.confidence) {
        (Cause::Starting, _) => (SEEN, "so far"),
        (_, Confidence::Likely) => (DOUBT, "likely cause"),
        (_, Confidence::Possible) => (DOUBT, "possible cause"),
        _ => (CAUSE, "cause"),
    };
    let mut line = |style: Style, label: &str, words: &str| {
        let words = broken(words, "  : ".len() + label.len(), 8, width);
        let _ = writeln!(lines, "  {style}{label}:{style:#} {words}");
    };
    line(style, label, &diagnosis.words);
    diagnosis.evidence.iter().for_each(|evidence| line(SEEN, "seen", evidence));
    line(HELP, "help", &diagnosis.help);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_without_a_fault_says_so() {
        let mut answer = Answer::default();
        answer.context = "c".to_owned();
        answer.namespace = "n".to_owned();
        let empty = "namespace `n` of context `c` has no pods, and nothing that makes any\n";
        assert_eq!(text(&answer, None), empty);
        answer.looked_at = 2;
        assert_eq!(text(&answer, None), "nothing is wrong in namespace `n`\n");
        answer.not_wanted = vec!["deployment/d is paused".to_owned()];
        let more = "deployment/d is paused\n";
        assert_eq!(text(&answer, None), format!("nothing is wrong in namespace `n`\n{more}"));
    }
}
