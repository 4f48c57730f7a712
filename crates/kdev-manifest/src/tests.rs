//! Tables of manifests, before and after an edit.

use super::*;
use crate::documents::split;
use crate::image_fields::ImagePath;
use crate::objects::{self, Object};
use crate::pull_policy::PullPolicy;
use kdev_core::image::reference::Reference;

fn rendered(text: &str) -> std::result::Result<String, Error> {
    let image = Reference::parse("app").unwrap();
    let paths = [ImagePath::parse("Mine:spec.image").unwrap()];
    let update =
        ImageUpdate { name: image.name(), tag: "kdev-1", policy: PullPolicy::Never, paths: &paths };
    render(text, &update).map(|rendered| rendered.text)
}

/// Returns a pod with these lines in its spec.
fn pod(spec: &str) -> String {
    let lines = spec.split_inclusive('\n').map(|line| ["  ", line].concat());
    "kind: Pod\nspec:\n".to_owned() + &lines.collect::<String>()
}

/// Does the same for both texts of a table.
#[track_caller]
fn check_spec(source: &str, expected: &str) {
    check(&pod(source), &pod(expected));
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(rendered(source).unwrap(), expected);
    // A rendered text needs no further edit.
    assert_eq!(rendered(expected).unwrap(), expected);
}

#[track_caller]
fn unchanged(source: &str) {
    check(source, source);
}

#[test]
fn missing_policy_is_inserted_below_image() {
    check(
        "kind: Pod\nspec:\n  containers:\n  - name: a\n    image: app # ours\n    ports: []\n",
        "kind: Pod\nspec:\n  containers:\n  - name: a\n    image: app:kdev-1 # ours\n    imagePullPolicy: Never\n    ports: []\n",
    );
    check_spec(
        "containers:\n  - image: app:latest\n    name: a\n",
        "containers:\n  - image: app:kdev-1\n    imagePullPolicy: Never\n    name: a\n",
    );
}

#[test]
fn existing_policy_keeps_quotes() {
    check_spec(
        "containers:\n- image: \"app:1\"\n  imagePullPolicy: 'Always'   # why\n",
        "containers:\n- image: \"app:kdev-1\"\n  imagePullPolicy: 'Never'   # why\n",
    );
    check_spec(
        "containers:\n- {imagePullPolicy: Always, image: 'app'}\n",
        "containers:\n- {imagePullPolicy: Never, image: 'app:kdev-1'}\n",
    );
}

#[test]
fn image_name_is_kept_as_written() {
    check_spec(
        "containers:\n- image: docker.io/library/app:dev\n  imagePullPolicy: Never\n",
        "containers:\n- image: docker.io/library/app:kdev-1\n  imagePullPolicy: Never\n",
    );
}

#[test]
fn flow_style_and_json_are_kept() {
    check_spec(
        "containers: [{name: a, image: app}, {image: redis}]",
        "containers: [{name: a, image: app:kdev-1, imagePullPolicy: Never}, {image: redis}]",
    );
    check(
        "{\n\t\"kind\": \"Pod\", \"spec\": {\"initContainers\": [\n\t\t{\"image\": \"app\", \"x\": 1}\n\t]}\n}",
        "{\n\t\"kind\": \"Pod\", \"spec\": {\"initContainers\": [\n\t\t{\"image\": \"app:kdev-1\", \"imagePullPolicy\": \"Never\", \"x\": 1}\n\t]}\n}",
    );
}

#[test]
fn line_endings_and_byte_order_mark_are_kept() {
    check(
        "\u{feff}kind: Pod\r\nspec:\r\n  containers:\r\n  - image: app\r\n    name: a\r\n",
        "\u{feff}kind: Pod\r\nspec:\r\n  containers:\r\n  - image: app:kdev-1\r\n    imagePullPolicy: Never\r\n    name: a\r\n",
    );
    check_spec(
        "containers:\n- name: a\n  image: app",
        "containers:\n- name: a\n  image: app:kdev-1\n  imagePullPolicy: Never",
    );
}

#[test]
fn multibyte_characters_do_not_shift_edit() {
    check_spec(
        "# übergrößé 🦀\nname: \"日本\"\ncontainers:\n- name: ü\n  image: app\n",
        "# übergrößé 🦀\nname: \"日本\"\ncontainers:\n- name: ü\n  image: app:kdev-1\n  imagePullPolicy: Never\n",
    );
}

