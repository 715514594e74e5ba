//! Meetings in the database. Every query filters by the tenant of the transaction. Every change writes an audit row.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::attendees;
use super::rules::may_become;
use super::types::{Meeting, MeetingFilter, MeetingId, MeetingInput, MeetingSort, MeetingStatus};
use crate::api::list::{Batch, List, Page};
use crate::api::{Authorized, Locked};
use crate::base::days::{Span, span};
use crate::base::error::{Error, Result};
use crate::db::schema::{meeting_attendees, meetings};
use crate::db::search::like;
use crate::db::sql::{for_update, text_or};
use crate::db::types::{Day, Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, Statement, WriteTx, insert_many};
use crate::resources::tenant;
use crate::{batch, narrowed, paged};
use diesel::dsl::exists;
use diesel::prelude::*;
use poem_openapi::types::ToJSON;
use std::slice;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId) -> _ {
    meetings::table.filter(meetings::tenant_id.eq(tenant))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: MeetingId) -> _ {
    meetings::table.filter(meetings::tenant_id.eq(tenant)).filter(meetings::id.eq(id))
}

/// The days of a filter as a span of time, in the tenant's time zone.
async fn days(tx: &mut ReadTx, filter: &MeetingFilter) -> Result<Span> {
    let day = |Day(day)| day;
    match (filter.from_date.map(day), filter.to_date.map(day)) {
        (None, None) => Ok((None, None)),
        (from, to) => Ok(span(from, to, tenant::timezone(tx).await?)),
    }
}

type Matching = meetings::BoxedQuery<'static, Any>;

/// The meetings that match the filters and the search of a list, not yet sorted. The filter by attendee also finds
/// meetings to which one of the addresses in `forms` is invited.
fn matching(tx: &ReadTx, list: &List<MeetingFilter>, (from, until): Span, forms: &[String]) -> Matching {
    let MeetingFilter { status, from_date: _, to_date: _, attendee } = list.filter.clone();
    let search = list.q.as_deref().map(|text| tx.pattern(text));
    let invited = attendee.map(|user| {
        let is_wanted = meeting_attendees::user_id.eq(user).or(meeting_attendees::email.eq_any(forms.to_vec()));
        let of_meeting = meeting_attendees::meeting_id.eq(meetings::id).and(is_wanted);
        meeting_attendees::table.filter(meeting_attendees::tenant_id.eq(tx.tenant())).filter(of_meeting)
    });
    narrowed!(
        all(tx.tenant()).into_boxed(),
        status => meetings::status.eq(status),
        from => meetings::starts_at.ge(Instant::from(from)),
        until => meetings::starts_at.lt(Instant::from(until)),
        invited => exists(invited),
        search => like(meetings::title, search.clone())
            .or(like(text_or(meetings::agenda, ""), search.clone()))
            .or(like(text_or(meetings::location, ""), search)),
    )
}

/// Lists meetings. Readers who filter by themselves as the attendee also find the meetings to which their verified
/// address is invited. Other readers don't, because the answer would reveal which user has the address.
pub async fn list(tx: &mut ReadTx, list: &List<MeetingFilter>, reader: UserId) -> Result<Page<Meeting>> {
    let days = days(tx, &list.filter).await?;
    let forms = attendees::forms_to_find(tx, list.filter.attendee, reader).await?;
    let (rows, total) = paged!(tx, list, matching(tx, list, days, &forms), Meeting::as_select(), (meetings::id, MeetingId), {
        MeetingSort::Title => (meetings::title, String),
        MeetingSort::Status => (meetings::status, MeetingStatus),
        MeetingSort::StartsAt => (meetings::starts_at, Instant),
        MeetingSort::CreatedAt => (meetings::created_at, Instant),
        MeetingSort::UpdatedAt => (meetings::updated_at, Instant),
    });
    Ok(list.page(rows, total))
}

