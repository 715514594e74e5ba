//! What the database knows about the objects in the storage that belong to no file: uploads that are under way, and
//! objects that are to be removed. A row is written before the object, and deleted when the object has become a file or
//! is gone. So whenever a server dies, a job finds what it left. The bytes of a tenant are counted here, too.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::inserts::insert_many;
use super::scope::{ChangeScope, System};
use super::sql::for_update;
use super::types::{FileId, Instant, TenantId};
use super::{Audited, Db, ReadTx, RunQueryDsl, Statement, WriteScope, WriteTx};
use crate::base::error::{Detail, Error, Result};
use crate::db::schema::{files, loose_objects as loose, stored_bytes};
use chrono::Duration;
use diesel::prelude::*;

/// How many objects are handled in one transaction.
const BATCH: usize = 100;

/// How long the object of an upload that was given up may still come into being, because its last request to the storage
/// is under way.
const GRACE: Duration = Duration::minutes(5);

/// Room for an upload, which is counted until the upload has become a file or is given up.
#[derive(Debug, Clone, Copy)]
pub struct Reservation {
    pub tenant: TenantId,
    pub id: FileId,
    pub bytes: i64,
}

/// How much room an upload asks for, in bytes, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub wanted: i64,
    /// With less than this, the upload is refused.
    pub needed: i64,
    /// The greatest number of bytes that the tenant may store.
    pub quota: i64,
    pub lifetime: Duration,
}

/// An object that is to be removed, and the id of the multipart upload to S3 that was to become it.
#[derive(Debug, Clone)]
pub struct Leftover {
    pub id: FileId,
    pub multipart_id: Option<String>,
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: FileId) -> _ {
    loose::table.filter(loose::tenant_id.eq(tenant)).filter(loose::id.eq(id))
}

/// Adds to the bytes of a tenant, or takes from them.
fn count(tenant: TenantId, change: i64) -> Statement<'static> {
    let of_tenant = stored_bytes::table.filter(stored_bytes::tenant_id.eq(tenant));
    Statement::of(diesel::update(of_tenant).set(stored_bytes::bytes.eq(stored_bytes::bytes + change)))
}

/// The error of what does not fit into the quota.
pub fn over_quota(quota: i64) -> Error {
    let message = format!("does not fit into what is left of the {quota} bytes that the tenant may store");
    Error::QuotaExceeded(Detail::of("size", message))
}

impl Db {
    /// Reserves room for an object: as much as is wanted, or what is left of the quota. Fails with `QuotaExceeded` if that
    /// is less than needed. After the lifetime, the object is removed unless it has become a file.
    pub async fn reserve(&self, scope: &impl ChangeScope, room: Room, request: Option<String>) -> Result<Reservation> {
        let Room { wanted, needed, quota, lifetime } = room;
        self.write(scope, async |tx: &mut WriteTx| {
            let (tenant, id) = (tx.tenant(), tx.new_id());
            let of_tenant = stored_bytes::table.filter(stored_bytes::tenant_id.eq(tenant));
            let stored: i64 = for_update(of_tenant.select(stored_bytes::bytes)).get_result(tx).await?;
            let bytes = wanted.min(quota.saturating_sub(stored));
            if bytes < needed {
                return Err(over_quota(quota));
            }
            count(tenant, bytes).run(tx).await?;
            let row = (
                loose::tenant_id.eq(tenant),
                loose::id.eq(id),
                loose::user_id.eq(tx.author().user()),
                loose::reserved_bytes.eq(bytes),
                loose::request.eq(request),
                loose::is_abandoned.eq(false),
                loose::expires_at.eq(Instant::from(tx.now().0 + lifetime)),
            );
            Statement::of(diesel::insert_into(loose::table).values(row)).run(tx).await?;
            Ok(Audited::without_row(Reservation { tenant, id, bytes })) // the file has its audit row
        })
        .await
    }

