//! The certificate authority of the cluster, and the certificates that it signs.

use super::node;
use super::paths::{HOST, state};
use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::path::Path;

type Authority = Issuer<'static, KeyPair>;

/// Creates all certificates and keys, in `pki/` and in the folders of the nodes.
pub(crate) fn create() -> Result<()> {
    let pki = state("pki");
    let authority = create_authority(&pki)?;
    let server = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "10.96.0.1",
        HOST,
    ];
    issue(&authority, &pki.join("apiserver"), ("kube-apiserver", ""), &server)?;
    issue(&authority, &pki.join("admin"), ("admin", "system:masters"), &[])?;
    for name in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        issue(&authority, &pki.join(name), (&format!("system:{name}"), ""), &[])?;
    }
    for node in &node::NODES {
        let subject = (&*format!("system:node:{}", node.name), "system:nodes");
        issue(&authority, &pki.join(node.name), subject, &[])?;
        let names = [node.name, &node.address()];
        issue(&authority, &node.folder().join("kubelet-server"), subject, &names)?;
    }
    let accounts = KeyPair::generate()?;
    fs::write(pki.join("service-account.key"), accounts.serialize_pem())?;
    fs::write(pki.join("service-account.pub"), accounts.public_key_pem())?;
    Ok(())
}

fn create_authority(pki: &Path) -> Result<Authority> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "kdev-lab");
    let key = KeyPair::generate()?;
    fs::write(pki.join("ca.crt"), params.self_signed(&key)?.pem())?;
    Ok(Issuer::new(params, key))
}

/// Signs a certificate for a common name and an organization: a server certificate if there
/// are alternative names, otherwise a client certificate.
fn issue(
    authority: &Authority,
    stem: &Path,
    (common_name, organization): (&str, &str),
    names: &[&str],
) -> Result<()> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let usage = match names.as_slice() {
        [] => ExtendedKeyUsagePurpose::ClientAuth,
        _ => ExtendedKeyUsagePurpose::ServerAuth,
    };
    let mut params = CertificateParams::new(names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    let key = KeyPair::generate()?;
    fs::write(stem.with_extension("crt"), params.signed_by(&key, authority)?.pem())?;
    fs::write(stem.with_extension("key"), key.serialize_pem())?;
    Ok(())
}
