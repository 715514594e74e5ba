//! Opaque tokens: API keys, invitations, calendar feeds, and tokens that are sent by mail. A token holds the ids of its
//! tenant and its row, so that the row is looked up within the tenant, and a secret. The row stores the SHA-256 of the
//! secret.
use crate::base::crypto::sha256;
use crate::base::env::Env;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The prefix of every refresh token.
pub const REFRESH_TOKEN_PREFIX: &str = "bcr_";

const ID: usize = 16;
const SECRET: usize = 32;

/// What a token is for. Each kind has a prefix of its own, so that secret scanners recognize it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    ApiKey,
    Invitation,
    PasswordReset,
    EmailVerification,
    CalendarFeed,
}

impl TokenKind {
    const ALL: [Self; 5] =
        [Self::ApiKey, Self::Invitation, Self::PasswordReset, Self::EmailVerification, Self::CalendarFeed];

    fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "bc_",
            Self::Invitation => "bci_",
            Self::PasswordReset => "bcp_",
            Self::EmailVerification => "bcv_",
            Self::CalendarFeed => "bcf_",
        }
    }
}

/// Whether a text holds something that looks like one of these tokens or a refresh token.
pub fn holds_token(text: &str) -> bool {
    let holds = |kind: &TokenKind| match kind {
        TokenKind::ApiKey => text.starts_with(kind.prefix()), // a word may contain the same three characters
        _ => text.contains(kind.prefix()),
    };
    TokenKind::ALL.iter().any(holds) || text.contains(REFRESH_TOKEN_PREFIX)
}

/// The contents of a token.
pub struct OpaqueToken {
    kind: TokenKind,
    tenant: Uuid,
    /// The id of the row that the token belongs to.
    pub id: Uuid,
    secret: Zeroizing<[u8; SECRET]>,
}

impl OpaqueToken {
    pub fn new(kind: TokenKind, tenant: Uuid, id: Uuid, env: &Env) -> Self {
        Self { kind, tenant, id, secret: Zeroizing::new(env.random_bytes()) }
    }

    /// The tenant that the token names. The token may be forged.
    pub fn tenant<Id: From<Uuid>>(&self) -> Id {
        self.tenant.into()
    }

    /// The text of the token. It is handed out only once.
    pub fn print(&self) -> String {
        let bytes = Zeroizing::new([self.tenant.as_bytes(), self.id.as_bytes(), &self.secret[..]].concat());
        let body = BASE64.encode(&*bytes);
        match self.kind {
            TokenKind::ApiKey => format!("{}{body}", key_prefix(self.id)),
            kind => format!("{}{body}", kind.prefix()),
        }
    }

    /// The SHA-256 of the secret, which the row stores.
    pub fn hash(&self) -> Vec<u8> {
        sha256(&self.secret[..]).to_vec()
    }

    /// Whether `hash` is that of the token's secret. The comparison takes constant time.
    pub fn fits(&self, hash: &[u8]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    /// Reads the text that [`Self::print`] returned. Whether the token is valid is not known yet.
    pub fn read(kind: TokenKind, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(kind.prefix())?;
        let body = match kind {
            TokenKind::ApiKey => rest.split_once('_')?.1,
            _ => rest,
        };
        let bytes = Zeroizing::new(BASE64.decode(body).ok()?);
        if bytes.len() != 2 * ID + SECRET {
            return None;
        }
        let token = Self {
            kind,
            tenant: Uuid::from_slice(&bytes[..ID]).ok()?,
            id: Uuid::from_slice(&bytes[ID..2 * ID]).ok()?,
            secret: Zeroizing::new(bytes[2 * ID..].try_into().ok()?),
        };
        (kind != TokenKind::ApiKey || text.starts_with(&key_prefix(token.id))).then_some(token)
    }
}

/// The prefix of an API key, by which lists identify the key: `bc_3b1d2a4c_`.
pub fn key_prefix(id: Uuid) -> String {
    let [.., a, b, c, d] = *id.as_bytes();
    format!("bc_{a:02x}{b:02x}{c:02x}{d:02x}_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [TokenKind; 5] = [
        TokenKind::ApiKey,
        TokenKind::Invitation,
        TokenKind::PasswordReset,
        TokenKind::EmailVerification,
        TokenKind::CalendarFeed,
    ];

    #[test]
    fn each_kind_reads_its_own_alone() {
        let (tenant, id) = (Uuid::from_u128(1), Uuid::from_u128(0x3b1d_2a4c));
        for kind in KINDS {
            let token = OpaqueToken::new(kind, tenant, id, &Env::real());
            for other in KINDS {
                let read = OpaqueToken::read(other, &token.print());
                assert_eq!(read.is_some(), kind == other, "{kind:?} as {other:?}");
                if let Some(read) = read {
                    assert_eq!((read.tenant, read.id, read.hash()), (tenant, id, token.hash()));
                    assert!(read.fits(&token.hash()) && !read.fits(&[0; 32]) && !read.fits(&[]));
                }
            }
        }
        let key = OpaqueToken::new(TokenKind::ApiKey, tenant, id, &Env::real()).print();
        assert!(key.starts_with("bc_3b1d2a4c_"), "{key}");
        assert!(OpaqueToken::read(TokenKind::ApiKey, &key.replace("3b1d", "3b1e")).is_none());
    }

    #[test]
    fn what_is_cut_or_longer_is_none() {
        let token = OpaqueToken::new(TokenKind::Invitation, Uuid::nil(), Uuid::nil(), &Env::real()).print();
        for text in [&token[..token.len() - 2], &token[1..], &format!("{token}AA"), "", "bci_", "bc__"] {
            assert!(OpaqueToken::read(TokenKind::Invitation, text).is_none(), "{text}");
            assert!(OpaqueToken::read(TokenKind::ApiKey, text).is_none(), "{text}");
        }
    }
}
