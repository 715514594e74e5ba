//! Exports everything that is stored about a person, as NDJSON: one object per line, with its kind. Each batch is read
//! in a transaction of its own, so that no connection is held while a slow client reads. The kinds of records declare
//! what is exported, and in which order.
use super::Read;
use crate::api::export::ndjson_response;
use crate::api::list::Batch;
use crate::api::record::{Held, Rows};
use crate::api::{Caller, DataSubject};
use crate::base::error::Result;
use crate::db::{Cost, ReadTx};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponses, Registry};
use serde_json::{Value, json};
use uuid::Uuid;

pub struct PersonalData(Body);

impl PersonalData {
    pub async fn stream(person: DataSubject, caller: Caller<Read>) -> Result<Self> {
        // Errors before the stream begins still get a proper answer.
        let slot = caller.begin_export()?;
        let parts = person.records.held();
        let head = match parts.first() {
            Some(first) => print(first, batch(&person, first, Batch::first()).await?),
            None => String::new(),
        };
        let start = (person, caller, Some((1, Batch::first())), slot);
        let rest = stream::try_unfold(start, move |(mut person, caller, place, slot)| {
            let parts = parts.clone();
            async move {
                let Some((index, next)) = place.filter(|(index, _)| *index < parts.len()) else { return Ok(None) };
                let part: &Held = parts[index];
                person.role = caller.recheck().await?;
                let rows = batch(&person, part, next).await?;
                // Parts with few rows have no id to continue after, and fit into one batch.
                let (rows, _, size) = match last_id(part, &rows) {
                    Some(_) => next.size.fit(rows.into_iter()),
                    None => (rows, false, next.size),
                };
                let place = match last_id(part, &rows) {
                    Some(last) => (index, Batch { after: last, size }),
                    None => (index + 1, Batch::first()),
                };
                Ok(Some((print(part, rows), (person, caller, Some(place), slot))))
            }
        });
        let rest = rest.map_err(|error: crate::base::error::Error| {
            tracing::error!(?error, "An export broke off");
            std::io::Error::other(error)
        });
        Ok(Self(Body::from_bytes_stream(stream::once(async { Ok(head) }).chain(rest))))
    }
}

/// The id after which the next batch begins. `None` at the end of a part.
fn last_id(part: &Held, rows: &[Value]) -> Option<Uuid> {
    match part.rows {
        Rows::Batches(_) => rows.last()?["id"].as_str()?.parse().ok(),
        Rows::Few(_) | Rows::Elsewhere(_) => None,
    }
}

fn print(part: &Held, rows: Vec<Value>) -> String {
    rows.into_iter().map(|data| format!("{}\n", json!({"kind": part.name, "data": data}))).collect()
}

/// The next rows of a part, as far as the person's current role may see them.
async fn batch(person: &DataSubject, part: &Held, next: Batch) -> Result<Vec<Value>> {
    let (db, scope) = (&person.db, &person.actor);
    match part.rows {
        Rows::Batches(find) => {
            db.read_at(Cost::Long, scope, async |tx: &mut ReadTx| find(tx, person, next).await).await
        }
        Rows::Few(find) => db.read_at(Cost::Long, scope, async |tx: &mut ReadTx| find(tx, person).await).await,
        Rows::Elsewhere(find) => find(person).await,
    }
}

impl IntoResponse for PersonalData {
    fn into_response(self) -> Response {
        let response = Response::builder().content_type("application/x-ndjson");
        response.header("content-disposition", "attachment; filename=\"personal-data.ndjson\"").body(self.0)
    }
}
impl ApiResponse for PersonalData {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![ndjson_response("Everything that is held about the caller")] }
    }
    fn register(_: &mut Registry) {}
}
