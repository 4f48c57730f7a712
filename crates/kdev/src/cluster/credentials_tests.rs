//! Tests of the help for credentials.

use super::*;

fn credentials(user: &str) -> Credentials {
    let text = format!("{{name: dev, user: {user}}}");
    let mut entry: UserEntry = serde_yaml::from_str(&text).unwrap();
    entry.file = Some("/home/dev/.kube/config".into());
    Credentials { user: "dev".to_owned(), entry: Some(entry) }
}

/// The texts of kubectl 1.32 for each of its verbs.
#[test]
fn rejected_credentials_are_recognized() {
    let rejected = [
        "error: You must be logged in to the server (Unauthorized)",
        "error: You must be logged in to the server (the server has asked for the client to provide credentials)",
        "error: error validating \"cm.yaml\": error validating data: failed to download openapi: the server has asked for the client to provide credentials; if you choose to ignore these errors, turn validation off with --validate=false",
        "Error from server (Forbidden): nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
    ];
    let other = [
        "Error from server (Forbidden): nodes is forbidden: User \"dev\" cannot list resource \"nodes\"",
        "Error from server (InternalError): Internal error occurred: failed calling webhook \"a.b\": the server has asked for the client to provide credentials",
    ];
    assert!(rejected.iter().all(|text| are_rejected(text)));
    assert!(!other.iter().any(|text| are_rejected(text)));
}

#[test]
fn unusable_kubeconfig_is_recognized() {
    let table = [
        (
            "error: unable to read client-cert /k/absent.crt for dev due to open /k/absent.crt: no such file or directory",
            "{client-certificate: absent.crt}",
            "correct the files that the kubeconfig names; see `K config view --minify`",
        ),
        (
            "Error in configuration: unable to read certificate-authority /k/absent.crt for lab due to open /k/absent.crt: no such file or directory",
            "{token: x}",
            "correct the files that the kubeconfig names; see `K config view --minify`",
        ),
        (
            "error: open /k/absent-token: no such file or directory",
            "{tokenFile: absent-token}",
            "correct the files that the kubeconfig names; see `K config view --minify`",
        ),
        (
            "Unable to connect to the server: tls: private key type does not match public key type",
            "{client-certificate: a.crt}",
            "correct the files that the kubeconfig names; see `K config view --minify`",
        ),
        (
            "Unable to connect to the server: getting credentials: exec: executable aws not found\n\nIt looks like you are trying to use a client-go credential plugin that is not installed.",
            "{exec: {command: aws, args: [eks, get-token]}}",
            "install `aws`, which user `dev` of the kubeconfig runs to get credentials",
        ),
        (
            "Error loading SSO Token: Token for default does not exist\nUnable to connect to the server: getting credentials: exec: executable aws failed with exit code 255",
            "{exec: {command: aws, args: [eks, get-token]}}",
            "log in again with `aws sso login`",
        ),
        (
            "Please enter Username: error: EOF",
            "{}",
            "run `kubectl --kubeconfig /home/dev/.kube/config config set-credentials dev --token=TOKEN` with a new token",
        ),
    ];
    for (stderr, user, help) in table {
        assert!(are_unusable(stderr), "{stderr}");
        assert_eq!(credentials(user).unusable_help("K", stderr), help, "{stderr}");
    }
    assert!(!are_unusable("error: open is not a verb\nsecond line"));
}

