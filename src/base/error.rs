//! All errors of the product. [`crate::base::error_body`] gives each error its HTTP status and renders its body.
use crate::base::formats::is_one_line;
use crate::base::money::places_of;
use std::collections::BTreeMap;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error has two audiences: clients read the sentence of `Display`, and the cause in `source()` is logged once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks the schema of the API contract. All its faults are reported together.
    #[error("The request is not valid.")]
    Invalid(Detail),
    /// The request can't be parsed, for example because it is not JSON or has a broken encoding.
    #[error("{0}")]
    Malformed(String),
    #[error("Credentials are needed.")]
    Unauthenticated,
    #[error("The name or the password is wrong.")]
    InvalidCredentials,
    /// The token is forged or expired, or its session has ended. Only the log has the reason.
    #[error("The token is not valid.")]
    InvalidToken,
    #[error("Your role does not allow this.")]
    Forbidden,
    /// The caller is an API key. The role of the key makes no difference.
    #[error(
        "API keys may not do this. A key has no profile and no sessions, and can't grant rights that outlive it. Sign in as a \
         person."
    )]
    NotForApiKeys,
    /// The user is disabled, or their tenant is suspended.
    #[error("This user is disabled.")]
    InactiveUser,
    /// Returned only after the password was verified, like [`Self::InactiveUser`], so that it reveals nothing to
    /// others.
    #[error("The e-mail address has to be verified first. A mail with a token is on its way.")]
    UnverifiedEmail,
    /// The action requires a verified address, and the caller has none. It is returned only if mail is set up.
    #[error(
        "Your e-mail address has to be verified first. Only then can you invite people, create API keys and open \
         registration. A mail with a token is on its way."
    )]
    UnverifiedCaller,
    #[error("This tenant is closed for registration.")]
    RegistrationClosed,
    #[error("The resource was not found.")]
    NotFound,
    /// The text lists the methods that the path has, in the form of `Allow`.
    #[error("This method is not allowed here.")]
    MethodNotAllowed(String),
    #[error("The request took too long to arrive.")]
    RequestTimeout,
    #[error("The request conflicts with the present state.")]
    Conflict(Detail),
    #[error("The resource was changed by someone else. Fetch it again and retry.")]
    PreconditionFailed,
    /// The number of bytes that there are.
    #[error("The range is beyond the end.")]
    RangeNotSatisfiable(u64),
    #[error("The body is too large.")]
    PayloadTooLarge,
    #[error("The media type of the body is not supported.")]
    UnsupportedMediaType,
    /// The body was compressed or otherwise encoded for the transfer.
    #[error("A body with a Content-Encoding is not supported. Send the body without encoding.")]
    UnsupportedEncoding,
    /// The request conforms to the schema, but can't be carried out.
    #[error("The request can't be carried out.")]
    Unprocessable(Detail),
    #[error("This idempotency key was used for another request.")]
    IdempotencyMismatch,
    #[error("Too many requests were sent. Retry later.")]
    RateLimited { retry_after: Duration },
    /// A dependency is away or overloaded, or the deadline has passed. The client may try again.
    #[error("The service is not available at the moment. Try again later.")]
    Unavailable(#[source] anyhow::Error),
    /// Like [`Self::Unavailable`], because a statement took longer than its deadline. It says what the caller can do.
    #[error("The request took too long to answer.")]
    SlowStatement(Detail, #[source] anyhow::Error),
    /// Like [`Self::Unavailable`]. It names the parts that are away.
    #[error("The service is not ready.")]
    NotReady(Detail),
    /// The tenant has no room left for this.
    #[error("The tenant has no room left to store this.")]
    QuotaExceeded(Detail),
    /// The disk of the database, or the one of the files, is full.
    #[error("There is no space left to store the data.")]
    StorageFull(#[source] anyhow::Error),
    #[error("Something went wrong on our side.")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// Refuses a request because one member breaks a rule beyond the schema.
    pub fn unprocessable(member: &str, message: impl Into<String>) -> Self {
        Self::Unprocessable(Detail::of(member, message))
    }

    /// Refuses a request because one member or parameter breaks the schema.
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

    /// Adds a fault. Once the detail is full, only members that are in it already get more faults.
    pub fn add(&mut self, member: &str, message: impl Into<String>) {
        if self.is_full() && !self.0.contains_key(member) {
            return;
        }
        self.0.entry(member.to_owned()).or_default().push(message.into());
    }

    /// Adds a fault if the text is blank. For texts that people write for other people.
    pub fn not_blank(&mut self, member: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(member, "must not be blank");
        }
    }

    /// Adds a fault if the text is blank or not one line. For names and titles.
    pub fn one_line(&mut self, member: &str, text: &str) {
        self.not_blank(member, text);
        if !is_one_line(text) {
            self.add(member, "must be one line, without control characters");
        }
    }

    /// Adds a fault if the code is no currency of ISO 4217.
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
