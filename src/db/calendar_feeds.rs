//! Calendar feeds, as authentication needs them.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::ReadTx;
use super::RunQueryDsl;
use super::schema::calendar_feeds as feeds;
use super::types::{CalendarFeedId, UserId};
use crate::base::error::Result;
use crate::base::opaque::OpaqueToken;
use diesel::prelude::*;

impl ReadTx {
    /// The user to whom the feed with this secret belongs. `None` if there is no such feed.
    pub async fn reader_of_feed(&mut self, secret: &OpaqueToken) -> Result<Option<UserId>> {
        let id = CalendarFeedId::from(secret.id);
        let feed = feeds::table.filter(feeds::tenant_id.eq(self.tenant()).and(feeds::id.eq(id)));
        let feed = feed.select((feeds::token_hash, feeds::user_id));
        let feed: Option<(Vec<u8>, UserId)> = feed.first(self).await.optional()?;
        Ok(feed.filter(|(hash, _)| secret.fits(hash)).map(|(_, user)| user))
    }
}
