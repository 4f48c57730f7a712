//! The credentials of a user in a kubeconfig: why they may be rejected, and how to renew them.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kdev_core::kube::expiry::{self, Validity};
use kdev_core::shell::quote;
use serde::Deserialize;

use crate::process::Failure;

/// A user of a kubeconfig.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UserEntry {
    pub(super) name: String,
    #[serde(default)]
    user: Option<UserBody>,
    /// The kubeconfig with this user, unless `kubectl` has merged several.
    #[serde(skip)]
    pub(super) file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserBody {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    exec: Option<Exec>,
    auth_provider: Option<AuthProvider>,
}

#[derive(Clone, Debug, Deserialize)]
struct Exec {
    command: String,
    args: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct AuthProvider {
    name: String,
}

/// The user of a context.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The name in the context, which is empty if the context sets no user.
    pub(super) user: String,
    /// The entry with this name, if there is one.
    pub(super) entry: Option<UserEntry>,
}

/// The credentials that the API server rejected.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{description}")]
pub struct RejectedCredentials {
    /// Where the credentials come from, and when they expire if it is known.
    pub description: String,
    /// The failed `kubectl`.
    #[source]
    pub source: Failure,
}

/// Returns whether the API server did not accept the credentials, or received none.
pub(super) fn are_rejected(stderr: &str) -> bool {
    // The texts of requests, of kubectl's discovery, and of the download of the schema.
    const TEXTS: [&str; 4] = [
        "(Unauthorized)",
        "must be logged in to the server",
        "the server has asked for the client to provide credentials",
        "User \"system:anonymous\"",
    ];
    TEXTS.iter().any(|text| stderr.contains(text)) && !stderr.contains("failed calling webhook")
}

/// Returns whether `kubectl` sent no request, because it could not use the kubeconfig.
pub(super) fn are_unusable(stderr: &str) -> bool {
    const TEXTS: [&str; 8] = [
        "getting credentials: ",
        "unable to read client-",
        "unable to read certificate-authority",
        "no Auth Provider found",
        "auth plugin has been removed",
        "Please enter Username",
        "tls: failed to find any PEM data",
        "tls: private key ",
    ];
    TEXTS.iter().any(|text| stderr.contains(text)) || missing_token_file(stderr)
}

/// Returns whether the file of a token is missing: the whole message is that of Go's `open`.
fn missing_token_file(stderr: &str) -> bool {
    stderr.trim().strip_prefix("error: open ").is_some_and(|rest| !rest.contains('\n'))
}

impl Credentials {
    /// Describes the credentials at `now`, as a cause of their rejection.
    pub(super) fn describe(&self, now: Timestamp) -> String {
        let user = quoted_user(&self.user);
        let Some(entry) = &self.entry else {
            return match self.user.as_str() {
                "" => "the context sets no user".to_owned(),
                _ => format!("{user} not found in the kubeconfig"),
            };
        };
        let body = entry.user.clone().unwrap_or_default();
        let place = entry.place();
        let valid = |validity: Option<Validity>| match validity {
            Some(validity) => validity.describe(now),
            None => "is not accepted".to_owned(),
        };
        if let Some(exec) = &body.exec {
            format!("the credentials of {user}{place} are the output of `{}`", exec.command_line())
        } else if let Some(provider) = &body.auth_provider {
            format!("the credentials of {user}{place} are from auth provider `{}`", provider.name)
        } else if let Some(path) = &body.token_file {
            let path = entry.resolve(path);
            let token = fs::read_to_string(&path).unwrap_or_default();
            let validity = expiry::token_validity(token.trim());
            format!("the token of {user} in `{}` {}", path.display(), valid(validity))
        } else if let Some(token) = &body.token {
            format!("the token of {user}{place} {}", valid(expiry::token_validity(token)))
        } else if let Some(data) = &body.client_certificate_data {
            let validity = expiry::certificate_data_validity(data);
            format!("the client certificate of {user}{place} {}", valid(validity))
        } else if let Some(path) = &body.client_certificate {
            let path = entry.resolve(path);
            let pem = fs::read_to_string(&path).unwrap_or_default();
            let validity = expiry::certificate_validity(&pem);
            format!("the client certificate of {user} in `{}` {}", path.display(), valid(validity))
        } else {
            format!("{user}{place} has neither a client certificate nor a token")
        }
    }

    /// Returns how to renew the credentials.
    pub(super) fn renewal_help(&self, context: &str) -> String {
        let Some(entry) = &self.entry else {
            return format!(
                "run `kubectl config set-context {} --user=USER` with a user of the kubeconfig",
                quote(context)
            );
        };
        let body = entry.user.clone().unwrap_or_default();
        if let Some(exec) = &body.exec {
            exec.login_help()
        } else if let Some(path) = &body.token_file {
            format!("write a new token to `{}`", entry.resolve(path).display())
        } else if body.client_certificate.is_some() || body.client_certificate_data.is_some() {
            self.certificate_help(context, entry, body.client_certificate.as_deref())
        } else {
            entry.new_token_help()
        }
    }

