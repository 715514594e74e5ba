//! Refresh tokens, which are opaque to clients. A token contains the tenant, the session, the generation, and a MAC
//! over the three. The token of any generation can be derived again, so that none has to be stored.
use crate::base::crypto::{derive_key, sha256};
use crate::base::opaque::REFRESH_TOKEN_PREFIX;
use crate::db::types::{SessionId, TenantId};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

const BODY: usize = 16 + 16 + 8;
const MAC: usize = 32;

/// The content of a token: the session, and the token's number in that session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    pub tenant: TenantId,
    pub session: SessionId,
    pub generation: i64,
}

/// A refresh token with a MAC that shows that we made it. Only [`RefreshTokens::read`] returns one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenuineToken(RefreshToken);

impl std::ops::Deref for GenuineToken {
    type Target = RefreshToken;
    fn deref(&self) -> &RefreshToken {
        &self.0
    }
}

/// Makes and checks refresh tokens.
#[derive(Clone)]
pub struct RefreshTokens {
    key: Arc<Key>,
    /// The key of the previous secret, while that is still accepted.
    previous: Option<Arc<Key>>,
}

struct Key(Zeroizing<[u8; 32]>);

impl RefreshTokens {
    pub fn new(secret: &[u8], previous: Option<&[u8]>) -> Self {
        let key = |secret| Arc::new(Key(derive_key(secret, "refresh tokens")));
        Self { key: key(secret), previous: previous.map(key) }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&*self.key).chain(self.previous.as_deref())
    }

    /// The token as clients get it. The text is always the same for the same generation and secret.
    pub fn print(&self, token: &RefreshToken) -> String {
        self.key.print(token)
    }

    /// The SHA-256 that is stored with the session.
    pub fn hash(&self, token: &RefreshToken) -> [u8; 32] {
        sha256(self.print(token).as_bytes())
    }

    /// The token as it was given to the client. It may have been made with the previous secret, so the text with this
    /// hash is returned.
    pub fn print_as_given(&self, token: &RefreshToken, hash: &[u8]) -> Option<String> {
        let mut texts = self.keys().map(|key| key.print(token));
        texts.find(|text| sha256(text.as_bytes()).ct_eq(hash).into())
    }

    /// Returns the content of a token, if we made it.
    pub fn read(&self, text: &str) -> Option<GenuineToken> {
        let bytes = BASE64.decode(text.strip_prefix(REFRESH_TOKEN_PREFIX)?).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        let is_ours = |key: &Key| bool::from(key.mac(body).ct_eq(mac));
        if mac.len() != MAC || !self.keys().any(is_ours) {
            return None;
        }
        Some(GenuineToken(RefreshToken {
            tenant: Uuid::from_slice(&body[..16]).ok()?.into(),
            session: Uuid::from_slice(&body[16..32]).ok()?.into(),
            generation: i64::from_be_bytes(body[32..].try_into().ok()?),
        }))
    }
}

impl Key {
    fn print(&self, token: &RefreshToken) -> String {
        let body = body(token);
        let bytes = [&body[..], &self.mac(&body)].concat();
        format!("{REFRESH_TOKEN_PREFIX}{}", BASE64.encode(bytes))
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC] {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("any length");
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

fn body(token: &RefreshToken) -> [u8; BODY] {
    let mut body = [0; BODY];
    body[..16].copy_from_slice(token.tenant.0.as_bytes());
    body[16..32].copy_from_slice(token.session.0.as_bytes());
    body[32..].copy_from_slice(&token.generation.to_be_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: RefreshToken =
        RefreshToken { tenant: TenantId(Uuid::from_u128(1)), session: SessionId(Uuid::from_u128(2)), generation: 3 };

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        let tokens = RefreshTokens::new(b"a secret", None);
        let text = tokens.print(&TOKEN);
        assert_eq!(tokens.read(&text), Some(GenuineToken(TOKEN)));
        assert_eq!(RefreshTokens::new(b"another", None).read(&text), None);
        for index in REFRESH_TOKEN_PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens.read(std::str::from_utf8(&changed).unwrap()), None, "character {index}");
        }
        for short in ["", "bcr_", "bcr_AAAA", &text[..text.len() - 2], &text[1..]] {
            assert_eq!(tokens.read(short), None, "{short}");
        }
    }

    #[test]
    fn a_former_secret_is_accepted_while_it_is_named() {
        let (old, new) = (RefreshTokens::new(b"old", None), RefreshTokens::new(b"new", Some(b"old")));
        assert_eq!(new.read(&old.print(&TOKEN)), Some(GenuineToken(TOKEN)));
        assert_eq!(new.print_as_given(&TOKEN, &old.hash(&TOKEN)), Some(old.print(&TOKEN)));
        assert_eq!(new.print_as_given(&TOKEN, &new.hash(&TOKEN)), Some(new.print(&TOKEN)));
        assert_eq!(new.print_as_given(&TOKEN, &[0; 32]), None);
        assert_eq!(RefreshTokens::new(b"new", None).read(&old.print(&TOKEN)), None);
    }

    #[test]
    fn generations_have_their_own_tokens() {
        let tokens = RefreshTokens::new(b"a secret", None);
        assert_ne!(tokens.print(&TOKEN), tokens.print(&RefreshToken { generation: 4, ..TOKEN }));
    }
}
