//! The keys that sign access tokens: a shared secret (HS256), or a key pair with a public key that others may fetch as
//! a JWKS (RFC 7517). One algorithm is used. A previous secret or key of that algorithm is still accepted while it is
//! configured.
use crate::base::crypto::sha256;
use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rsa::traits::PublicKeyParts;
use serde_json::json;

/// The minimum that RFC 7518, 3.3 requires.
const LEAST_RSA_BITS: usize = 2048;

/// The key that signs tokens, and the keys that verify them.
pub struct SigningKeys {
    pub algorithm: Algorithm,
    sign: EncodingKey,
    /// The first belongs to the current key. A second one belongs to the previous key.
    verify: Vec<Verifier>,
}

struct Verifier {
    key: DecodingKey,
    public: Option<PublicKey>,
}

/// The public key of a key pair, as a JWK contains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The thumbprint of the key (RFC 7638).
    pub kid: String,
    pub algorithm: &'static str,
    pub parts: PublicParts,
}

/// The members of a public key, in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicParts {
    /// The point of an Ed25519 key (RFC 8037).
    Ed25519 {
        x: String,
    },
    Rsa {
        n: String,
        e: String,
    },
}

impl SigningKeys {
    pub fn hs256(secret: &[u8], previous: Option<&[u8]>) -> Self {
        let verifier = |secret| Verifier { key: DecodingKey::from_secret(secret), public: None };
        let verify = std::iter::once(secret).chain(previous).map(verifier).collect();
        Self { algorithm: Algorithm::HS256, sign: EncodingKey::from_secret(secret), verify }
    }

    /// `pem` is a private key in PKCS#8, as `openssl genpkey` writes it.
    pub fn eddsa(pem: &str, previous: Option<&str>) -> anyhow::Result<Self> {
        let sign = EncodingKey::from_ed_pem(pem.as_bytes()).context("is no Ed25519 key")?;
        let pems = std::iter::once(pem).chain(previous);
        let verify = pems.map(ed25519).collect::<anyhow::Result<_>>()?;
        Ok(Self { algorithm: Algorithm::EdDSA, sign, verify })
    }

    /// As [`Self::eddsa`], but for RSA keys. They must have at least 2048 bits.
    pub fn rs256(pem: &str, previous: Option<&str>) -> anyhow::Result<Self> {
        let sign = EncodingKey::from_rsa_pem(pem.as_bytes()).context("is no RSA key")?;
        let pems = std::iter::once(pem).chain(previous);
        let verify = pems.map(rsa_key).collect::<anyhow::Result<_>>()?;
        Ok(Self { algorithm: Algorithm::RS256, sign, verify })
    }

    pub fn header(&self) -> Header {
        let public = self.verify.first().and_then(|verifier| verifier.public.as_ref());
        Header { kid: public.map(|public| public.kid.clone()), ..Header::new(self.algorithm) }
    }

    pub fn signer(&self) -> &EncodingKey {
        &self.sign
    }

    /// The keys that may have signed a token with this header. Secrets have no id, so all of them are tried. A key pair
    /// is chosen by its id.
    pub fn verifiers<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a DecodingKey> {
        let fits = move |verifier: &&Verifier| match &verifier.public {
            Some(public) => kid == Some(&public.kid),
            None => true,
        };
        self.verify.iter().filter(fits).map(|verifier| &verifier.key)
    }

    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.verify.iter().filter_map(|verifier| verifier.public.as_ref())
    }
}

fn ed25519(pem: &str) -> anyhow::Result<Verifier> {
    let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).ok().context("is no Ed25519 key in PKCS#8")?;
    let x = BASE64.encode(key.verifying_key().as_bytes());
    let key = DecodingKey::from_ed_components(&x)?;
    let kid = thumbprint(&json!({"crv": "Ed25519", "kty": "OKP", "x": x}));
    Ok(Verifier { key, public: Some(PublicKey { kid, algorithm: "EdDSA", parts: PublicParts::Ed25519 { x } }) })
}

fn rsa_key(pem: &str) -> anyhow::Result<Verifier> {
    let key = rsa::RsaPrivateKey::from_pkcs8_pem(pem).ok().context("is no RSA key in PKCS#8")?;
    if key.n().bits() < LEAST_RSA_BITS {
        bail!("must have at least {LEAST_RSA_BITS} bits");
    }
    let (n, e) = (BASE64.encode(key.n().to_bytes_be()), BASE64.encode(key.e().to_bytes_be()));
    let key = DecodingKey::from_rsa_components(&n, &e)?;
    let kid = thumbprint(&json!({"e": e, "kty": "RSA", "n": n}));
    Ok(Verifier { key, public: Some(PublicKey { kid, algorithm: "RS256", parts: PublicParts::Rsa { n, e } }) })
}

/// The thumbprint of RFC 7638: the SHA-256 of the required members, in the order of their names, without spaces.
fn thumbprint(members: &serde_json::Value) -> String {
    BASE64.encode(sha256(members.to_string().as_bytes()))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Keys for tests only, made by `openssl genpkey`.
    pub const ED25519: &str = include_str!("testdata/ed25519.pem");
    pub const OTHER_ED25519: &str = include_str!("testdata/other_ed25519.pem");
    pub const RSA: &str = include_str!("testdata/rsa2048.pem");

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        let keys = SigningKeys::eddsa(ED25519, Some(OTHER_ED25519)).unwrap();
        let public: Vec<_> = keys.public_keys().collect();
        assert_eq!(public.len(), 2);
        assert_ne!(public[0].kid, public[1].kid);
        assert_eq!(keys.header().kid.as_ref(), Some(&public[0].kid));
        assert_eq!(keys.verifiers(Some(&public[1].kid)).count(), 1);
        assert_eq!((keys.verifiers(Some("other")).count(), keys.verifiers(None).count()), (0, 0));
        // The example of RFC 8037, appendix A.3.
        let example = json!({"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        assert_eq!(thumbprint(&example), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn keys_of_another_kind_or_too_small_are_refused() {
        assert!(SigningKeys::eddsa(RSA, None).is_err() && SigningKeys::rs256(ED25519, None).is_err());
        assert!(SigningKeys::rs256(RSA, None).is_ok());
        assert!(SigningKeys::eddsa("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None).is_err());
        assert!(SigningKeys::rs256(include_str!("testdata/rsa1024.pem"), None).is_err());
    }

    #[test]
    fn secrets_have_no_public_half() {
        let keys = SigningKeys::hs256(b"secret", Some(b"former"));
        assert_eq!((keys.public_keys().count(), keys.header().kid), (0, None));
        assert_eq!(keys.verifiers(None).count(), 2);
    }
}
