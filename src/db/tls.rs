//! TLS to the database, and the verification of the server's certificate.
use anyhow::Context;
use rustls::DigitallySignedStruct;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is verified of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nothing is verified. The connection is encrypted, but its other end may be any server (libpq's `require` and
    /// `prefer`).
    None,
    /// The authority that issued the certificate (`verify-ca`).
    Authority,
    /// The authority, and the name by which the server is reached (`verify-full`).
    Name,
}

/// TLS for PostgreSQL. Without `ca_file`, the machine's own authorities are trusted.
pub(super) fn client_config(
    verification: Verification,
    ca_file: Option<&Path>,
) -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS can't be set up")?;
    let verifier: Arc<dyn ServerCertVerifier> = match verification {
        Verification::None => Arc::new(AnyCertificate(provider)),
        Verification::Authority => Arc::new(AnyName(by_authority(provider, ca_file)?)),
        Verification::Name => by_authority(provider, ca_file)?,
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn by_authority(provider: Arc<CryptoProvider>, ca_file: Option<&Path>) -> anyhow::Result<Arc<WebPkiServerVerifier>> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file)
                .with_context(|| format!("database.ca_file: {} can't be read", file.display()))?
            {
                roots.add(certificate.context("database.ca_file holds no certificate")?)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .context("no authority is known that could vouch for the database's certificate")
}

/// TLS for MariaDB. If `ca_file` is given, only its authorities are trusted: the driver would add the public ones. The
/// name is verified whenever the authority is, because the driver can't verify the authority alone.
pub(super) fn mysql_options(verification: Verification, ca_file: Option<PathBuf>) -> mysql_async::SslOpts {
    let is_verified = verification != Verification::None;
    let options = mysql_async::SslOpts::default()
        .with_danger_accept_invalid_certs(!is_verified)
        .with_danger_skip_domain_validation(!is_verified);
    match ca_file {
        Some(file) => options.with_root_certs(vec![file.into()]).with_disable_built_in_roots(true),
        None if is_verified => options.with_root_certs(machines_authorities().map(Into::into).collect()),
        None => options,
    }
}

/// The machine's own authorities that can be parsed. If one of them can't be parsed, the driver would refuse them all.
fn machines_authorities() -> impl Iterator<Item = Vec<u8>> {
    let mut readable = rustls::RootCertStore::empty();
    let certificates = rustls_native_certs::load_native_certs().certs.into_iter();
    certificates.filter(move |der| readable.add(der.clone()).is_ok()).map(|der| der.to_vec())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a valid certificate for any name. The inner verifier checks the name last: if it refuses only the name,
/// everything else is valid.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(cert, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
