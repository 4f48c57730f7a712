//! Prints what is wrong with pods: cause, what it was seen by, and what helps.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use kdev::{Answer, Confidence, Diagnosis, Verdict};

const TITLE: Style = Style::new().bold();
const CAUSE: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
const SEEN: Style = AnsiColor::BrightBlack.on_default();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// All verdicts, in colours that the stream may strip.
pub(crate) fn text(answer: &Answer) -> String {
    let mut lines = String::new();
    for verdict in &answer.verdicts {
        if !lines.is_empty() {
            lines.push('\n');
        }
        let _ = writeln!(lines, "{TITLE}{}{TITLE:#}", title(verdict));
        if verdict.diagnoses.is_empty() {
            let _ = writeln!(lines, "  nothing is wrong with it");
        }
        verdict.diagnoses.iter().for_each(|one| diagnosis(&mut lines, one));
    }
    if lines.is_empty() { nothing(answer) } else { lines }
}

/// What there is to say where nothing is wrong.
fn nothing(answer: &Answer) -> String {
    let Answer { context, namespace, looked_at, not_wanted, .. } = answer;
    if *looked_at == 0 {
        return format!(
            "namespace `{namespace}` of context `{context}` has no pods, and nothing that makes any\n"
        );
    }
    let mut text = format!("nothing is wrong in namespace `{namespace}`\n");
    for one in not_wanted {
        let _ = writeln!(text, "no pod of {one} is wanted: `cargo kdev why {one}` tells more");
    }
    text
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

fn diagnosis(lines: &mut String, diagnosis: &Diagnosis) {
    let (style, label) = match diagnosis.confidence {
        Confidence::Likely => (DOUBT, "likely cause"),
        Confidence::Possible => (DOUBT, "possible cause"),
        _ => (CAUSE, "cause"),
    };
    let mut line = |style: Style, label: &str, words: &str| {
        let words = words.trim().replace('\n', "\n        ");
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
        assert_eq!(text(&answer), empty);
        answer.looked_at = 2;
        assert_eq!(text(&answer), "nothing is wrong in namespace `n`\n");
        answer.not_wanted = vec!["deployment/d".to_owned()];
        let more = "no pod of deployment/d is wanted: `cargo kdev why deployment/d` tells more\n";
        assert_eq!(text(&answer), format!("nothing is wrong in namespace `n`\n{more}"));
    }
}
