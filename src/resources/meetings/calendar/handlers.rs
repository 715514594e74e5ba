//! Calendars over HTTP.
use super::answer::CalendarFile;
use super::types::{CalendarFeed, NewCalendarFeed};
use super::{Own, Read, queries};
use crate::api::visitor::Visitor;
use crate::api::{Also, Caller, Created, Deleted, Found, IdempotencyKey, IfNoneMatch, visitor};
use crate::auth::feeds;
use crate::base::error::{Error, Result};
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::db::{Cost, Db, WriteScope, WriteTx};
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::Tag;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use std::slice;

pub struct CalendarApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Meetings")]
impl CalendarApi {
    /// Get a meeting's calendar file
    #[oai(path = "/meetings/:meeting_id/calendar", method = "get", operation_id = "meeting_calendar")]
    async fn meeting(
        &self,
        caller: Caller<Read>,
        Path(meeting_id): Path<MeetingId>,
        if_none_match: IfNoneMatch,
    ) -> Result<CalendarFile> {
        let event = self.db.read(&caller, async |tx| queries::event(tx, meeting_id).await).await?;
        Ok(CalendarFile::of(&[event], if_none_match))
    }

    /// Get the caller's calendar feed
    #[oai(path = "/users/me/calendar", method = "get", operation_id = "calendar_feed_get")]
    async fn get(&self, caller: Caller<Read>, if_none_match: IfNoneMatch) -> Result<Found<CalendarFeed>, Also<404>> {
        let feed = self.db.read(&caller, async |tx| queries::feed_of(tx, caller.user()).await).await?;
        Ok(Found(feed.ok_or(Error::NotFound)?, if_none_match))
    }

    /// Create the caller's calendar feed
    #[oai(path = "/users/me/calendar", method = "post", operation_id = "calendar_feed_create")]
    async fn create(
        &self,
        caller: Caller<Own>,
        idempotency_key: IdempotencyKey,
    ) -> Result<Created<NewCalendarFeed>, Also<422>> {
        let key = idempotency_key.of(&String::new())?;
        let make = async |tx: &mut WriteTx| queries::make(tx, caller.epoch()).await;
        Ok(Created(self.db.write_once(&caller, key, make).await?))
    }

    /// Revoke the caller's calendar feed
    #[oai(path = "/users/me/calendar", method = "delete", operation_id = "calendar_feed_delete")]
    async fn delete(&self, caller: Caller<Own>) -> Result<Deleted, Also<404>> {
        self.db.write(&caller, async |tx| queries::delete(tx).await).await?;
        Ok(Deleted)
    }
}

/// The endpoint for calendar programs. It is outside of `/api/v1`, because these programs know only the URL of a feed.
pub struct FeedApi {
    pub db: Db,
}

#[OpenApi(tag = "Tag::Meetings")]
impl FeedApi {
    /// Read a calendar feed
    #[oai(path = "/calendar/:file", method = "get", operation_id = "calendar_feed_read")]
    async fn read(
        &self,
        visitor: Visitor<visitor::Feed>,
        Path(file): Path<String>,
        if_none_match: IfNoneMatch,
    ) -> Result<CalendarFile, Also<429>> {
        let Visitor { origin, charge, .. } = visitor;
        let token = file.strip_suffix(".ics").and_then(|secret| OpaqueToken::read(TokenKind::CalendarFeed, secret));
        let Some(token) = token else {
            charge.take(&[charge.limits().anonymous(origin.ip)]).await?;
            return Err(Error::NotFound.into());
        };
        let limit = charge.limits().feed(token.tenant(), token.id);
        // A secret that is known to be right counts against the limit of the feed before the database is asked. Any
        // other secret counts as a guess, because a visitor who knows only the id of the feed must not use up its
        // reads.
        let is_proven = charge.is_proven(&token.hash());
        let find = async {
            if is_proven {
                charge.take(slice::from_ref(&limit)).await?;
            }
            feeds::reader(&self.db, &token, &origin).await
        };
        let reader = charge.prove(origin.ip, token.hash(), find).await?;
        if reader.is_some() && !is_proven {
            charge.take(slice::from_ref(&limit)).await?;
        }
        let reader = reader.ok_or(Error::NotFound)?; // the same error for all reasons
        let events =
            self.db.read_at(Cost::Long, &reader, async |tx| queries::events_of(tx, reader.actor()).await).await?;
        Ok(CalendarFile::of(&events, if_none_match))
    }
}
