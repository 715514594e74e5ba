//! Authenticates readers of calendar feeds. Calendar programs send only a secret in the feed's address.
use super::actor::{Actor, Proven, Unproven};
use crate::base::error::Result;
use crate::base::opaque::OpaqueToken;
use crate::db::{Db, Origin, ReadTx};

/// The user of the feed that the secret opens. `None` if the secret is wrong or the user is not to be served.
pub async fn reader(db: &Db, secret: &OpaqueToken, origin: &Origin) -> Result<Option<Actor>> {
    let visitor = Unproven::of(secret.tenant(), origin);
    let Some(user) = db.read(&visitor, async |tx: &mut ReadTx| tx.reader_of_feed(secret).await).await? else {
        return Ok(None);
    };
    let principal = db.principal(&visitor, user).await?;
    Ok(principal.map(|_| Actor::authenticated(Proven::new(secret.tenant(), user), origin.clone())))
}