#[test]
fn credentials_are_described_with_their_place() {
    let now = "2026-11-28T00:00:00Z".parse().unwrap();
    let expired = include_str!("../../../kdev-core/src/kube/expiry/expired.crt");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dev.crt"), expired).unwrap();
    let table = [
        (
            "{client-certificate: dev.crt}",
            "the client certificate of user `dev` in `DIR/dev.crt` expired at 2021-01-01T00:00:00Z",
        ),
        (
            "{client-certificate-data: DATA+OMITTED}",
            "the client certificate of user `dev` in `DIR/config` is not accepted",
        ),
        ("{token: wrong}", "the token of user `dev` in `DIR/config` is not accepted"),
        (
            "{token: e30.eyJleHAiOjE3NjcyMjU2MDB9.c2ln}",
            "the token of user `dev` in `DIR/config` expired at 2026-01-01T00:00:00Z",
        ),
        ("{tokenFile: absent}", "the token of user `dev` in `DIR/absent` is not accepted"),
        (
            "{exec: {command: aws, args: [eks, get-token, --cluster-name, a b]}}",
            "the credentials of user `dev` in `DIR/config` are the output of `aws eks get-token --cluster-name 'a b'`",
        ),
        (
            "{auth-provider: {name: oidc}}",
            "the credentials of user `dev` in `DIR/config` are from auth provider `oidc`",
        ),
        (
            "{username: a, password: b}",
            "user `dev` in `DIR/config` has neither a client certificate nor a token",
        ),
    ];
    for (user, expected) in table {
        let mut credentials = credentials(user);
        credentials.entry.as_mut().unwrap().file = Some(folder.path().join("config"));
        let description = credentials.describe(now);
        let dir = folder.path().display().to_string();
        assert_eq!(description.replace(&dir, "DIR"), expected);
    }
    let absent = Credentials { user: "dev".to_owned(), entry: None };
    assert_eq!(absent.describe(now), "user `dev` not found in the kubeconfig");
    assert_eq!(Credentials::default().describe(now), "the context sets no user");
}

#[test]
fn renewal_fits_source_of_credentials() {
    let plugin =
        |command: &str, args: &str| format!("{{exec: {{command: {command}, args: [{args}]}}}}");
    let certificate = "{client-certificate-data: eA==}";
    let table = [
        ("prod", plugin("/usr/bin/aws", "eks, get-token"), "log in again with `aws sso login`"),
        ("prod", plugin("gke-gcloud-auth-plugin", ""), "log in again with `gcloud auth login`"),
        ("prod", plugin("kubelogin", "get-token, --server-id, x"), "log in again with `az login`"),
        (
            "prod",
            plugin("kubectl", "oidc-login, get-token"),
            "log in again with `kubectl oidc-login clean`",
        ),
        ("prod", plugin("my-plugin", "a b"), "run `my-plugin 'a b'`, and correct its error"),
        ("prod", "{tokenFile: /run/token}".to_owned(), "write a new token to `/run/token`"),
        (
            "prod",
            "{token: x}".to_owned(),
            "run `kubectl --kubeconfig /home/dev/.kube/config config set-credentials dev --token=TOKEN` with a new token",
        ),
        ("kind-a", certificate.to_owned(), "run `kind export kubeconfig --name a`"),
        (
            "k3d-a",
            certificate.to_owned(),
            "run `k3d kubeconfig merge a --kubeconfig-merge-default`",
        ),
        (
            "p",
            "{client-certificate: /home/dev/.minikube/profiles/p/client.crt}".to_owned(),
            "run `minikube start --profile p`",
        ),
        (
            "prod",
            certificate.to_owned(),
            "copy a new kubeconfig from a control plane node; with kubeadm, `sudo kubeadm kubeconfig user --client-name dev` prints one there",
        ),
    ];
    for (context, user, help) in table {
        assert_eq!(credentials(&user).renewal_help(context), help, "{user}");
    }
    let with_file = |file: &str| {
        let mut credentials = credentials(certificate);
        credentials.entry.as_mut().unwrap().file = Some(file.into());
        credentials.renewal_help("default")
    };
    assert!(with_file("/etc/rancher/k3s/k3s.yaml").starts_with("run `sudo systemctl restart k3s`"));
    let admin = "run `sudo kubeadm certs renew admin.conf`";
    assert_eq!(with_file("/etc/kubernetes/admin.conf"), admin);
}