#[test]
fn other_images_are_unchanged() {
    unchanged(&pod(
        "containers:\n- image: redis:7\n- image: team/app\n- image: localhost/app\n- image: not a reference\n",
    ));
    unchanged(
        "kind: ConfigMap\ndata:\n  x: |\n    containers:\n    ---\n    - image: app\nmode: 0644\nyes: \"yes\"\nn: 1_000\nbig: 12345678901234567890\n",
    );
    unchanged("# only a comment\n---\n---\n# and another\n");
    unchanged("kind: Job\nimage: app\nenv: [{name: IMAGE, value: app}]\n");
}

#[test]
fn all_documents_and_list_items_are_edited() {
    check(
        "a: 1\n--- # two\nkind: Job\nspec: {template: {spec: {containers: [{image: app}]}}}\n---\nkind: List\nitems:\n- kind: Pod\n  spec: {containers: [{image: app, imagePullPolicy: Never}]}\n",
        "a: 1\n--- # two\nkind: Job\nspec: {template: {spec: {containers: [{image: app:kdev-1, imagePullPolicy: Never}]}}}\n---\nkind: List\nitems:\n- kind: Pod\n  spec: {containers: [{image: app:kdev-1, imagePullPolicy: Never}]}\n",
    );
}

#[test]
fn anchors_tags_and_comments_are_kept() {
    check_spec(
        "containers:\n- image: &img app:1\n- image: !!str \"app\" # it's \"ours\"\n  imagePullPolicy: &p 'Always' # why 'not'\n",
        "containers:\n- image: &img app:kdev-1\n  imagePullPolicy: Never\n- image: !!str \"app:kdev-1\" # it's \"ours\"\n  imagePullPolicy: &p 'Never' # why 'not'\n",
    );
}

#[test]
fn mapping_with_anchor_or_tag_keeps_style() {
    check_spec(
        "containers:\n- &c {image: app}\n- !!map {image: app}\n",
        "containers:\n- &c {image: app:kdev-1, imagePullPolicy: Never}\n- !!map {image: app:kdev-1, imagePullPolicy: Never}\n",
    );
}

#[test]
fn aliased_image_is_expanded() {
    check_spec(
        "x: &img app:1\ncontainers:\n- image: *img\n- image: redis\n",
        "x: &img app:1\ncontainers:\n- image: app:kdev-1\n  imagePullPolicy: Never\n- image: redis\n",
    );
}

