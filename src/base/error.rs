//! What can go wrong, in the product's words. [`crate::base::error_body`] gives each its status and its place in the one body.
use crate::base::formats::is_one_line;
use crate::base::money::places_of;
use std::collections::BTreeMap;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Two audiences: `Display` is the sentence that clients read, `source()` is the cause that is logged once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks the schema of the API contract; all its faults at once.
    #[error("The request is not valid.")]
    Invalid(Detail),
    /// Not even readable: not JSON, a broken encoding.
    #[error("{0}")]
    Malformed(String),
    #[error("Credentials are needed.")]
    Unauthenticated,
    #[error("The name or the password is wrong.")]
    InvalidCredentials,
    /// A token that is forged, expired, or of a session that has ended; the reason stays in the log.
    #[error("The token is not valid.")]
    InvalidToken,
    #[error("Your role does not allow this.")]
    Forbidden,
    /// The caller is an API key, whatever its role.
    #[error(
        "API keys may not do this. A key has no profile and no sessions, and can't grant rights that outlive it. Sign in as a \
         person."
    )]
    NotForApiKeys,
    /// Or their tenant is suspended.
    #[error("This user is disabled.")]
    InactiveUser,
    /// Returned only after the password was verified, as the one before, so that it reveals nothing to others.
    #[error("The e-mail address has to be verified first. A mail with a token is on its way.")]
    UnverifiedEmail,
    /// A caller who wants what only people with a verified address may do, where mail is set up.
    #[error(
        "Your e-mail address has to be verified first. Only then can you invite people, create API keys and open \
         registration. A mail with a token is on its way."
    )]
    UnverifiedCaller,
    #[error("This tenant is closed for registration.")]
    RegistrationClosed,
    #[error("The resource was not found.")]
    NotFound,
    /// With the methods that the path has, as `Allow` lists them.
    #[error("This method is not allowed here.")]
    MethodNotAllowed(String),
    #[error("The request took too long to arrive.")]
    RequestTimeout,
    #[error("The request conflicts with the present state.")]
    Conflict(Detail),
    #[error("The resource was changed by someone else. Fetch it again and retry.")]
    PreconditionFailed,
    #[error("The body is too large.")]
    PayloadTooLarge,
    #[error("The media type of the body is not supported.")]
    UnsupportedMediaType,
    /// The body was compressed, or otherwise encoded, for its way.
    #[error("A body with a Content-Encoding is not supported. Send the body without encoding.")]
    UnsupportedEncoding,
    /// The schema is kept, but the request can't be carried out.
    #[error("The request can't be carried out.")]
    Unprocessable(Detail),
    #[error("This idempotency key was used for another request.")]
    IdempotencyMismatch,
    #[error("Too many requests were sent. Retry later.")]
    RateLimited { retry_after: Duration },
    /// A dependency is away or overloaded, or the deadline is over; worth another try.
    #[error("The service is not available at the moment. Try again later.")]
    Unavailable(#[source] anyhow::Error),
    /// As [`Self::Unavailable`], as a statement took longer than its deadline; with what the caller can do about it.
    #[error("The request took too long to answer.")]
    SlowStatement(Detail, #[source] anyhow::Error),
    /// As [`Self::Unavailable`], with the parts that are away.
    #[error("The service is not ready.")]
    NotReady(Detail),
    #[error("Something went wrong on our side.")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// A request that a rule beyond the schema forbids, because of one member.
    pub fn unprocessable(member: &str, message: impl Into<String>) -> Self {
        Self::Unprocessable(Detail::of(member, message))
    }

    /// A request that breaks the schema in one member or parameter.
    pub fn invalid(member: &str, message: impl Into<String>) -> Self {
        Self::Invalid(Detail::of(member, message))
    }
}

/// Member path or parameter name → what is wrong with it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Detail(pub BTreeMap<String, Vec<String>>);

impl Detail {
    pub fn of(member: &str, message: impl Into<String>) -> Self {
        let mut detail = Self::default();
        detail.add(member, message);
        detail
    }

    /// Adds a fault, unless there are enough already to see what is wrong.
    pub fn add(&mut self, member: &str, message: impl Into<String>) {
        if self.is_full() && !self.0.contains_key(member) {
            return;
        }
        self.0.entry(member.to_owned()).or_default().push(message.into());
    }

    /// What people write for people to read has something in it to read.
    pub fn not_blank(&mut self, member: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(member, "must not be blank");
        }
    }

    /// A name or a title: not blank, and on one line.
    pub fn one_line(&mut self, member: &str, text: &str) {
        self.not_blank(member, text);
        if !is_one_line(text) {
            self.add(member, "must be one line, without control characters");
        }
    }

    /// A code of ISO 4217.
    pub fn currency(&mut self, member: &str, code: &str) {
        if places_of(code).is_none() {
            self.add(member, "is not a currency of ISO 4217");
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_full(&self) -> bool {
        const MOST: usize = 100;
        self.0.len() >= MOST
    }
}
