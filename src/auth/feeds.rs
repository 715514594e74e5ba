//! Calendar programs read a feed by a secret in its address, and by nothing else.
use super::actor::{Actor, Proven, Unproven};
use crate::base::error::Result;
use crate::base::opaque::OpaqueToken;
use crate::db::{Db, Origin, ReadTx};

/// The user whose feed the secret opens, if that user is to be served.
pub async fn reader(db: &Db, secret: &OpaqueToken, origin: &Origin) -> Result<Option<Actor>> {
    let visitor = Unproven::of(secret.tenant(), origin);
    let Some(user) = db.read(&visitor, async |tx: &mut ReadTx| tx.reader_of_feed(secret).await).await? else {
        return Ok(None);
    };
    let principal = db.principal(&visitor, user).await?;
    Ok(principal.map(|_| Actor::authenticated(Proven::new(secret.tenant(), user), origin.clone())))
}
