//! Access tokens: JSON Web Tokens (RFC 7519) that identify a user for 15 minutes by default. The user's permissions are
//! looked up at each request.
use super::Role;
use super::signing::{PublicKey, SigningKeys};
use crate::base::crypto::sha256;
use crate::base::error::{Error, Result};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::Validation;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The accepted difference between the clocks of two servers.
const LEEWAY: Duration = Duration::seconds(30);
/// The greatest length of a token. A longer token can't be ours and is refused without being decoded.
const MAX_BYTES: usize = 4096;
/// How many tokens are remembered as ours: about 3 MB.
const MAX_KNOWN: u64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Access,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(rename = "type")]
    kind: Kind,
    sid: SessionId,
    tenant_id: TenantId,
    role: Role,
    email: String,
}

/// What a token of ours says, whether or not it is valid now.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedClaims {
    pub user: UserId,
    pub tenant: TenantId,
    pub session: SessionId,
    issued: i64,
    not_before: i64,
    expires: i64,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is our access token, but it has expired or is not valid yet.
    OutOfTime,
    /// It is not our access token.
    NotOurs,
}

/// The user and session for which a token is made.
pub struct Bearer<'a> {
    pub user: UserId,
    pub tenant: TenantId,
    pub session: SessionId,
    pub role: Role,
    pub email: &'a str,
}

/// Signs and verifies access tokens with one algorithm. The header of a token can't select another one.
#[derive(Clone)]
pub struct AccessTokens(Arc<Inner>);

struct Inner {
    keys: SigningKeys,
    issuer: String,
    audience: String,
    lifetime: Duration,
    /// What is required of tokens.
    validation: Validation,
    /// The claims of tokens whose signature was found to be ours, by the SHA-256 of the token. To check the signature costs
    /// a quarter of a small request. To remember it is safe: each request compares the times, and looks up the session.
    known: Cache<[u8; 32], VerifiedClaims>,
}

impl AccessTokens {
    pub fn new(keys: SigningKeys, issuer: &str, audience: &str, lifetime: Duration) -> Self {
        let mut validation = Validation::new(keys.algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // [`Self::verify`] checks the times with our own clock, which tests can set.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        let useful = (lifetime + LEEWAY).to_std().unwrap_or_default();
        let known = Cache::builder().max_capacity(MAX_KNOWN).time_to_live(useful).build();
        Self(Arc::new(Inner { keys, issuer, audience, lifetime, validation, known }))
    }

    /// The keys with which others can verify our tokens.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.keys.public_keys()
    }

    pub fn lifetime(&self) -> Duration {
        self.0.lifetime
    }

    pub fn sign(&self, bearer: &Bearer<'_>, id: Uuid, now: Instant) -> Result<String> {
        let iat = now.0.timestamp();
        let claims = Claims {
            iss: self.0.issuer.clone(),
            aud: self.0.audience.clone(),
            sub: bearer.user,
            jti: id,
            iat,
            nbf: iat,
            exp: iat + self.0.lifetime.num_seconds(),
            kind: Kind::Access,
            sid: bearer.session,
            tenant_id: bearer.tenant,
            role: bearer.role,
            email: bearer.email.to_owned(),
        };
        let token = jsonwebtoken::encode(&self.0.keys.header(), &claims, self.0.keys.signer());
        token.map_err(|error| Error::Internal(error.into()))
    }

