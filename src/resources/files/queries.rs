//! Files in the database. Every query for readers has only files that they may see.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::ReadAll;
use super::types::{File, FileFilter, FileParents, Parent, Reader};
use crate::api::list::{Batch, List, Page, PlainSort};
use crate::api::{Authorized, DataSubject, Locked};
use crate::auth::{Permission, Role};
use crate::base::error::{Error, Result};
use crate::db::deadline::InTime;
use crate::db::schema::files;
use crate::db::sql::for_update;
use crate::db::stored_objects::Reservation;
use crate::db::types::{FileId, Instant, TenantId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, WriteTx, insert_many};
use crate::resources::{RECORDS, contracts, meetings, tasks};
use crate::{batch, narrowed, paged};
use diesel::prelude::*;

/// How many files of a record are deleted at once.
const BATCH: i64 = 1000;

/// The files that a reader may see: those of records that the reader may read, and of the others the reader's own. Admins
/// see all others, too.
fn visible(tenant: TenantId, reader: Reader) -> files::BoxedQuery<'static, Any> {
    let mut rows = files::table.filter(files::tenant_id.eq(tenant)).into_boxed();
    let least = [tasks::Read::ROLE, meetings::Read::ROLE, contracts::Read::ROLE];
    let [tasks, meetings, contracts] = least.map(|least| reader.role >= least);
    if !tasks {
        rows = rows.filter(files::task_id.is_null());
    }
    if !meetings {
        rows = rows.filter(files::meeting_id.is_null());
    }
    if !contracts {
        rows = rows.filter(files::contract_id.is_null());
    }
    if reader.role < ReadAll::ROLE {
        let has_parent = files::task_id.is_not_null().or(files::meeting_id.is_not_null());
        let has_parent = has_parent.or(files::contract_id.is_not_null());
        rows = rows.filter(has_parent.or(files::uploaded_by.eq(reader.user)));
    }
    rows
}

fn matching(tx: &ReadTx, reader: Reader, list: &List<FileFilter>) -> files::BoxedQuery<'static, Any> {
    let FileFilter { task_id, meeting_id, contract_id } = list.filter.clone();
    narrowed!(
        visible(tx.tenant(), reader),
        task_id => files::task_id.eq(task_id),
        meeting_id => files::meeting_id.eq(meeting_id),
        contract_id => files::contract_id.eq(contract_id),
    )
}

pub async fn list(tx: &mut ReadTx, reader: Reader, list: &List<FileFilter>) -> Result<Page<File>> {
    let (rows, total) = paged!(tx, list, matching(tx, reader, list), File::as_select(), (files::id, FileId), {
        PlainSort::CreatedAt => (files::created_at, Instant),
    });
    Ok(list.page(rows, total))
}

pub async fn find(tx: &mut ReadTx, reader: Reader, id: FileId) -> Result<File> {
    Ok(visible(tx.tenant(), reader).filter(files::id.eq(id)).select(File::as_select()).first(tx).await?)
}

/// The file, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx, reader: Reader, id: FileId) -> Result<Locked<File>> {
    let file = visible(tx.tenant(), reader).filter(files::id.eq(id)).select(File::as_select());
    Ok(Locked::new(for_update(file).get_result(tx).await?))
}

/// The next files that a person uploaded and may still see, in the order of their ids.
pub async fn about(tx: &mut ReadTx, person: &DataSubject, next: Batch) -> Result<Vec<File>> {
    let reader = Reader { user: person.user(), role: person.role };
    let rows = batch!(
        visible(tx.tenant(), reader).filter(InTime),
        files::uploaded_by.eq(reader.user),
        next,
        (files::id, FileId)
    );
    Ok(rows.select(File::as_select()).load(tx).await?)
}

/// Fails with 422 if the record that a file is to belong to does not exist, or if a user of this role may not read it.
pub async fn must_be_readable(tx: &mut ReadTx, role: Role, parents: &FileParents) -> Result<()> {
    let Some((member, kind, id)) = parents.only()?.map(Parent::named) else { return Ok(()) };
    match RECORDS.references(tx, role, &[(kind, id)]).await?.is_empty() {
        true => Err(Error::unprocessable(member, "does not exist")),
        false => Ok(()),
    }
}

/// Makes a file of an upload.
pub async fn insert(tx: &mut WriteTx, role: Role, reserved: Reservation, file: File) -> Result<Audited<File>> {
    let parent = file.parents.only()?.map(Parent::named);
    if let Some((_, kind, id)) = parent
        && let Some(kind) = RECORDS.kind(kind)
    {
        // Before the bytes of the tenant are counted, as the deletion of the record does.
        tx.lock_shared(kind.table, id).await?;
    }
    must_be_readable(tx, role, &file.parents).await?;
    tx.keep_object(reserved, file.size).await?;
    let row = (
        files::tenant_id.eq(tx.tenant()),
        files::id.eq(file.id),
        files::name.eq(file.name.clone()),
        files::size.eq(file.size),
        files::content_type.eq(file.content_type.clone()),
        files::sha256.eq(file.sha256.clone()),
        file.parents.clone(),
        files::uploaded_by.eq(file.uploaded_by),
        files::version.eq(file.version),
        files::created_at.eq(file.created_at),
    );
    let row = insert_many(files::table, [row]).refers_to(parent.map_or("task_id", |(member, ..)| member));
    Ok(tx.changed(Change::created(file.id, &file), row).await?.with(file))
}

pub async fn delete(tx: &mut WriteTx, file: Authorized<File>) -> Result<Audited<()>> {
    let row = diesel::delete(files::table.filter(files::tenant_id.eq(tx.tenant())).filter(files::id.eq(file.id)));
    tx.remove_objects(&[file.id], file.size).await?;
    tx.changed(Change::deleted(file.id, &*file), row).await
}

/// Deletes the files of a record that is being deleted, and returns how many there were, for that record's audit row.
pub async fn delete_of(tx: &mut WriteTx, parent: Parent) -> Result<usize> {
    let mut count = 0;
    loop {
        let of_tenant = files::table.filter(files::tenant_id.eq(tx.tenant())).into_boxed();
        let rows = match parent {
            Parent::Task(id) => of_tenant.filter(files::task_id.eq(id)),
            Parent::Meeting(id) => of_tenant.filter(files::meeting_id.eq(id)),
            Parent::Contract(id) => of_tenant.filter(files::contract_id.eq(id)),
        };
        let rows = rows.order(files::id.asc()).select((files::id, files::size)).limit(BATCH);
        let rows: Vec<(FileId, i64)> = for_update(rows).get_results(tx).await?;
        if rows.is_empty() {
            return Ok(count);
        }
        let (ids, sizes): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        tx.remove_objects(&ids, sizes.iter().sum()).await?;
        let gone = files::table.filter(files::tenant_id.eq(tx.tenant())).filter(files::id.eq_any(ids));
        count += tx.execute_unaudited("the row of the record tells how many there were", diesel::delete(gone)).await?;
    }
}
