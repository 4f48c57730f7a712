//! Tables of manifests, before and after.

use super::*;

fn rendered(text: &str) -> std::result::Result<String, Fault> {
    let image = Reference::parse("app").unwrap();
    render(text, &Want { name: image.name(), tag: "kdev-1", policy: PullPolicy::Never })
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(rendered(source).unwrap(), expected);
    // What is rendered needs no further edit.
    assert_eq!(rendered(expected).unwrap(), expected);
}

#[track_caller]
fn unchanged(source: &str) {
    check(source, source);
}

#[test]
fn a_missing_policy_goes_on_a_line_below_the_image() {
    check(
        "spec:\n  containers:\n  - name: a\n    image: app # ours\n    ports: []\n",
        "spec:\n  containers:\n  - name: a\n    image: app:kdev-1 # ours\n    imagePullPolicy: Never\n    ports: []\n",
    );
    check(
        "containers:\n  - image: app:latest\n    name: a\n",
        "containers:\n  - image: app:kdev-1\n    imagePullPolicy: Never\n    name: a\n",
    );
}

#[test]
fn an_existing_policy_is_replaced_in_its_quotes() {
    check(
        "containers:\n- image: \"app:1\"\n  imagePullPolicy: 'Always'   # why\n",
        "containers:\n- image: \"app:kdev-1\"\n  imagePullPolicy: 'Never'   # why\n",
    );
    check(
        "containers:\n- {imagePullPolicy: Always, image: 'app'}\n",
        "containers:\n- {imagePullPolicy: Never, image: 'app:kdev-1'}\n",
    );
}

#[test]
fn the_name_stays_as_it_was_written() {
    check(
        "containers:\n- image: docker.io/library/app:dev\n  imagePullPolicy: Never\n",
        "containers:\n- image: docker.io/library/app:kdev-1\n  imagePullPolicy: Never\n",
    );
}

#[test]
fn flow_style_and_json_stay_what_they_are() {
    check(
        "containers: [{name: a, image: app}, {image: redis}]",
        "containers: [{name: a, image: app:kdev-1, imagePullPolicy: Never}, {image: redis}]",
    );
    check(
        "{\n\t\"initContainers\": [\n\t\t{\"image\": \"app\", \"x\": 1}\n\t]\n}",
        "{\n\t\"initContainers\": [\n\t\t{\"image\": \"app:kdev-1\", \"imagePullPolicy\": \"Never\", \"x\": 1}\n\t]\n}",
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_are_kept() {
    check(
        "\u{feff}containers:\r\n- image: app\r\n  name: a\r\n",
        "\u{feff}containers:\r\n- image: app:kdev-1\r\n  imagePullPolicy: Never\r\n  name: a\r\n",
    );
    check(
        "containers:\n- name: a\n  image: app",
        "containers:\n- name: a\n  image: app:kdev-1\n  imagePullPolicy: Never",
    );
}

#[test]
fn characters_of_many_bytes_do_not_shift_the_edit() {
    check(
        "# übergrößé 🦀\nname: \"日本\"\ncontainers:\n- name: ü\n  image: app\n",
        "# übergrößé 🦀\nname: \"日本\"\ncontainers:\n- name: ü\n  image: app:kdev-1\n  imagePullPolicy: Never\n",
    );
}

#[test]
fn others_images_and_everything_else_stay() {
    unchanged(
        "containers:\n- image: redis:7\n- image: team/app\n- image: localhost/app\n- image: not a reference\n",
    );
    unchanged(
        "data:\n  x: |\n    containers:\n    ---\n    - image: app\nmode: 0644\nyes: \"yes\"\nn: 1_000\nbig: 12345678901234567890\n",
    );
    unchanged("# only a comment\n---\n---\n# and another\n");
    unchanged("image: app\nenv: [{name: IMAGE, value: app}]\n");
}

#[test]
fn each_document_and_each_item_of_a_list_is_edited() {
    check(
        "a: 1\n--- # two\ncontainers:\n- image: app\n  imagePullPolicy: Always\n---\nkind: List\nitems:\n- spec: {containers: [{image: app, imagePullPolicy: Never}]}\n",
        "a: 1\n--- # two\ncontainers:\n- image: app:kdev-1\n  imagePullPolicy: Never\n---\nkind: List\nitems:\n- spec: {containers: [{image: app:kdev-1, imagePullPolicy: Never}]}\n",
    );
}

#[test]
fn anchors_tags_and_comments_around_a_value_stay() {
    check(
        "containers:\n- image: &img app:1\n- image: !!str \"app\" # it's \"ours\"\n  imagePullPolicy: &p 'Always' # why 'not'\n",
        "containers:\n- image: &img app:kdev-1\n  imagePullPolicy: Never\n- image: !!str \"app:kdev-1\" # it's \"ours\"\n  imagePullPolicy: &p 'Never' # why 'not'\n",
    );
}

#[test]
fn an_aliased_image_is_written_out() {
    check(
        "x: &img app:1\ncontainers:\n- image: *img\n- image: redis\n",
        "x: &img app:1\ncontainers:\n- image: app:kdev-1\n  imagePullPolicy: Never\n- image: redis\n",
    );
}

#[test]
fn what_cannot_be_edited_with_certainty_is_refused() {
    let digest = "a".repeat(64);
    let table = [
        (format!("containers:\n- image: app@sha256:{digest}\n"), 2, "pinned by digest"),
        ("base: &b {image: app}\ncontainers:\n- <<: *b\n  name: a\n".into(), 1, "merge key"),
        ("containers:\n- image: >-\n    app\n".into(), 3, "one line"),
        ("containers:\n- image: {{ .Values.image }}\n".into(), 2, "template"),
        ("a: 1\na: 2\n".into(), 1, "duplicate"),
    ];
    for (text, line, reason) in table {
        let fault = rendered(&text).unwrap_err();
        assert_eq!(fault.line, line, "{fault:?}");
        assert!(fault.reason.contains(reason), "{fault:?}");
    }
}

#[test]
fn objects_are_found_with_their_pods() {
    let text = "kind: Deployment\nmetadata: {name: d, namespace: n}\nspec: {template: {spec: {nodeName: x, containers: [{image: app}]}}}\n---\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{image: redis}]}}}}}\n---\nkind: List\nitems: [{kind: Service, metadata: {name: s}}]\n";
    let manifest = Manifest { path: "m.yaml".into(), text: text.into() };
    let objects = manifest.objects().unwrap();
    let ids: Vec<String> = objects.iter().map(Object::id).collect();
    assert_eq!(ids, ["deployment/d", "cronjob/c", "service/s"]);
    let name = Reference::parse("app").unwrap().name().clone();
    assert_eq!(objects.iter().map(|o| o.uses(&name)).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(objects[0].namespace.as_deref(), Some("n"));
    assert!(objects[1].pod.is_some() && objects[2].pod.is_none());
}

#[test]
fn a_text_is_split_where_kubectl_splits_it() {
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
