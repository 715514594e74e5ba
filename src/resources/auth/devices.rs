//! The devices of a user that are signed in, wherever their sessions are kept.
use super::queries;
use crate::auth::Actor;
use crate::auth::sessions::{Device, Sessions};
use crate::base::error::Result;
use crate::db::{Db, ReadTx, WriteScope};

/// All devices of the actor that are signed in, the latest first.
pub async fn all_devices(db: &Db, sessions: &Sessions, actor: &Actor) -> Result<Vec<Device>> {
    match sessions.devices(actor).await? {
        Some(devices) => Ok(devices),
        None => db.read(actor, async |tx: &mut ReadTx| queries::all(tx, actor.actor()).await).await,
    }
}
