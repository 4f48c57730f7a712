//! Programs that cannot be started.

use std::fs;
use std::path::Path;

use super::Scene;
use crate::lab::{in_node, run};

const NEVER: &str = "imagePullPolicy: Never";
const SLEEPS: &str = "ENTRYPOINT [\"/busybox\", \"sleep\", \"100000\"]\n";
/// The beginning of a program for another architecture: an ELF header that says
/// `AArch64`.
const ARM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0";

impl Scene {
    /// A pod whose image has these last lines in its Dockerfile.
    fn starts_in_vain(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, lines);
        self.import("node-1", "k8s.io", &image);
        self.pod("node-1", &image, NEVER);
        self.waits(&["CrashLoopBackOff", "RunContainerError", "CreateContainerError"]);
    }

    /// A file in the folder that is built from.
    fn file(&self, name: &str, content: &[u8], mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Builds the image as the help says, and loads it.
    fn is_rebuilt(&self, lines: &str) {
        let image = format!("{}:dev", self.name);
        self.build_with(&image, lines);
        self.load(&image);
        self.runs();
    }
}

/// Where a dynamically linked program of this machine looks for its loader.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_for_other_machine_reports_wrong_architecture() {
    let scene = Scene::on("node-1", "foreign-program");
    scene.file("app", ARM, 0o755);
    scene.starts_in_vain("COPY app /app\nENTRYPOINT [\"/app\"]\n");
    let found = scene.is_judged(&["wrong-architecture"]);
    // The right program, and then as the help says.
    fs::write(scene.path("Dockerfile"), format!("FROM scratch\nCOPY busybox /\n{SLEEPS}")).unwrap();
    let folder = scene.path("").display().to_string();
    found.follow_with(0, &[(" . ", &format!(" {folder} "))]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_for_other_platform_reports_wrong_architecture() {
    let scene = Scene::on("node-1", "foreign-image");
    scene.file("app", ARM, 0o755);
    fs::write(scene.path("Dockerfile"), "FROM scratch\nCOPY app /\nENTRYPOINT [\"/app\"]\n")
        .unwrap();
    let build = ["build", "--quiet", "--platform", "linux/arm64", "--tag", "foreign-image:dev"];
    run(crate::lab::docker(&build).arg(scene.path("")));
    scene.save("foreign-image:dev");
    let archive = scene.path("image.tar").display().to_string();
    let import = ["ctr", "-n", "k8s.io", "images", "import", "--all-platforms", &archive];
    run(&mut in_node("node-1", &import));
    scene.pod("node-1", "foreign-image:dev", NEVER);
    scene.waits(&["CrashLoopBackOff", "RunContainerError", "CreateContainerError"]);
    let found = scene.is_judged(&["wrong-architecture"]);
    fs::copy("/bin/busybox", scene.path("busybox")).unwrap();
    fs::write(scene.path("Dockerfile"), format!("FROM scratch\nCOPY busybox /\n{SLEEPS}")).unwrap();
    let folder = scene.path("").display().to_string();
    found.follow_with(0, &[(" . ", &format!(" {folder} "))]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_program_reports_entrypoint_not_found() {
    let scene = Scene::on("node-1", "no-program");
    scene.starts_in_vain("ENTRYPOINT [\"/server\"]\n");
    let help = scene.is_judged(&["entrypoint-not-found"]).help(0).to_owned();
    assert!(help.starts_with("correct `ENTRYPOINT` or `CMD` in the Dockerfile"), "{help}");
    scene.is_rebuilt(SLEEPS);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_command_reports_entrypoint_not_found() {
    let scene = Scene::on("node-2", "no-command");
    scene.build("no-command:dev");
    scene.import("node-2", "k8s.io", "no-command:dev");
    scene.deployment("node-2", "no-command:dev", &format!("{NEVER}\ncommand: [bash, -c, server]"));
    scene.waits(&["CrashLoopBackOff", "RunContainerError"]);
    let help = scene.is_judged(&["entrypoint-not-found"]).help(0).to_owned();
    let manifest = "correct `command` of container `web` in the manifest of deployment/web";
    assert!(help.starts_with(manifest), "{help}");
    scene.deployment(
        "node-2",
        "no-command:dev",
        &format!("{NEVER}\ncommand: [/busybox, sleep, '9999']"),
    );
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn file_without_x_bit_reports_entrypoint_not_executable() {
    let scene = Scene::on("node-1", "no-x-bit");
    scene.file("app", b"#!/busybox sh\n/busybox sleep 9999\n", 0o644);
    scene.starts_in_vain("COPY app /app\nENTRYPOINT [\"/app\"]\n");
    let help = scene.is_judged(&["entrypoint-not-executable"]).help(0).to_owned();
    assert!(help.contains("`RUN chmod 755 /app`"), "{help}");
    let lines =
        "COPY app /app\nRUN [\"/busybox\", \"chmod\", \"755\", \"/app\"]\nENTRYPOINT [\"/app\"]\n";
    scene.is_rebuilt(lines);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_loader_reports_library_not_found() {
    let scene = Scene::on("node-1", "no-loader");
    scene.file("app", &fs::read("/bin/ls").unwrap(), 0o755);
    scene.starts_in_vain("COPY app /app\nENTRYPOINT [\"/app\"]\n");
    let help = scene.is_judged(&["library-not-found"]).help(0).to_owned();
    assert!(help.starts_with("link the program statically"), "{help}");
    // As busybox is.
    scene.is_rebuilt(SLEEPS);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn missing_library_reports_library_not_found() {
    let scene = Scene::on("node-1", "no-library");
    scene.file("app", &fs::read("/bin/ls").unwrap(), 0o755);
    scene.file("loader", &fs::read(Path::new(LOADER)).unwrap(), 0o755);
    scene.starts_in_vain(&format!("COPY app /app\nCOPY loader {LOADER}\nENTRYPOINT [\"/app\"]\n"));
    let help = scene.is_judged(&["library-not-found"]).help(0).to_owned();
    assert!(help.starts_with("install the package that provides `"), "{help}");
    scene.is_rebuilt(SLEEPS);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_without_passwd_reports_user_not_found() {
    let scene = Scene::on("node-1", "no-user");
    scene.starts_in_vain(&format!("USER app\n{SLEEPS}"));
    let help = scene.is_judged(&["user-not-found"]).help(0).to_owned();
    assert!(help.contains("`USER 1000`"), "{help}");
    scene.is_rebuilt(&format!("USER 1000\n{SLEEPS}"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn passwd_without_user_reports_user_not_found() {
    let scene = Scene::on("node-1", "unlisted-user");
    scene.file("passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644);
    scene.starts_in_vain(&format!("COPY passwd /etc/passwd\nUSER app\n{SLEEPS}"));
    let help = scene.is_judged(&["user-not-found"]).help(0).to_owned();
    assert!(help.contains("`USER 1000`"), "{help}");
    scene.is_rebuilt(&format!("USER 1000\n{SLEEPS}"));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn directory_reports_entrypoint_not_executable() {
    let scene = Scene::on("node-1", "folder-program");
    // The name is a folder's, since a file was copied into it.
    scene.starts_in_vain("COPY busybox /app/busybox\nENTRYPOINT [\"/app\"]\n");
    let help = scene.is_judged(&["entrypoint-not-executable"]).help(0).to_owned();
    assert!(help.ends_with("if it is a directory, correct the target of `COPY`"), "{help}");
    scene.is_rebuilt(SLEEPS);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn program_hidden_by_volume_reports_entrypoint_not_found() {
    let scene = Scene::on("node-1", "hidden-program");
    let image = "hidden-program:dev";
    scene.build_with(
        image,
        "COPY busybox /app/busybox\nENTRYPOINT [\"/app/busybox\", \"sleep\", \"9999\"]\n",
    );
    scene.import("node-1", "k8s.io", image);
    let pod = |folder: &str| {
        let lines = format!("{NEVER}\nvolumeMounts: [{{name: data, mountPath: {folder}}}]");
        let pod = scene.pod_manifest("node-1", image, &lines);
        scene.apply(&format!("{pod}  volumes: [{{name: data, emptyDir: {{}}}}]\n"));
    };
    pod("/app");
    scene.waits(&["CrashLoopBackOff", "RunContainerError", "CreateContainerError"]);
    let help = scene.is_judged(&["entrypoint-not-found"]).help(0).to_owned();
    assert!(help.starts_with("mount volume `data` at another path in"), "{help}");
    // As the help says.
    run(&mut scene.kubectl(&["delete", "pod", "web", "--now"]));
    pod("/data");
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn script_without_shebang_reports_no_interpreter() {
    let scene = Scene::on("node-1", "no-shebang");
    scene.file("run.sh", b"/busybox sleep 9999\n", 0o755);
    let lines = "COPY run.sh /run.sh\nENTRYPOINT [\"/run.sh\"]\n";
    scene.starts_in_vain(lines);
    let found = scene.is_judged(&["no-interpreter"]);
    scene.file("run.sh", b"#!/busybox sh\n/busybox sleep 9999\n", 0o755);
    let folder = scene.path("").display().to_string();
    found.follow_with(0, &[(" . ", &format!(" {folder} "))]);
    scene.runs();
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_without_entrypoint_reports_entrypoint_not_found() {
    let scene = Scene::on("node-1", "no-entrypoint");
    scene.starts_in_vain("");
    let help = scene.is_judged(&["entrypoint-not-found"]).help(0).to_owned();
    assert_eq!(help, "add `ENTRYPOINT [\"/PROGRAM\"]` to the Dockerfile");
    scene.is_rebuilt(SLEEPS);
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn file_as_working_directory_reports_start_failed() {
    let scene = Scene::on("node-2", "work-in-file");
    scene.build("work-in-file:dev");
    scene.import("node-2", "k8s.io", "work-in-file:dev");
    scene.deployment("node-2", "work-in-file:dev", &format!("{NEVER}\nworkingDir: /name"));
    scene.waits(&["CrashLoopBackOff", "RunContainerError"]);
    let help = scene.is_judged(&["start-failed"]).help(0).to_owned();
    assert_eq!(help, "correct `workingDir` of container `web` in the manifest of deployment/web");
    scene.deployment("node-2", "work-in-file:dev", &format!("{NEVER}\nworkingDir: /"));
    scene.runs();
}
