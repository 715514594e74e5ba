//! Attendees in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::by_address::Invited;
use super::types::{Attendee, AttendeeFilter, AttendeeId, AttendeeInput, AttendeeSort, NewAttendee, Rsvp};
use crate::api::list::{Batch, List, Page};
use crate::api::scalars::Email;
use crate::api::{Authorized, Locked};
use crate::base::error::{Detail, Error, Result};
use crate::db::deadline::InTime;
use crate::db::schema::meeting_attendees as attendees;
use crate::db::sql::for_update;
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, Statement, WriteTx, insert_many};
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::queries as meetings;
use crate::resources::users;
use crate::{batch, paged};
use diesel::prelude::*;
use std::slice;

/// The greatest number of attendees of one meeting.
const MOST: i64 = 200;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId, meeting: MeetingId) -> _ {
    attendees::table.filter(attendees::tenant_id.eq(tenant)).filter(attendees::meeting_id.eq(meeting))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, meeting: MeetingId, id: AttendeeId) -> _ {
    let of_meeting = attendees::meeting_id.eq(meeting).and(attendees::id.eq(id));
    attendees::table.filter(attendees::tenant_id.eq(tenant)).filter(of_meeting)
}

fn listed(tenant: TenantId, meeting: MeetingId) -> attendees::BoxedQuery<'static, Any> {
    all(tenant, meeting).into_boxed()
}

pub async fn list(tx: &mut ReadTx, meeting: MeetingId, list: &List<AttendeeFilter>) -> Result<Page<Attendee>> {
    meetings::must_exist(tx, meeting).await?;
    let (tenant, columns) = (tx.tenant(), Attendee::as_select());
    let (rows, total) = paged!(tx, list, listed(tenant, meeting).filter(InTime), columns, (attendees::id, AttendeeId), {
        AttendeeSort::CreatedAt => (attendees::created_at, Instant),
    });
    Ok(list.page(rows, total))
}