#[test]
fn objects_are_found_with_pod_specs() {
    let text = "kind: Deployment\nmetadata: {name: d, namespace: n}\nspec: {template: {spec: {nodeName: x, containers: [{image: app}]}}}\n---\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{image: redis}]}}}}}\n---\nkind: List\nitems: [{kind: Service, metadata: {name: s}}]\n";
    let objects = objects::objects(text, &[]).unwrap();
    let ids: Vec<String> = objects.iter().map(Object::id).collect();
    assert_eq!(ids, ["deployment/d", "cronjob/c", "service/s"]);
    let name = Reference::parse("app").unwrap().name().clone();
    assert_eq!(objects.iter().map(|o| o.uses(&name)).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(objects[0].namespace.as_deref(), Some("n"));
    assert!(objects[1].pod.is_some() && objects[2].pod.is_none());
}

#[test]
fn documents_are_split_like_kubectl() {
    let table = [
        ("a: 1\n---\nb: 2\n", &["a: 1\n", "b: 2\n"][..]),
        ("---\na: 1\n--- # two\nb: 2", &["a: 1\n", "b: 2"]),
        ("%YAML 1.2\n---\na: 1\n---\n# nothing\n---\n", &["a: 1\n"]),
        ("a: |\n  x\n  ---\n  y\n", &["a: |\n  x\n  ---\n  y\n"]),
        ("a: 1\r\n---\r\nb: 2\r\n", &["a: 1\r\n", "b: 2\r\n"]),
        ("--- {a: 1}\n", &[" {a: 1}\n"]),
        ("{\"a\": 1}", &["{\"a\": 1}"]),
        ("", &[]),
    ];
    for (text, documents) in table {
        assert_eq!(split(text), documents, "{text:?}");
    }
}

#[test]
fn all_workload_kinds_and_fields_are_edited() {
    let spec = "{containers: [{image: app}], initContainers: [{image: app}], ephemeralContainers: [{image: app}], volumes: [{name: v, image: {reference: app}}, {name: e, emptyDir: {}}]}";
    let edited = spec
        .replace("image: app", "image: app:kdev-1, imagePullPolicy: Never")
        .replace("reference: app", "reference: app:kdev-1, pullPolicy: Never");
    let template = "spec: {template: {spec: SPEC}}";
    let objects = [
        ("v1", "Pod", "spec: SPEC"),
        ("v1", "PodTemplate", "template: {spec: SPEC}"),
        ("v1", "ReplicationController", template),
        ("apps/v1", "Deployment", template),
        ("apps/v1", "DaemonSet", template),
        ("apps/v1", "ReplicaSet", template),
        ("apps/v1", "StatefulSet", template),
        ("batch/v1", "Job", template),
        ("batch/v1", "CronJob", "spec: {jobTemplate: {spec: {template: {spec: SPEC}}}}"),
    ];
    for (version, kind, form) in objects {
        let one = |spec| {
            format!("{{apiVersion: {version}, kind: {kind}, {}}}", form.replace("SPEC", spec))
        };
        check(&one(spec), &one(&edited));
        // In a list of a specific kind an item can omit its kind.
        let list = |spec| {
            format!(
                "apiVersion: {version}\nkind: {kind}List\nitems: [{{{}}}]\n",
                form.replace("SPEC", spec)
            )
        };
        check(&list(spec), &list(&edited));
        let custom = |spec| one(spec).replace(version, "example.com/v1");
        unchanged(&custom(spec));
    }
}

#[test]
fn configured_path_applies_to_its_kind_only() {
    let text = |kind: &str, image: &str| {
        format!("apiVersion: example.com/v1\nkind: {kind}\nspec: {{image: {image}, other: app}}\n")
    };
    check(&text("Mine", "'app'"), &text("Mine", "'app:kdev-1'"));
    unchanged(&text("Yours", "app"));
}

#[test]
fn merge_key_is_overridden() {
    check_spec(
        "base: &b {image: app, imagePullPolicy: Always}\ncontainers:\n- <<: *b\n  name: a\n- {<<: *b, name: c}\n",
        "base: &b {image: app, imagePullPolicy: Always}\ncontainers:\n- image: app:kdev-1\n  imagePullPolicy: Never\n  <<: *b\n  name: a\n- {image: app:kdev-1, imagePullPolicy: Never, <<: *b, name: c}\n",
    );
    // A value shared by two containers with the project's image is edited once.
    check_spec(
        "containers:\n- &c\n  image: app\n- <<: *c\n  name: b\n- *c\n",
        "containers:\n- &c\n  image: app:kdev-1\n  imagePullPolicy: Never\n- <<: *c\n  name: b\n- *c\n",
    );
    check_spec(
        "containers:\n- &c {name: a, image: redis, imagePullPolicy: Always}\n- <<: *c\n  image: app\n",
        "containers:\n- &c {name: a, image: redis, imagePullPolicy: Always}\n- <<: *c\n  image: app:kdev-1\n  imagePullPolicy: Never\n",
    );
}

#[test]
fn image_with_digest_is_unchanged() {
    let digest = "a".repeat(64);
    let source = format!("containers:\n- image: app:1@sha256:{digest}\n- image: app\n");
    let expected = source.replace("image: app\n", "image: app:kdev-1\n  imagePullPolicy: Never\n");
    check_spec(&source, &expected);
}

#[test]
fn empty_pull_policy_is_set() {
    for empty in
        ["imagePullPolicy:", "imagePullPolicy: # none", "imagePullPolicy: ~", "imagePullPolicy: ''"]
    {
        let filled = empty
            .replace(['~', '\''], "")
            .replace("Policy:", "Policy: Never")
            .trim_end()
            .to_owned();
        let filled =
            if empty.ends_with("''") { filled.replace("Never", "'Never'") } else { filled };
        check_spec(
            &format!("containers:\n- image: app\n  {empty}\n  name: a\n"),
            &format!("containers:\n- image: app:kdev-1\n  {filled}\n  name: a\n"),
        );
    }
}

#[test]
fn unedited_mentions_are_reported_with_position() {
    let text = "\
kind: Pod
metadata:
  name: app
  annotations: {example.com/image: app}
spec:
  containers:
  - image: app
    name: app
    args: [--sidecar=app:dev, --backend=app:8080]
    env:
    - {name: SIDECAR_IMAGE, value: app}
    - {name: HOST, value: app}
---
kind: Mine
spec: {image: app, image2: 'app:3'}
";
    let image = Reference::parse("app").unwrap();
    let paths = [ImagePath::parse("Mine:spec.image").unwrap()];
    let update =
        ImageUpdate { name: image.name(), tag: "kdev-1", policy: PullPolicy::Never, paths: &paths };
    let mentions = render(text, &update).unwrap().mentions;
    let found: Vec<_> = mentions
        .iter()
        .map(|u| (u.line, u.column, u.object.as_str(), u.field.as_str(), u.text.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (4, 36, "pod/app", "metadata.annotations.example.com/image", "app"),
            (9, 12, "pod/app", "spec.containers.args", "--sidecar=app:dev"),
            (11, 36, "pod/app", "spec.containers.env.value", "app"),
            (15, 28, "mine/", "spec.image2", "app:3"),
        ]
    );
}
