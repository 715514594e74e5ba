//! Attendees over HTTP.
use super::types::{Attendee, AttendeeFilter, AttendeeId, AttendeeInput, NewAttendee};
use super::{Answer, Read, Write, queries};
use crate::api::list::List;
use crate::api::{
    Also, Caller, Created, Deleted, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Saved,
};
use crate::base::error::Result;
use crate::db::Db;
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::Tag;
use crate::resources::users::SeeAddresses;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct AttendeesApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Meetings")]
impl AttendeesApi {
    /// List attendees
    #[oai(path = "/meetings/:meeting_id/attendees", method = "get", operation_id = "attendee_list")]
    async fn list(
        &self,
        caller: Caller<Read>,
        Path(meeting_id): Path<MeetingId>,
        Query(list): Query<List<AttendeeFilter>>,
    ) -> Result<Listed<Attendee>> {
        let page = list.read(&self.db, &caller, async |tx| queries::list(tx, meeting_id, &list).await).await?;
        Ok(Listed(page))
    }

    /// Invite an attendee
    #[oai(path = "/meetings/:meeting_id/attendees", method = "post", operation_id = "attendee_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        idempotency_key: IdempotencyKey,
        Json(new): Json<NewAttendee>,
    ) -> Result<Created<Attendee>, Also<409>> {
        let key = idempotency_key.of(&new)?;
        let sees_addresses = caller.with::<SeeAddresses>().is_some();
        let insert = async |tx: &mut _| queries::insert(tx, meeting_id, new, sees_addresses).await;
        Ok(Created(self.db.write_once(&caller, key, insert).await?))
    }

    /// Get an attendee
    #[oai(path = "/meetings/:meeting_id/attendees/:attendee_id", method = "get", operation_id = "attendee_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(meeting_id): Path<MeetingId>,
        Path(attendee_id): Path<AttendeeId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Attendee>> {
        let find = async |tx: &mut _| queries::find(tx, meeting_id, attendee_id).await;
        Ok(Found(self.db.find(&caller, find).await?, if_none_match))
    }

    /// Answer an invitation
    #[oai(path = "/meetings/:meeting_id/attendees/:attendee_id", method = "patch", operation_id = "attendee_change")]
    async fn change(
        &self,
        caller: Caller<Answer>,
        Path(meeting_id): Path<MeetingId>,
        Path(attendee_id): Path<AttendeeId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<AttendeeInput>>,
    ) -> Result<Saved<Attendee>> {
        let change = async |tx: &mut _| {
            let attendee = queries::find_to_change(tx, meeting_id, attendee_id).await?;
            let attendee = caller.authorize(attendee, &if_match)?;
            let input = patch.apply(&AttendeeInput { rsvp: attendee.attendee.rsvp })?;
            queries::update(tx, attendee, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Remove an attendee
    #[oai(path = "/meetings/:meeting_id/attendees/:attendee_id", method = "delete", operation_id = "attendee_delete")]
    async fn delete(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        Path(attendee_id): Path<AttendeeId>,
        if_match: IfMatch,
    ) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let attendee = queries::find_to_change(tx, meeting_id, attendee_id).await?;
            queries::delete(tx, caller.authorize(attendee, &if_match)?).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }
}