    /// An upload of this caller that is under way, and what it was begun with. Fails with `NotFound` if it was given up,
    /// if its time is over, or if it has become a file.
    pub async fn reserved(&self, scope: &impl WriteScope, id: FileId) -> Result<(Reservation, Option<String>)> {
        let user = scope.actor();
        self.find(scope, async |tx: &mut ReadTx| {
            let tenant = tx.tenant();
            let open = one(tenant, id).filter(loose::is_abandoned.eq(false)).filter(loose::expires_at.gt(tx.now()));
            let open = open.filter(loose::user_id.eq(Some(user))).select((loose::reserved_bytes, loose::request));
            let (bytes, request) = open.get_result(tx).await?;
            Ok((Reservation { tenant, id, bytes }, request))
        })
        .await
    }

    /// How many uploads the caller has announced and not completed.
    pub async fn announced(&self, scope: &impl WriteScope) -> Result<i64> {
        let user = scope.actor();
        self.find(scope, async |tx: &mut ReadTx| {
            let of_user = loose::table.filter(loose::tenant_id.eq(tx.tenant())).filter(loose::user_id.eq(Some(user)));
            let open = of_user.filter(loose::request.is_not_null()).filter(loose::expires_at.gt(tx.now()));
            Ok(open.count().get_result(tx).await?)
        })
        .await
    }

    /// Takes an announced upload to complete it, which only one request can, and prolongs its reservation. Fails with
    /// `Unavailable` if another request has taken it, or if it was given up.
    pub async fn claim(&self, scope: &impl WriteScope, id: FileId, lifetime: Duration) -> Result<()> {
        self.write(scope, async |tx: &mut WriteTx| {
            let open = one(tx.tenant(), id).filter(loose::is_abandoned.eq(false)).filter(loose::request.is_not_null());
            let until = Instant::from(tx.now().0 + lifetime);
            let claim = diesel::update(open).set((loose::request.eq(None::<String>), loose::expires_at.eq(until)));
            Statement::of(claim).if_none(given_up()).run(tx).await?;
            Ok(Audited::without_row(())) // the file has its audit row
        })
        .await
    }

    /// Notes the multipart upload to S3 that is to become the object, so that its parts can be removed.
    pub async fn note_multipart(&self, Reservation { tenant, id, .. }: Reservation, multipart_id: &str) -> Result<()> {
        self.write(&System::of(tenant), async |tx: &mut WriteTx| {
            let row = diesel::update(one(tenant, id)).set(loose::multipart_id.eq(multipart_id));
            Statement::of(row).if_none(given_up()).run(tx).await?;
            Ok(Audited::without_row(())) // the file has its audit row
        })
        .await
    }

    /// Gives an upload up, unless it has become a file. The room is free then, and the object may be removed. It is removed
    /// once more later, because its last request to the storage may be under way. `None` if there is a file.
    pub async fn give_up(&self, tenant: TenantId, id: FileId) -> Result<Option<Leftover>> {
        self.write(&System::of(tenant), async |tx: &mut WriteTx| {
            let row = one(tenant, id).select((loose::reserved_bytes, loose::multipart_id));
            let row: Option<(i64, Option<String>)> = for_update(row).get_result(tx).await.optional()?;
            let Some((bytes, multipart_id)) = row else {
                let file = files::table.filter(files::tenant_id.eq(tenant)).filter(files::id.eq(id));
                let is_file = file.count().get_result::<i64>(tx).await? > 0;
                // Without either, the tenant is gone.
                return Ok(Audited::without_row((!is_file).then_some(Leftover { id, multipart_id: None })));
            };
            let later = Instant::from(tx.now().0 + GRACE);
            abandon(tx, vec![id], bytes, later).await?;
            Ok(Audited::without_row(Some(Leftover { id, multipart_id }))) // there never was a file
        })
        .await
    }

    /// Gives up the uploads of a tenant whose time is over. Returns the next objects that are to be removed, in the order of
    /// their ids.
    pub async fn leftovers(&self, tenant: TenantId, after: FileId) -> Result<Vec<Leftover>> {
        type Row = (FileId, i64, Option<String>);
        self.write(&System::of(tenant), async |tx: &mut WriteTx| {
            let rows = loose::table.filter(loose::tenant_id.eq(tenant)).filter(loose::expires_at.lt(tx.now()));
            let rows = rows.filter(loose::id.gt(after)).order(loose::id.asc()).limit(BATCH as i64);
            let rows = rows.select((loose::id, loose::reserved_bytes, loose::multipart_id));
            let rows: Vec<Row> = for_update(rows).get_results(tx).await?;
            let bytes = rows.iter().map(|(_, bytes, _)| bytes).sum();
            if !rows.is_empty() {
                let now = tx.now();
                abandon(tx, rows.iter().map(|(id, ..)| *id).collect(), bytes, now).await?;
            }
            let leftovers = rows.into_iter().map(|(id, _, multipart_id)| Leftover { id, multipart_id });
            Ok(Audited::without_row(leftovers.collect())) // there never was a file, or its deletion has a row
        })
        .await
    }

