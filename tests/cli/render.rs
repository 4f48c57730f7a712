//! `cargo kdev render`.

use std::fs;

use crate::project::{IMAGE, Project};

/// A project in which only `docker` can be run.
fn project() -> Project {
    let project = Project::new();
    project.remove("bin/kubectl").remove("bin/ssh");
    project
}

fn manifest(project: &Project) -> (String, String) {
    let source = fs::read_to_string(project.path("k8s/app.yaml")).unwrap();
    let new = format!("image: {IMAGE}\n        imagePullPolicy: Never\n");
    let rendered = source.replace("image: app\n", &new);
    (source, rendered)
}

#[test]
fn manifest_is_printed_as_applied() {
    let project = project();
    let (source, rendered) = manifest(&project);
    project.run(&["render"]).code(0).stdout(&rendered).stderr("");
    assert_eq!(fs::read_to_string(project.path("k8s/app.yaml")).unwrap(), source);
    let calls = project.calls();
    assert!(!calls.contains("docker tag") && !calls.contains("docker build"), "{calls}");
}

#[test]
fn files_are_joined_to_one_stream() {
    let project = project();
    let (_, rendered) = manifest(&project);
    project.write("k8s/b.yaml", "kind: ConfigMap\nmetadata: {name: c}");
    let expected = format!("{rendered}---\nkind: ConfigMap\nmetadata: {{name: c}}\n");
    project.run(&["render"]).code(0).stdout(&expected);
}

const DIFF: &str = "\
--- [ROOT]/k8s/app.yaml
+++ [ROOT]/k8s/app.yaml (rendered)
@@ -6,6 +6,7 @@
     spec:
       containers:
       - name: app
-        image: app
+        image: app:kdev-0123456789ab
+        imagePullPolicy: Never
       - name: other
         image: redis:7
";

#[test]
fn diff_shows_difference_from_source() {
    let project = project();
    project.run(&["render", "--diff"]).code(0).stdout(DIFF).stderr("");
    let colored = project.run(&["render", "--diff", "--color", "always"]).code(0).out().to_owned();
    assert!(colored.contains("\u{1b}[32m+        imagePullPolicy: Never\u{1b}[0m\n"), "{colored}");
    assert!(colored.contains("\u{1b}[31m-        image: app\u{1b}[0m\n"), "{colored}");
    let plain =
        project.run_with(&[("NO_COLOR", "1")], &["render", "--diff"]).code(0).out().to_owned();
    assert!(!plain.contains('\u{1b}'), "{plain}");
    // A manifest without changes has no diff.
    let (_, rendered) = manifest(&project);
    project.write("k8s/app.yaml", &rendered);
    project.run(&["render", "--diff"]).code(0).stdout("");
}