/// The next invitations of a user, in the order of their ids.
pub async fn of_user(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Attendee>> {
    let of_user = attendees::tenant_id.eq(tx.tenant()).and(attendees::user_id.eq(user));
    let rows = batch!(attendees::table, of_user, next, (attendees::id, AttendeeId));
    Ok(rows.select(Attendee::as_select()).load(tx).await?)
}

/// The next invitations to an e-mail address, in the order of their ids. A user of the tenant is invited by address if
/// the inviter may not see users' addresses, or if there was no such user at that time.
pub async fn of_guest(tx: &mut ReadTx, email: &Email, next: Batch) -> Result<Vec<Attendee>> {
    let of_guest = attendees::tenant_id.eq(tx.tenant()).and(attendees::email.eq_any(email.stored_forms()));
    let rows = batch!(attendees::table, of_guest, next, (attendees::id, AttendeeId));
    Ok(rows.select(Attendee::as_select()).load(tx).await?)
}

/// Replaces the e-mail address of a user who is about to be removed, wherever it was invited as a guest's. The
/// attendees stay, with an address that is nobody's. Their ids are selected first, because MariaDB would lock every row
/// that an `UPDATE` reads.
pub async fn anonymize_guest(tx: &mut WriteTx, email: &str) -> Result<()> {
    // The new address doesn't contain the user's id, which would reveal to everybody that the address was that user's.
    let nobody = format!("{}@removed.invalid", tx.env().uuid());
    let forms = Email::of_stored(email).stored_forms();
    let of_guest = attendees::tenant_id.eq(tx.tenant()).and(attendees::email.eq_any(forms));
    let ids: Vec<AttendeeId> = attendees::table.filter(of_guest).select(attendees::id).load(tx).await?;
    for some in ids.chunks(500) {
        let some = attendees::tenant_id.eq(tx.tenant()).and(attendees::id.eq_any(some.to_vec()));
        let change = (
            attendees::email.eq(nobody.clone()),
            attendees::version.eq(attendees::version + 1),
            attendees::updated_at.eq(tx.now()),
        );
        let rows = diesel::update(attendees::table.filter(some)).set(change);
        tx.execute_unaudited("the user's row tells of the removal", rows).await?;
    }
    Ok(())
}

pub async fn find(tx: &mut ReadTx, meeting: MeetingId, id: AttendeeId) -> Result<Attendee> {
    Ok(one(tx.tenant(), meeting, id).select(Attendee::as_select()).first(tx).await?)
}

/// The attendee, locked for a change in this transaction. The meeting is locked first. An invitation locks in the same
/// order, so that there is no deadlock.
pub async fn find_to_change(tx: &mut WriteTx, meeting: MeetingId, id: AttendeeId) -> Result<Locked<Invited>> {
    meetings::lock(tx, meeting).await?;
    let attendee = one(tx.tenant(), meeting, id).select(Attendee::as_select());
    let attendee = for_update(attendee).get_result(tx).await?;
    let actor = tx.actor();
    let forms = users::verified_forms(tx, actor).await?;
    Ok(Locked::new(Invited::new(attendee, actor, &forms)))
}

/// Invites a user or an e-mail address. If the inviter may see addresses, the address of a user of the tenant invites
/// that user. Otherwise the address is a guest's: no user is looked up, so that neither the answer, nor a conflict, nor
/// the time that it takes reveals that a user has the address. In both cases, the user who has verified the address can
/// answer the invitation.
pub async fn insert(
    tx: &mut WriteTx,
    meeting: MeetingId,
    new: NewAttendee,
    sees_addresses: bool,
) -> Result<Audited<Attendee>> {
    meetings::lock(tx, meeting).await?;
    let NewAttendee { user_id, email } = new;
    let member = if user_id.is_some() { "user_id" } else { "email" };
    users::must_exist(tx, "user_id", user_id).await?;
    let user_id = match &email {
        Some(email) if sees_addresses => users::with_email(tx, email).await?,
        Some(_) => None,
        None => user_id,
    };
    if let (Some(_), Some(email)) = (user_id, &email) {
        must_be_no_guest(tx, meeting, email).await?;
    }
    let count: i64 = all(tx.tenant(), meeting).count().get_result(tx).await?;
    if count >= MOST {
        return Err(Error::unprocessable(member, format!("the meeting already has {MOST} attendees")));
    }
    let attendee = Attendee {
        id: tx.new_id(),
        meeting_id: meeting,
        email: email.filter(|_| user_id.is_none()).map(|email| email.to_string()),
        user_id,
        rsvp: Rsvp::None,
        version: 1,
        created_at: tx.now(),
        updated_at: tx.now(),
    };
    let rows = rows(tx.tenant(), slice::from_ref(&attendee)).taken(member);
    let audited = tx.changed(Change::created(attendee.id, &attendee), rows).await?;
    meetings::revise(tx, meeting).await?;
    Ok(audited.with(attendee))
}

/// Fails with 409 if this address is invited already, as a guest's.
async fn must_be_no_guest(tx: &mut ReadTx, meeting: MeetingId, email: &Email) -> Result<()> {
    let guest = all(tx.tenant(), meeting).filter(attendees::email.eq_any(email.stored_forms()));
    match guest.count().get_result::<i64>(tx).await? {
        0 => Ok(()),
        _ => Err(Error::Conflict(Detail::of("email", "is taken"))),
    }
}

/// Inserts many new attendees. `new` must not be empty.
pub async fn store(tx: &mut WriteTx, new: &[Attendee]) -> Result<()> {
    let rows = rows(tx.tenant(), new);
    tx.changed_in_bulk::<AttendeeId>(rows).await
}

/// The rows of new attendees.
fn rows(tenant: TenantId, new: &[Attendee]) -> Statement<'static> {
    let row = |attendee: &'_ Attendee| {
        (
            attendees::tenant_id.eq(tenant),
            attendees::id.eq(attendee.id),
            attendees::meeting_id.eq(attendee.meeting_id),
            attendees::user_id.eq(attendee.user_id),
            attendees::email.eq(attendee.email.clone()),
            attendees::rsvp.eq(attendee.rsvp),
            attendees::version.eq(attendee.version),
            attendees::created_at.eq(attendee.created_at),
            attendees::updated_at.eq(attendee.updated_at),
        )
    };
    insert_many(attendees::table, new.iter().map(row))
}

/// Changes the answer to an invitation. Fails with 403 if another user is invited, whatever the role of the actor.
pub async fn update(tx: &mut WriteTx, before: Authorized<Invited>, input: AttendeeInput) -> Result<Audited<Attendee>> {
    let before = &before.attendee;
    if before.user_id.is_some_and(|user| user != tx.actor()) {
        return Err(Error::Forbidden);
    }
    let AttendeeInput { rsvp } = input;
    let attendee = Attendee { rsvp, version: before.version + 1, updated_at: tx.now(), ..before.clone() };
    let row = diesel::update(one(tx.tenant(), attendee.meeting_id, attendee.id)).set((
        attendees::rsvp.eq(attendee.rsvp),
        attendees::version.eq(attendee.version),
        attendees::updated_at.eq(attendee.updated_at),
    ));
    Ok(tx.changed(Change::updated(attendee.id, before, &attendee), row).await?.with(attendee))
}

pub async fn delete(tx: &mut WriteTx, invited: Authorized<Invited>) -> Result<Audited<()>> {
    let attendee = &invited.attendee;
    let row = diesel::delete(one(tx.tenant(), attendee.meeting_id, attendee.id));
    let audited = tx.changed(Change::deleted(attendee.id, attendee), row).await?;
    meetings::revise(tx, attendee.meeting_id).await?;
    Ok(audited)
}

/// Deletes the attendees of a meeting that is about to be deleted.
pub async fn delete_all(tx: &mut WriteTx, meeting: MeetingId) -> Result<()> {
    let rows = diesel::delete(all(tx.tenant(), meeting));
    tx.execute_unaudited("the meeting's row tells of it", rows).await?;
    Ok(())
}