/// The next meetings that a person made, in the order of their ids.
pub async fn made_by(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Meeting>> {
    let rows = batch!(all(tx.tenant()), meetings::created_by.eq(user), next, (meetings::id, MeetingId));
    Ok(rows.select(Meeting::as_select()).load(tx).await?)
}

pub async fn find(tx: &mut ReadTx, id: MeetingId) -> Result<Meeting> {
    Ok(one(tx.tenant(), id).select(Meeting::as_select()).first(tx).await?)
}

/// Fails with 404 if there is no such meeting.
pub async fn must_exist(tx: &mut ReadTx, id: MeetingId) -> Result<()> {
    let _: MeetingId = one(tx.tenant(), id).select(meetings::id).first(tx).await?;
    Ok(())
}

/// Locks the meeting until the transaction ends. Fails with 404 if there is no such meeting. Other requests that add to
/// the meeting wait.
pub async fn lock(tx: &mut WriteTx, id: MeetingId) -> Result<()> {
    let _: MeetingId = for_update(one(tx.tenant(), id).select(meetings::id)).get_result(tx).await?;
    Ok(())
}

/// Gives the meeting its next version because its attendees have changed, so that calendar programs notice the change.
/// The meeting must be locked already.
pub async fn revise(tx: &mut WriteTx, id: MeetingId) -> Result<()> {
    let next = (meetings::version.eq(meetings::version + 1), meetings::updated_at.eq(tx.now()));
    let next = diesel::update(one(tx.tenant(), id)).set(next);
    tx.execute_unaudited("the row of the attendee tells of it", next).await?;
    Ok(())
}

/// The meeting, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx, id: MeetingId) -> Result<Locked<Meeting>> {
    let meeting = one(tx.tenant(), id).select(Meeting::as_select());
    Ok(Locked::new(for_update(meeting).get_result(tx).await?))
}

pub async fn insert(tx: &mut WriteTx, input: MeetingInput) -> Result<Audited<Meeting>> {
    let meeting = Meeting::new(tx.new_id(), input, tx.actor(), tx.now());
    let rows = rows(tx.tenant(), slice::from_ref(&meeting));
    Ok(tx.changed(Change::created(meeting.id, &meeting), rows).await?.with(meeting))
}

/// Inserts many new meetings. `new` must not be empty.
pub async fn store(tx: &mut WriteTx, new: &[Meeting]) -> Result<()> {
    let rows = rows(tx.tenant(), new);
    tx.changed_in_bulk::<MeetingId>(rows).await
}

/// The rows of new meetings.
fn rows(tenant: TenantId, new: &[Meeting]) -> Statement<'static> {
    let row = |meeting: &'_ Meeting| {
        (
            meetings::tenant_id.eq(tenant),
            meetings::id.eq(meeting.id),
            meeting.input.clone(),
            meetings::created_by.eq(meeting.created_by),
            meetings::version.eq(meeting.version),
            meetings::created_at.eq(meeting.created_at),
            meetings::updated_at.eq(meeting.updated_at),
        )
    };
    insert_many(meetings::table, new.iter().map(row))
}

pub async fn update(tx: &mut WriteTx, before: Authorized<Meeting>, input: MeetingInput) -> Result<Audited<Meeting>> {
    let (from, to) = (before.input.status, input.status);
    if !may_become(from, to) {
        let message = format!("can't change from {} to {}", from.to_json_string(), to.to_json_string());
        return Err(Error::unprocessable("status", message));
    }
    let meeting = before.changed(input, tx.now());
    let row = diesel::update(one(tx.tenant(), meeting.id)).set((
        &meeting.input,
        meetings::version.eq(meeting.version),
        meetings::updated_at.eq(meeting.updated_at),
    ));
    Ok(tx.changed(Change::updated(meeting.id, &*before, &meeting), row).await?.with(meeting))
}

/// Deletes a meeting with its attendees and action items. Tasks that were made from the action items stay.
pub async fn delete(tx: &mut WriteTx, meeting: Authorized<Meeting>) -> Result<Audited<()>> {
    let row = diesel::delete(one(tx.tenant(), meeting.id));
    tx.changed(Change::deleted(meeting.id, &*meeting), row).await
}