    /// Returns what a token says if it is ours and valid now.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<VerifiedClaims, Refused> {
        if token.len() > MAX_BYTES {
            return Err(Refused::NotOurs);
        }
        let claims = match self.0.known.get(&sha256(token.as_bytes())) {
            Some(known) => known,
            None => self.read(token).ok_or(Refused::NotOurs)?,
        };
        let (now, leeway) = (now.timestamp(), LEEWAY.num_seconds());
        let VerifiedClaims { issued, not_before, expires, .. } = claims;
        let in_time = not_before <= now + leeway && issued <= now + leeway && now < expires.saturating_add(leeway);
        if in_time { Ok(claims) } else { Err(Refused::OutOfTime) }
    }

    /// Checks the signature and all claims except the times, and remembers the token if it is ours.
    fn read(&self, token: &str) -> Option<VerifiedClaims> {
        let Inner { keys, validation, known, .. } = &*self.0;
        let kid = jsonwebtoken::decode_header(token).ok()?.kid;
        let mut verifiers = keys.verifiers(kid.as_deref());
        let Claims { sub, tenant_id, sid, iat, nbf, exp, .. } =
            verifiers.find_map(|key| jsonwebtoken::decode::<Claims>(token, key, validation).ok())?.claims;
        let claims =
            VerifiedClaims { user: sub, tenant: tenant_id, session: sid, issued: iat, not_before: nbf, expires: exp };
        known.insert(sha256(token.as_bytes()), claims);
        Some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn tokens(secret: &[u8], previous: Option<&[u8]>) -> AccessTokens {
        with(SigningKeys::hs256(secret, previous))
    }

    fn with(keys: SigningKeys) -> AccessTokens {
        AccessTokens::new(keys, "bizcenter", "bizcenter", Duration::minutes(15))
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn token(tokens: &AccessTokens) -> String {
        let id = |n| Uuid::from_u128(n);
        let bearer = Bearer {
            user: UserId(id(1)),
            tenant: TenantId(id(2)),
            session: SessionId(id(3)),
            role: Role::Editor,
            email: "ada@example.com",
        };
        tokens.sign(&bearer, id(4), now().into()).unwrap()
    }

    /// A token with changed claims, signed again with our secret.
    fn resigned(algorithm: Algorithm, change: impl FnOnce(&mut Value)) -> String {
        let token = token(&tokens(SECRET, None));
        let claims = BASE64.decode(token.split('.').nth(1).unwrap()).unwrap();
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        change(&mut claims);
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let tokens = tokens(SECRET, None);
        for _ in 0..2 {
            let claims = tokens.verify(&token(&tokens), now()).unwrap();
            assert_eq!(claims.user, UserId(Uuid::from_u128(1)));
            assert_eq!(claims.tenant, TenantId(Uuid::from_u128(2)));
            assert_eq!(claims.session, SessionId(Uuid::from_u128(3)));
            assert_eq!(claims.expires - claims.issued, 900);
        }
    }

    #[test]
    fn it_ends_after_15_minutes_and_30_seconds_of_leeway() {
        let (tokens, token) = (tokens(SECRET, None), token(&tokens(SECRET, None)));
        let after = |seconds| tokens.verify(&token, now() + Duration::seconds(seconds)).map(|_| ());
        assert_eq!([-30, 0, 929].map(after), [Ok(()); 3]);
        assert_eq!([-31, 930].map(after), [Err(Refused::OutOfTime); 2]);
    }

    #[test]
    fn forged_ones_are_refused() {
        let tokens = tokens(SECRET, None);
        let refused = |token: &str| matches!(tokens.verify(token, now()), Err(Refused::NotOurs));
        assert!(refused(""));
        assert!(refused(&"a".repeat(10_000)));
        assert!(refused(&token(&self::tokens(b"another secret of at least 32 bytes", None))));
        assert!(refused(&resigned(Algorithm::HS512, |_| {})));
        assert!(refused(&resigned(Algorithm::HS256, |claims| claims["type"] = json!("refresh"))));
        assert!(refused(&resigned(Algorithm::HS256, |claims| claims["iss"] = json!("other"))));
        assert!(refused(&resigned(Algorithm::HS256, |claims| claims["aud"] = json!("other"))));
        for missing in ["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "sid", "tenant_id", "type"] {
            let without = resigned(Algorithm::HS256, |claims| drop(claims.as_object_mut().unwrap().remove(missing)));
            assert!(refused(&without), "without {missing}");
        }
        let unsigned = token(&tokens);
        let (rest, _) = unsigned.rsplit_once('.').unwrap();
        let none = BASE64.encode(br#"{"alg":"none","typ":"JWT"}"#);
        assert!(refused(&format!("{none}.{}.", rest.split('.').nth(1).unwrap())));
        assert!(refused(&format!("{rest}.")));
        assert!(!refused(&unsigned));
    }

    #[test]
    fn a_former_secret_is_accepted_while_it_is_named() {
        const NEW: &[u8] = b"fedcba9876543210fedcba9876543210";
        let old = token(&tokens(SECRET, None));
        assert!(tokens(NEW, Some(SECRET)).verify(&old, now()).is_ok());
        assert!(tokens(NEW, None).verify(&old, now()).is_err());
    }

    #[test]
    fn key_pairs_sign_and_are_rotated() {
        use crate::auth::signing::tests::{ED25519, OTHER_ED25519, RSA};
        let (first, second) = (|| SigningKeys::eddsa(ED25519, None).unwrap(), SigningKeys::eddsa(OTHER_ED25519, None));
        let old = token(&with(first()));
        assert!(with(first()).verify(&old, now()).is_ok());
        assert!(with(second.unwrap()).verify(&old, now()).is_err());
        let rotated = with(SigningKeys::eddsa(OTHER_ED25519, Some(ED25519)).unwrap());
        assert!(rotated.verify(&old, now()).is_ok() && rotated.verify(&token(&rotated), now()).is_ok());

        let rsa = with(SigningKeys::rs256(RSA, None).unwrap());
        assert!(rsa.verify(&token(&rsa), now()).is_ok());
        assert!(rsa.verify(&old, now()).is_err() && tokens(SECRET, None).verify(&old, now()).is_err());
    }

    /// The public key is not secret, so a token that uses it as the secret of HS256 must be refused.
    #[test]
    fn a_public_key_is_not_taken_for_a_secret() {
        use crate::auth::signing::PublicParts;
        use crate::auth::signing::tests::ED25519;
        let tokens = with(SigningKeys::eddsa(ED25519, None).unwrap());
        let public = tokens.public_keys().next().unwrap().clone();
        let PublicParts::Ed25519 { x } = &public.parts else { panic!("{public:?}") };
        let claims = jsonwebtoken::dangerous::insecure_decode::<Claims>(token(&tokens)).unwrap().claims;
        for secret in [x.as_bytes().to_vec(), BASE64.decode(x).unwrap()] {
            let header = Header { kid: Some(public.kid.clone()), ..Header::new(Algorithm::HS256) };
            let forged = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
            assert!(matches!(tokens.verify(&forged, now()), Err(Refused::NotOurs)));
        }
    }
}