    /// The uploads of a tenant to S3 in parts, which are under way or were broken off.
    pub async fn multiparts(&self, tenant: TenantId) -> Result<Vec<Leftover>> {
        self.read(&System::of(tenant), async |tx: &mut ReadTx| {
            let rows = loose::table.filter(loose::tenant_id.eq(tx.tenant())).filter(loose::multipart_id.is_not_null());
            let rows: Vec<(FileId, Option<String>)> = rows.select((loose::id, loose::multipart_id)).load(tx).await?;
            Ok(rows.into_iter().map(|(id, multipart_id)| Leftover { id, multipart_id }).collect())
        })
        .await
    }

    /// Deletes the rows of leftovers whose objects are gone.
    pub async fn delete_leftovers(&self, tenant: TenantId, gone: Vec<FileId>) -> Result<()> {
        self.write(&System::of(tenant), async |tx: &mut WriteTx| {
            let rows = loose::table.filter(loose::tenant_id.eq(tenant)).filter(loose::is_abandoned.eq(true));
            Statement::of(diesel::delete(rows.filter(loose::id.eq_any(gone)))).run(tx).await?;
            Ok(Audited::without_row(())) // as above
        })
        .await
    }
}

/// The error of what comes too late to an upload.
pub fn given_up() -> Error {
    Error::Unavailable(anyhow::anyhow!("the upload was given up, or another request is completing it"))
}

/// Marks uploads as given up, and frees their room. Their objects are removed from this time on.
async fn abandon(tx: &mut WriteTx, ids: Vec<FileId>, bytes: i64, from: Instant) -> Result<()> {
    let tenant = tx.tenant();
    let rows = loose::table.filter(loose::tenant_id.eq(tenant)).filter(loose::id.eq_any(ids));
    let change = (loose::is_abandoned.eq(true), loose::reserved_bytes.eq(0), loose::expires_at.eq(from));
    Statement::of(diesel::update(rows).set(change)).run(tx).await?;
    count(tenant, -bytes).run(tx).await
}

impl WriteTx {
    /// Begins to count what the new tenant of the transaction stores.
    pub async fn begin_to_count_bytes(&mut self) -> Result<()> {
        let row = (stored_bytes::tenant_id.eq(self.tenant()), stored_bytes::bytes.eq(0));
        Statement::of(diesel::insert_into(stored_bytes::table).values(row)).run(self).await
    }

    /// Lets an upload become a file of this size. Fails with `Unavailable` if the upload was given up meanwhile.
    pub async fn keep_object(&mut self, Reservation { tenant, id, bytes }: Reservation, size: i64) -> Result<()> {
        let row = diesel::delete(one(tenant, id).filter(loose::is_abandoned.eq(false)));
        Statement::of(row).if_none(given_up()).run(self).await?;
        count(tenant, size - bytes).run(self).await
    }

    /// Has the objects of files removed that are deleted in this transaction, and frees their room.
    pub async fn remove_objects(&mut self, ids: &[FileId], bytes: i64) -> Result<()> {
        let (tenant, now) = (self.tenant(), self.now());
        count(tenant, -bytes).run(self).await?;
        for ids in ids.chunks(BATCH) {
            let row = |id: &FileId| {
                (
                    loose::tenant_id.eq(tenant),
                    loose::id.eq(*id),
                    loose::reserved_bytes.eq(0),
                    loose::is_abandoned.eq(true),
                    loose::expires_at.eq(now),
                )
            };
            insert_many(loose::table, ids.iter().map(row)).run(self).await?;
        }
        Ok(())
    }
}
