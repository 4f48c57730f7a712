//! Manifests in all variants that people write: kdev edits the image and the pull policy of
//! containers with the project's image, and no other byte. The variants are generated with
//! their expected results.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "kubectl is asked")]

mod kubectl;
mod variants;

use std::path::Path;
use std::process::Command;

use kubectl::{corpus, rendered};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;
use variants::{Ends, Form, IMAGES, KINDS, Layout, POLICIES, Quote, SPICES};

#[test]
fn corpus_is_edited_byte_exactly() {
    let corpus = corpus();
    assert!(corpus.len() >= 400, "{}", corpus.len());
    for (layout, spice) in
        Layout::ALL.into_iter().flat_map(|l| (0..SPICES.len()).map(move |s| (l, s)))
    {
        assert!(corpus.iter().any(|form| form.layout == layout && form.spice == spice));
    }
    for form in corpus {
        let (source, expected) = (form.source(), form.rendered());
        assert_ne!(source, expected, "{form:?}");
        assert_eq!(rendered(&source).as_ref(), Ok(&expected), "{form:?} of\n{source}");
        // A rendered text needs no further edit.
        assert_eq!(rendered(&expected).as_ref(), Ok(&expected), "{form:?} of\n{expected}");
    }
}

/// Returns every object of a folder as kubectl parses it. `--local` is kubectl's only mode
/// that does not ask a cluster for the known kinds.
#[expect(clippy::disallowed_methods, reason = "a test runs kubectl itself")]
fn read(folder: &Path) -> Vec<Value> {
    let mut kubectl = Command::new("kubectl");
    // Without a configuration there is no cluster.
    kubectl.args(["--kubeconfig", "/dev/null", "label", "--local", "--output=json", "kdev=read"]);
    let output = kubectl.arg("--filename").arg(folder).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    kubectl::objects(&output.stdout)
}

#[test]
#[ignore = "needs kubectl"]
fn kubectl_sees_only_image_and_policy_changes() {
    kubectl::check(read);
}

prop_compose! {
    fn any_form()(
        kind in 0..KINDS.len(),
        layout in select(&Layout::ALL[..]),
        quote in select(&Quote::ALL[..]),
        policy in 0..POLICIES.len(),
        ends in select(&Ends::ALL[..]),
        image in 0..IMAGES.len(),
        spice in 0..SPICES.len(),
    ) -> Form {
        Form { kind, layout, quote, policy, ends, image, spice }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_documents_are_edited_each(forms in prop::collection::vec(any_form(), 1..4)) {
        // JSON and a byte order mark cannot be combined with other documents.
        let forms: Vec<&Form> = forms.iter().filter(|form| form.joins()).collect();
        let join = |text: fn(&Form) -> String| {
            forms.iter().map(|form| text(form)).collect::<Vec<_>>().join("\n--- # next\n")
        };
        prop_assert_eq!(rendered(&join(Form::source)), Ok(join(Form::rendered)));
    }

    #[test]
    fn any_form_is_edited_to_the_byte(form in any_form()) {
        prop_assert_eq!(rendered(&form.source()), Ok(form.rendered()));
    }

    #[test]
    fn lines_that_change_are_those_of_image_and_policy(form in any_form()) {
        let (source, rendered) = (form.source(), rendered(&form.source()).unwrap());
        let mut kept = rendered.lines();
        for line in source.lines().filter(|line| !is_about_the_image(line)) {
            prop_assert!(kept.any(|other| other == line), "{} is gone", line);
        }
        let mut old = source.lines();
        for line in rendered.lines().filter(|line| !is_about_the_image(line)) {
            prop_assert!(old.any(|other| other == line), "{} is new", line);
        }
    }
}

fn is_about_the_image(line: &str) -> bool {
    ["image", "reference", "ullPolicy"].iter().any(|word| line.contains(word))
}
