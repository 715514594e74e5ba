//! Calendars in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{CalendarFeed, Event, Facts, Guest, NewCalendarFeed, Stored};
use crate::base::error::{Error, Result};
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::db::deadline::InTime;
use crate::db::schema::{calendar_feeds as feeds, meeting_attendees as attendees, meetings, users};
use crate::db::sql::for_update;
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{Audited, Change, ReadTx, RunQueryDsl, WriteTx};
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::attendees::Rsvp;
use crate::resources::users as accounts;
use chrono::{DateTime, Duration, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;

/// How far a feed reaches into the past and the future, and how many meetings it shows at most.
const PAST: Duration = Duration::days(90);
const AHEAD: Duration = Duration::days(366);
const MOST: i64 = 1000;

#[diesel::dsl::auto_type(no_type_alias)]
fn of_user(tenant: TenantId, user: UserId) -> _ {
    feeds::table.filter(feeds::tenant_id.eq(tenant)).filter(feeds::user_id.eq(user))
}

/// The calendar event of a meeting, with all attendees.
pub async fn event(tx: &mut ReadTx, id: MeetingId) -> Result<Event> {
    let tenant = tx.tenant();
    let meeting = meetings::table
        .inner_join(users::table.on(users::tenant_id.eq(meetings::tenant_id).and(users::id.eq(meetings::created_by))))
        .filter(meetings::tenant_id.eq(tenant).and(meetings::id.eq(id)))
        .select((Facts::as_select(), meetings::agenda, (users::id, users::name)));
    let (facts, agenda, organizer): (Facts, Option<String>, (UserId, String)) = meeting.first(tx).await?;
    let is_user = users::tenant_id.eq(attendees::tenant_id).and(attendees::user_id.eq(users::id.nullable()));
    let guests = attendees::table
        .left_join(users::table.on(is_user))
        .filter(attendees::tenant_id.eq(tenant).and(attendees::meeting_id.eq(id)))
        .order((attendees::created_at, attendees::id))
        .select((
            users::id.nullable(),
            users::name.nullable(),
            attendees::email,
            attendees::rsvp,
            attendees::updated_at,
        ));
    type Row = (Option<UserId>, Option<String>, Option<String>, Rsvp, Instant);
    let guests: Vec<Row> = guests.load(tx).await?;
    let guest = |(id, name, email, rsvp, updated_at): Row| Guest { user: id.zip(name), email, rsvp, updated_at };
    Ok(Event { facts, agenda, organizer: Some(organizer), guests: guests.into_iter().map(guest).collect() })
}

/// The meetings that a person made, or is invited to and has not declined. Invitations count if they name the user, or
/// the address that the person has verified. If there are too many meetings, the nearest are returned, future ones
/// first.
pub async fn events_of(tx: &mut ReadTx, user: UserId) -> Result<Vec<Event>> {
    let (tenant, now) = (tx.tenant(), tx.now().0);
    let forms = accounts::verified_forms(tx, user).await?;
    let between = |from: DateTime<Utc>, until: DateTime<Utc>| {
        let is_invited = attendees::table
            .filter(attendees::tenant_id.eq(tenant).and(attendees::meeting_id.eq(meetings::id)))
            .filter(attendees::user_id.eq(user).or(attendees::email.eq_any(forms.clone())))
            .filter(attendees::rsvp.ne(Rsvp::No));
        meetings::table
            .filter(meetings::tenant_id.eq(tenant))
            .filter(meetings::starts_at.ge(Instant::from(from)).and(meetings::starts_at.lt(Instant::from(until))))
            .filter(meetings::created_by.eq(user).or(exists(is_invited)))
            .filter(InTime)
            .select(Facts::as_select())
    };
    let ahead = between(now, now + AHEAD).order((meetings::starts_at.asc(), meetings::id.asc())).limit(MOST);
    let ahead: Vec<Facts> = ahead.load(tx).await?;
    let room = MOST - i64::try_from(ahead.len()).unwrap_or(MOST);
    let past = between(now - PAST, now).order((meetings::starts_at.desc(), meetings::id.desc())).limit(room);
    let past: Vec<Facts> = past.load(tx).await?;
    Ok(past.into_iter().rev().chain(ahead).map(Event::from).collect())
}

/// A person's feed. `None` if the person has no feed.
pub async fn feed_of(tx: &mut ReadTx, user: UserId) -> Result<Option<CalendarFeed>> {
    let feed = of_user(tx.tenant(), user).select(Stored::as_select()).first(tx).await.optional()?;
    Ok(feed.map(CalendarFeed::from))
}

/// Makes the actor's feed and deletes an earlier one. `epoch` is the session epoch in which the request was
/// authenticated. Fails with 401 if the actor's sessions were ended since then, because a feed needs no session and
/// would stay valid.
pub async fn make(tx: &mut WriteTx, epoch: i64) -> Result<Audited<NewCalendarFeed>> {
    let (tenant, user) = (tx.tenant(), tx.actor());
    let own = users::table.filter(users::tenant_id.eq(tenant).and(users::id.eq(user))).select(users::session_epoch);
    let now: i64 = for_update(own).get_result(tx).await?; // a second request waits here
    if now != epoch {
        return Err(Error::InvalidToken);
    }
    revoke(tx, user).await?;
    let token = OpaqueToken::new(TokenKind::CalendarFeed, tenant.0, tx.env().uuid(), tx.env());
    let feed = CalendarFeed::from(Stored { id: token.id.into(), created_at: tx.now() });
    let row = (
        feeds::tenant_id.eq(tenant),
        feeds::id.eq(feed.id),
        feeds::user_id.eq(user),
        feeds::token_hash.eq(token.hash()),
        feeds::created_at.eq(feed.created_at),
    );
    let row = diesel::insert_into(feeds::table).values(row);
    let audited = tx.changed(Change::created(feed.id, &feed), row).await?;
    Ok(audited.with(NewCalendarFeed { feed, url: format!("/calendar/{}.ics", token.print()) }))
}

/// Deletes the actor's feed. Fails with 404 if there is none.
pub async fn delete(tx: &mut WriteTx) -> Result<Audited<()>> {
    let user = tx.actor();
    revoke(tx, user).await?.ok_or(Error::NotFound)
}

/// Deletes a person's feed, if there is one. A feed ends when the person is removed. It also ends when the person gets
/// a new password, because others may have known the old one.
pub async fn revoke(tx: &mut WriteTx, user: UserId) -> Result<Option<Audited<()>>> {
    let Some(feed) = feed_of(tx, user).await? else { return Ok(None) };
    let row = feeds::table.filter(feeds::tenant_id.eq(tx.tenant()).and(feeds::id.eq(feed.id)));
    Ok(Some(tx.changed(Change::deleted(feed.id, &feed), diesel::delete(row)).await?))
}
