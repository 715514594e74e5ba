//! Counts answers that are rendered, but not yet read by their clients. A client that does not read makes the server
//! keep the answer in memory. The bytes are therefore limited for each user, and for the whole process.
use crate::base::error::{Error, Result};
use crate::base::queue::Claimant;
use crate::base::shares::{Share, Shares};
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use poem::http::Method;
use poem::{Body, Request, Response};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The greatest number of bytes that are kept for one user. A single larger answer is let through if it is the user's
/// only one.
const MAX_BYTES_PER_USER: u64 = 32 * 1024 * 1024;

/// Answers up to this size are counted, but never refused.
const ALWAYS_SENT: u64 = 16 * 1024;

/// The `Retry-After` of a refusal. By then a client that reads has usually read its answers. A client that does not
/// read is disconnected in the end.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    One(Claimant),
    Process,
}

/// The count of all unread answers of a server.
#[derive(Clone)]
pub struct Unsent {
    max_bytes: u64,
    shares: Shares<Holder>,
}

/// The user or visitor to whom an answer will be sent. The edge puts a recipient with the visitor's address into each
/// request. Authentication replaces the address with the user.
#[derive(Clone)]
pub struct Recipient {
    unsent: Unsent,
    claimant: Arc<Mutex<Claimant>>,
}

impl Unsent {
    /// `max_bytes` limits the bytes of all answers together.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, shares: Shares::default() }
    }

    /// The recipient of an answer. It is a visitor until the request is authenticated.
    pub fn recipient(&self, visitor: Claimant) -> Recipient {
        Recipient { unsent: self.clone(), claimant: Arc::new(Mutex::new(visitor)) }
    }
}

impl Recipient {
    pub fn of(request: &Request) -> Option<&Self> {
        request.data()
    }

    /// Makes the caller the recipient. Fails with 429 if so much is kept for them already that rendering another answer
    /// is of no use.
    pub fn identify(&self, claimant: Claimant) -> Result<()> {
        *self.claimant.lock().unwrap_or_else(PoisonError::into_inner) = claimant;
        match self.unsent.shares.in_use(&Holder::One(claimant)) < MAX_BYTES_PER_USER {
            true => Ok(()),
            false => Err(Error::RateLimited { retry_after: RETRY_AFTER }),
        }
    }

    /// Counts an answer until the returned value is dropped. If the answer does not fit, fails with 429 (the limit of
    /// the user) or 503 (the limit of the process). The answer to a change is never refused, because the change has
    /// been made already.
    pub fn count(&self, method: &Method, length: u64) -> Result<Unread> {
        let is_read = [Method::GET, Method::HEAD].contains(method);
        self.take(length, is_read && length > ALWAYS_SENT).map(Unread).map_err(|holder| match holder {
            Holder::One(_) => Error::RateLimited { retry_after: RETRY_AFTER },
            Holder::Process => Error::Unavailable(anyhow::anyhow!("too many answers wait to be read")),
        })
    }

    fn take(&self, length: u64, may_refuse: bool) -> Result<Share<Holder>, Holder> {
        let claimant = *self.claimant.lock().unwrap_or_else(PoisonError::into_inner);
        let max = |max| if may_refuse { max } else { u64::MAX };
        let holders = [(Holder::One(claimant), max(MAX_BYTES_PER_USER)), (Holder::Process, max(self.unsent.max_bytes))];
        self.unsent.shares.take(&holders, length)
    }
}

/// An answer that is counted until its body is read or dropped.
pub struct Unread(Share<Holder>);

impl Unread {
    /// Counts the answer for as long as its body exists, and by the length of that body, which may have become smaller
    /// by compression.
    pub fn stay_with(mut self, response: &mut Response) {
        let body: BoxBody<Bytes, io::Error> = response.take_body().into();
        if let Some(length) = body.size_hint().exact() {
            self.0.shrink(length);
        }
        let held = move |error| {
            let _ = &self; // the body owns this closure, so that the count ends when the body is dropped
            error
        };
        response.set_body(Body::from(BoxBody::new(body.map_err(held))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::queue::Party;
    use uuid::Uuid;

    fn recipient(unsent: &Unsent, user: u128) -> Recipient {
        let claimant = |user| Claimant { party: Party::Address(None), user: Some(Uuid::from_u128(user)) };
        let recipient = unsent.recipient(claimant(0));
        recipient.identify(claimant(user)).unwrap();
        recipient
    }

    fn mib(number: u64) -> u64 {
        number * 1024 * 1024
    }

    #[test]
    fn a_user_holds_so_much_and_the_others_are_answered() {
        let unsent = Unsent::new(mib(256));
        let ada = recipient(&unsent, 1);
        let held: Vec<_> = (0..4).map(|_| ada.count(&Method::GET, mib(8)).unwrap()).collect();
        assert!(matches!(ada.count(&Method::GET, mib(1)), Err(Error::RateLimited { .. })));
        let claimant = *ada.claimant.lock().unwrap();
        assert!(matches!(ada.identify(claimant), Err(Error::RateLimited { .. })));
        assert!(ada.count(&Method::GET, 100).is_ok(), "errors and the like");
        assert!(ada.count(&Method::POST, mib(1)).is_ok(), "the change was made");
        assert!(recipient(&unsent, 2).count(&Method::GET, mib(1)).is_ok());
        drop(held);
        assert!(ada.count(&Method::GET, mib(40)).is_ok(), "one larger answer alone");
    }

    #[test]
    fn all_together_hold_no_more_than_the_process_bears() {
        let unsent = Unsent::new(mib(10));
        let _held = recipient(&unsent, 1).count(&Method::GET, mib(9)).unwrap();
        assert!(matches!(recipient(&unsent, 2).count(&Method::GET, mib(2)), Err(Error::Unavailable(_))));
        assert!(recipient(&unsent, 2).count(&Method::GET, mib(1)).is_ok());
    }

    #[tokio::test]
    async fn what_was_taken_counts_no_longer() {
        let unsent = Unsent::new(mib(1));
        let unread = recipient(&unsent, 1).count(&Method::GET, mib(1)).unwrap();
        let mut response = Response::builder().body(vec![b'x'; 1000]); // as if it had been compressed
        unread.stay_with(&mut response);
        assert_eq!(unsent.shares.in_use(&Holder::Process), 1000);
        assert_eq!(response.into_body().into_bytes().await.unwrap().len(), 1000);
        assert_eq!(unsent.shares.in_use(&Holder::Process), 0);
    }
}
