//! Entrypoints that cannot start.

use std::fs;
use std::path::Path;

use super::Scenario;
use crate::lab::{in_node, run};

const NEVER: &str = "imagePullPolicy: Never";
const SLEEP_ENTRYPOINT: &str = "ENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n";
/// The beginning of a program for another architecture: an ELF header for `AArch64`.
const ARM_ELF_HEADER: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0";

impl Scenario {
    /// Creates a pod whose image has these last lines in its Dockerfile, and waits until its
    /// container fails.
    fn create_failing_pod(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, lines);
        self.import("node-1", "k8s.io", &image);
        self.create_pod("node-1", &image, NEVER);
        self.wait_for_reason(&["CrashLoopBackOff", "RunContainerError", "CreateContainerError"]);
    }

    /// Writes a file into the build context.
    fn write_file(&self, name: &str, content: &[u8], mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Builds the image with these last lines, loads it, and waits until the pod is ready.
    fn rebuild_and_load(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, lines);
        self.load(&image);
        self.wait_until_ready();
    }
}

/// The path of the dynamic loader on this machine.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_for_other_machine_reports_wrong_architecture() {
    let scenario = Scenario::on_node("node-1", "program-architecture");
    scenario.write_file("app", ARM_ELF_HEADER, 0o755);
    scenario.create_failing_pod("COPY app /app\nENTRYPOINT [\"/app\"]\n");
    let report = scenario.assert_causes(&["wrong-architecture"]);
    // Use a program for this architecture, and follow the help.
    fs::write(
        scenario.path("Dockerfile"),
        format!("FROM scratch\nCOPY busybox /\n{SLEEP_ENTRYPOINT}"),
    )
    .unwrap();
    let folder = scenario.path("").display().to_string();
    report.follow_help_with(0, &[(" . ", &format!(" {folder} "))]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_for_other_platform_reports_wrong_architecture() {
    let scenario = Scenario::on_node("node-1", "image-architecture");
    scenario.write_file("app", ARM_ELF_HEADER, 0o755);
    fs::write(scenario.path("Dockerfile"), "FROM scratch\nCOPY app /\nENTRYPOINT [\"/app\"]\n")
        .unwrap();
    let build =
        ["build", "--quiet", "--platform", "linux/arm64", "--tag", "image-architecture:dev"];
    run(crate::lab::docker(&build).arg(scenario.path("")));
    scenario.save("image-architecture:dev");
    let archive = scenario.path("image.tar").display().to_string();
    let import = ["ctr", "-n", "k8s.io", "images", "import", "--all-platforms", &archive];
    run(&mut in_node("node-1", &import));
    scenario.create_pod("node-1", "image-architecture:dev", NEVER);
    scenario.wait_for_reason(&["CrashLoopBackOff", "RunContainerError", "CreateContainerError"]);
    let report = scenario.assert_causes(&["wrong-architecture"]);
    fs::copy("/bin/busybox", scenario.path("busybox")).unwrap();
    fs::write(
        scenario.path("Dockerfile"),
        format!("FROM scratch\nCOPY busybox /\n{SLEEP_ENTRYPOINT}"),
    )
    .unwrap();
    let folder = scenario.path("").display().to_string();
    report.follow_help_with(0, &[(" . ", &format!(" {folder} "))]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_program_reports_entrypoint_not_found() {
    let scenario = Scenario::on_node("node-1", "no-program");
    scenario.create_failing_pod("ENTRYPOINT [\"/server\"]\n");
    let help = scenario.assert_causes(&["entrypoint-not-found"]).help(0).to_owned();
    assert!(help.starts_with("correct `ENTRYPOINT` or `CMD` in the Dockerfile"), "{help}");
    scenario.rebuild_and_load(SLEEP_ENTRYPOINT);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_command_reports_entrypoint_not_found() {
    let scenario = Scenario::on_node("node-2", "no-command");
    scenario.build("no-command:dev");
    scenario.import("node-2", "k8s.io", "no-command:dev");
    scenario.create_deployment(
        "node-2",
        "no-command:dev",
        &format!("{NEVER}\ncommand: [bash, -c, server]"),
    );
    scenario.wait_for_reason(&["CrashLoopBackOff", "RunContainerError"]);
    let help = scenario.assert_causes(&["entrypoint-not-found"]).help(0).to_owned();
    let manifest = "correct `command` of container `web` in the manifest of deployment/web";
    assert!(help.starts_with(manifest), "{help}");
    scenario.create_deployment(
        "node-2",
        "no-command:dev",
        &format!("{NEVER}\ncommand: [/busybox, sleep, '9999']"),
    );
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn file_without_x_bit_reports_entrypoint_not_executable() {
    let scenario = Scenario::on_node("node-1", "no-x-bit");
    scenario.write_file("app", b"#!/busybox sh\n/busybox sleep 9999\n", 0o644);
    scenario.create_failing_pod("COPY app /app\nENTRYPOINT [\"/app\"]\n");
    let help = scenario.assert_causes(&["entrypoint-not-executable"]).help(0).to_owned();
    assert!(help.contains("`RUN chmod 755 /app`"), "{help}");
    let lines =
        "COPY app /app\nRUN [\"/busybox\", \"chmod\", \"755\", \"/app\"]\nENTRYPOINT [\"/app\"]\n";
    scenario.rebuild_and_load(lines);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_loader_reports_library_not_found() {
    let scenario = Scenario::on_node("node-1", "no-loader");
    scenario.write_file("app", &fs::read("/bin/ls").unwrap(), 0o755);
    scenario.create_failing_pod("COPY app /app\nENTRYPOINT [\"/app\"]\n");
    let help = scenario.assert_causes(&["library-not-found"]).help(0).to_owned();
    assert!(help.starts_with("link the program statically"), "{help}");
    // busybox is linked statically.
    scenario.rebuild_and_load(SLEEP_ENTRYPOINT);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_library_reports_library_not_found() {
    let scenario = Scenario::on_node("node-1", "no-library");
    scenario.write_file("app", &fs::read("/bin/ls").unwrap(), 0o755);
    scenario.write_file("loader", &fs::read(Path::new(LOADER)).unwrap(), 0o755);
    scenario.create_failing_pod(&format!(
        "COPY app /app\nCOPY loader {LOADER}\nENTRYPOINT [\"/app\"]\n"
    ));
    let help = scenario.assert_causes(&["library-not-found"]).help(0).to_owned();
    assert!(help.starts_with("install the package that provides `"), "{help}");
    scenario.rebuild_and_load(SLEEP_ENTRYPOINT);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_without_passwd_reports_user_not_found() {
    let scenario = Scenario::on_node("node-1", "no-user");
    scenario.create_failing_pod(&format!("USER app\n{SLEEP_ENTRYPOINT}"));
    let help = scenario.assert_causes(&["user-not-found"]).help(0).to_owned();
    assert!(help.contains("`USER 1000`"), "{help}");
    scenario.rebuild_and_load(&format!("USER 1000\n{SLEEP_ENTRYPOINT}"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn passwd_without_user_reports_user_not_found() {
    let scenario = Scenario::on_node("node-1", "unlisted-user");
    scenario.write_file("passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644);
    scenario.create_failing_pod(&format!("COPY passwd /etc/passwd\nUSER app\n{SLEEP_ENTRYPOINT}"));
    let help = scenario.assert_causes(&["user-not-found"]).help(0).to_owned();
    assert!(help.contains("`USER 1000`"), "{help}");
    scenario.rebuild_and_load(&format!("USER 1000\n{SLEEP_ENTRYPOINT}"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn directory_reports_entrypoint_not_executable() {
    let scenario = Scenario::on_node("node-1", "entrypoint-directory");
    // `/app` is a directory.
    scenario.create_failing_pod("COPY busybox /app/busybox\nENTRYPOINT [\"/app\"]\n");
    let help = scenario.assert_causes(&["entrypoint-not-executable"]).help(0).to_owned();
    assert!(help.ends_with("if it is a directory, correct the target of `COPY`"), "{help}");
    scenario.rebuild_and_load(SLEEP_ENTRYPOINT);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_hidden_by_volume_reports_entrypoint_not_found() {
    let scenario = Scenario::on_node("node-1", "hidden-program");
    let image = "hidden-program:dev";
    scenario.build_with(
        image,
        "COPY busybox /app/busybox\nENTRYPOINT [\"/app/busybox\", \"sleep\", \"9999\"]\n",
    );
    scenario.import("node-1", "k8s.io", image);
    let pod = |folder: &str| {
        let lines = format!("{NEVER}\nvolumeMounts: [{{name: data, mountPath: {folder}}}]");
        let pod = scenario.pod_manifest("node-1", image, &lines);
        scenario.apply(&format!("{pod}  volumes: [{{name: data, emptyDir: {{}}}}]\n"));
    };
    pod("/app");
    scenario.wait_for_reason(&["CrashLoopBackOff", "RunContainerError", "CreateContainerError"]);
    let help = scenario.assert_causes(&["entrypoint-not-found"]).help(0).to_owned();
    assert!(help.starts_with("mount volume `data` at another path in"), "{help}");
    // Follow the help.
    run(&mut scenario.kubectl(&["delete", "pod", "web", "--now"]));
    pod("/data");
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn script_without_shebang_reports_no_interpreter() {
    let scenario = Scenario::on_node("node-1", "no-shebang");
    scenario.write_file("run.sh", b"/busybox sleep 9999\n", 0o755);
    let lines = "COPY run.sh /run.sh\nENTRYPOINT [\"/run.sh\"]\n";
    scenario.create_failing_pod(lines);
    let report = scenario.assert_causes(&["no-interpreter"]);
    scenario.write_file("run.sh", b"#!/busybox sh\n/busybox sleep 9999\n", 0o755);
    let folder = scenario.path("").display().to_string();
    report.follow_help_with(0, &[(" . ", &format!(" {folder} "))]);
    scenario.wait_until_ready();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_without_entrypoint_reports_entrypoint_not_found() {
    let scenario = Scenario::on_node("node-1", "no-entrypoint");
    scenario.create_failing_pod("");
    let help = scenario.assert_causes(&["entrypoint-not-found"]).help(0).to_owned();
    assert_eq!(help, "add `ENTRYPOINT [\"/PROGRAM\"]` to the Dockerfile");
    scenario.rebuild_and_load(SLEEP_ENTRYPOINT);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn file_as_working_directory_reports_start_failed() {
    let scenario = Scenario::on_node("node-2", "working-dir-file");
    scenario.build("working-dir-file:dev");
    scenario.import("node-2", "k8s.io", "working-dir-file:dev");
    scenario.create_deployment(
        "node-2",
        "working-dir-file:dev",
        &format!("{NEVER}\nworkingDir: /name"),
    );
    scenario.wait_for_reason(&["CrashLoopBackOff", "RunContainerError"]);
    let help = scenario.assert_causes(&["start-failed"]).help(0).to_owned();
    assert_eq!(help, "correct `workingDir` of container `web` in the manifest of deployment/web");
    scenario.create_deployment(
        "node-2",
        "working-dir-file:dev",
        &format!("{NEVER}\nworkingDir: /"),
    );
    scenario.wait_until_ready();
}