#[test]
fn each_field_is_explained() {
    let project = project();
    let digest = "a".repeat(64);
    let (source, _) = manifest(&project);
    let source = source.replace(
        "image: redis:7\n",
        &format!("image: redis:7\n      initContainers:\n      - name: old\n        image: app@sha256:{digest}\n"),
    );
    project.write("k8s/app.yaml", &source);
    project.write(
        "k8s/b.yaml",
        "apiVersion: example.com/v1\nkind: Mine\nmetadata: {name: m}\nspec:\n  image: app\n",
    );
    project.run(&["render", "--diff", "--explain"]).code(0).stderr(&format!(
"        Note [ROOT]/k8s/app.yaml:14: deployment/app, `old` (spec.template.spec.initContainers.image): `app@sha256:{digest}` is unchanged: it has a registry's digest, which a loaded image does not have; use a tag to run the build
        Note [ROOT]/k8s/b.yaml:5: mine/m, spec.image: `app` is unchanged: the kind is not a built-in workload; if it is an image, add the field to `image-paths`
    Rendered [ROOT]/k8s/app.yaml:9: deployment/app, `app` (spec.template.spec.containers.image): `app` changes to `{IMAGE}`, pull policy `Never` is added: the image is loaded onto the nodes and must not be pulled from a registry
        Kept [ROOT]/k8s/app.yaml:11: deployment/app, `other` (spec.template.spec.containers.image): `redis:7` is unchanged: it is another image
"));
    // The help of the note works.
    project.config("image-paths = [\"Mine:spec.image\"]");
    let ran = project.run(&["render"]);
    assert!(ran.code(0).out().ends_with(&format!("spec:\n  image: {IMAGE}\n")));
    let ran = project.run(&["render", "--explain", "--pull-policy", "IfNotPresent"]);
    assert!(ran.code(0).err().contains("`IfNotPresent` is added: as configured"));
    assert!(ran.err().contains("the kind has no pull policy field"));
}

#[test]
fn up_notes_unchanged_mention() {
    let project = Project::new();
    let (source, _) = manifest(&project);
    project.write(
        "k8s/app.yaml",
        &source
            .replace("  - name: other\n", "  - name: other\n        args: [--with, 'app:dev']\n"),
    );
    let ran = project.run(&["up", "--dry-run"]);
    ran.code(0).stderr("        Note [ROOT]/k8s/app.yaml:11: deployment/app, spec.template.spec.containers.args: `app:dev` is unchanged: the API has no image field there; if it is an image, add the field to `image-paths`\n");
}

#[test]
fn json_has_text_and_fields() {
    let ran = project().run(&["render", "--message-format", "json"]);
    let json: serde_json::Value = serde_json::from_str(ran.code(0).stderr("").out()).unwrap();
    assert_eq!(json["reason"], "rendered");
    assert!(json["text"].as_str().unwrap().contains(IMAGE), "{json}");
    assert_eq!(json["fields"][0]["outcome"]["updated"]["policy"]["new"], "Never", "{json}");
    assert_eq!(json["fields"][1]["outcome"], "other-image", "{json}");
}

#[test]
fn missing_build_has_placeholder_tag() {
    let project = project();
    project.config("image = \"nosuch\"").write(
        "k8s/app.yaml",
        "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: nosuch}]}\n",
    );
    let rendered = "image: nosuch:kdev-000000000000, imagePullPolicy: Never";
    let rest =
        "so the tag `kdev-000000000000` in the output is a placeholder; `up` builds the image\n";
    let ran = project.run(&["render"]);
    ran.code(0)
        .stderr(&format!("        Note image `nosuch:latest` has not been built yet, {rest}"));
    assert!(ran.out().contains(rendered), "{}", ran.out());
    // Nor is Docker needed.
    project.write("fake/docker-down", "Cannot connect to the Docker daemon at unix:///x.\n");
    let ran = project.run(&["render"]);
    ran.code(0).stderr(&format!("        Note cannot connect to the Docker daemon, {rest}"));
    assert!(ran.out().contains(rendered), "{}", ran.out());
}

#[test]
fn image_with_digest_is_not_updated() {
    let project = project();
    let digest = "a".repeat(64);
    let pod = format!(
        "kind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n    image: app@sha256:{digest}\n"
    );
    project.write("k8s/app.yaml", &pod);
    project.run(&["render"]).code(90).stdout("").stderr(&format!(
        "error: cannot update `[ROOT]/k8s/app.yaml` at line 6, column 12
  caused by: `app@sha256:{digest}`: it has a registry's digest, which a loaded image does not have; use a tag to run the build
  help: [..]\n",
    ));
}

#[test]
fn invalid_image_path_is_rejected() {
    let project = project();
    project.config("image-paths = [\"spec.image\"]");
    project.run(&["render"]).code(90).stdout("").stderr(
        "error: invalid value for `image-paths` in the settings
  caused by: `spec.image` is not of the form `KIND:FIELD.FIELD`, such as `MyKind:spec.image`
  help: see `docs/configuration.md` for valid values\n",
    );
}

#[test]
fn manifest_that_cannot_be_edited_has_position() {
    let project = project();
    let refused = |spec: &str, place: &str, cause: &str, help: &str| {
        project.write("k8s/app.yaml", &format!("kind: Pod\nspec:\n{spec}"));
        project.run(&["render"]).code(90).stdout("").stderr(&format!(
            "error: cannot update `[ROOT]/k8s/app.yaml` at {place}\n  caused by: {cause}\n  help: {help}\n"
        ));
    };
    refused(
        "  containers:\n  - image: {{ .Values.image }}\n",
        "line 4, column 12",
        "it contains templates (`{{ }}`)",
        "set `manifests` to the folder of the chart, or to a file with the output of `helm template`",
    );
    refused(
        "  containers:\n  - image: app\n    image: app\n",
        "line 5, column 5",
        "duplicate key `image`",
        "change line 5 of `[ROOT]/k8s/app.yaml`",
    );
    refused(
        "  containers:\n  - &c\n    image: app\n  - <<: *c\n    image: redis\n",
        "line 6, column 5",
        "an alias or merge key shares this with a field that must not change; write it out in both places",
        "change line 6 of `[ROOT]/k8s/app.yaml`",
    );
}