    /// Returns how to renew a client certificate, which the distribution issues.
    fn certificate_help(&self, context: &str, entry: &UserEntry, path: Option<&Path>) -> String {
        let file = entry.file.as_deref().unwrap_or(Path::new(""));
        if let Some(name) = context.strip_prefix("kind-") {
            return format!("run `kind export kubeconfig --name {}`", quote(name));
        }
        if let Some(name) = context.strip_prefix("k3d-") {
            return format!(
                "run `k3d kubeconfig merge {} --kubeconfig-merge-default`",
                quote(name)
            );
        }
        if path.is_some_and(|path| path.iter().any(|part| part == ".minikube")) {
            return format!("run `minikube start --profile {}`", quote(context));
        }
        if file == Path::new("/etc/rancher/k3s/k3s.yaml") {
            return "run `sudo systemctl restart k3s`, which renews expired certificates"
                .to_owned();
        }
        if file == Path::new("/etc/rancher/rke2/rke2.yaml") {
            return "run `sudo systemctl restart rke2-server`, which renews expired certificates"
                .to_owned();
        }
        if let Ok(name) = file.strip_prefix("/etc/kubernetes") {
            return format!("run `sudo kubeadm certs renew {}`", quote(&name.to_string_lossy()));
        }
        format!(
            "copy a new kubeconfig from a control plane node; with kubeadm, `sudo kubeadm kubeconfig user --client-name {}` prints one there",
            quote(&self.user)
        )
    }

    /// Returns the fix for a kubeconfig that `kubectl` cannot use.
    pub(super) fn unusable_help(&self, kubectl: &str, stderr: &str) -> String {
        let body = self.entry.as_ref().and_then(|entry| entry.user.clone()).unwrap_or_default();
        let exec = body.exec.as_ref();
        if let Some(exec) = exec.filter(|_| stderr.contains("not found")) {
            return format!(
                "install `{}`, which {} of the kubeconfig runs to get credentials",
                exec.command,
                quoted_user(&self.user)
            );
        }
        if let Some(exec) = exec.filter(|_| stderr.contains("getting credentials: ")) {
            return exec.login_help();
        }
        if stderr.contains("Please enter Username") {
            return match &self.entry {
                Some(entry) => entry.new_token_help(),
                None => format!(
                    "set `user` of the context in the kubeconfig; see `{kubectl} config view --minify`"
                ),
            };
        }
        if stderr.contains("auth plugin has been removed") {
            return "update the kubeconfig with the tool that created it, so that it uses an `exec` plugin".to_owned();
        }
        format!("correct the files that the kubeconfig names; see `{kubectl} config view --minify`")
    }
}

fn quoted_user(name: &str) -> String {
    format!("user `{name}`")
}

impl UserEntry {
    /// Returns the kubeconfig as the end of a noun phrase.
    fn place(&self) -> String {
        self.file.as_ref().map(|file| format!(" in `{}`", file.display())).unwrap_or_default()
    }

    /// Returns the path of a file that the kubeconfig names, relative to its own folder.
    fn resolve(&self, path: &Path) -> PathBuf {
        let folder = self.file.as_deref().and_then(Path::parent);
        folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    fn new_token_help(&self) -> String {
        let flag = |file: &PathBuf| format!(" --kubeconfig {}", quote(&file.to_string_lossy()));
        let file = self.file.as_ref().map(flag).unwrap_or_default();
        format!(
            "run `kubectl{file} config set-credentials {} --token=TOKEN` with a new token",
            quote(&self.name)
        )
    }
}

impl Exec {
    fn command_line(&self) -> String {
        let args = self.args.iter().flatten();
        let words = std::iter::once(&self.command).chain(args).map(|word| quote(word));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Returns the login command of the plugin's provider, or that of the plugin.
    fn login_help(&self) -> String {
        let name = Path::new(&self.command).file_name().unwrap_or_default().to_string_lossy();
        let args = self.args.as_deref().unwrap_or_default();
        let has = |word: &str| args.iter().any(|arg| arg == word);
        let login = match name.as_ref() {
            "aws" | "aws-iam-authenticator" => "aws sso login",
            "gke-gcloud-auth-plugin" | "gcloud" => "gcloud auth login",
            // The plugin of Azure; another plugin for OIDC has the same name.
            "kubelogin" if has("--server-id") => "az login",
            "kubelogin" => "kubelogin clean",
            "kubectl" if has("oidc-login") => "kubectl oidc-login clean",
            "kubectl-oidc_login" => "kubectl oidc-login clean",
            "doctl" => "doctl auth init",
            "oci" => "oci session authenticate",
            "tsh" => "tsh login",
            _ => {
                return format!("run `{}`, and correct its error", self.command_line());
            }
        };
        format!("log in again with `{login}`")
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
