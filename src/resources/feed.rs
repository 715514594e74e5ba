//! The subscribers of the change feed: which slice reacts to the changes of another. The slice that makes a change does
//! not know its subscribers.
use super::contracts::history;
use super::files;
use super::meetings::{action_items, attendees, calendar};
use super::search;
use super::tasks::comments;
use super::{for_all_records, of};
use super::{invitations, users};
use crate::api::Record;
use crate::base::error::{Error, Result};
use crate::db::audit::Subject;
use crate::db::{Action, AnyRecord, Change, Feed, Gone, WriteTx};
use anyhow::anyhow;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

/// A change to a record of a known kind.
struct Seen<'a, Id, R> {
    id: Id,
    action: Action,
    before: Option<&'a R>,
    after: Option<&'a R>,
}

impl<'a, Id: From<Uuid>, R: 'static> Seen<'a, Id, R> {
    /// Fails if the change contains a record of another type, because its subscribers would miss the change.
    fn of(change: &Change<'a>) -> Result<Self> {
        let read = |record: &'a AnyRecord| {
            let other = || Error::Internal(anyhow!("a change of a {} shows another type of record", change.kind()));
            record.downcast_ref::<R>().ok_or_else(other)
        };
        Ok(Self {
            id: change.id().into(),
            action: change.action(),
            before: change.before().map(read).transpose()?,
            after: change.after().map(read).transpose()?,
        })
    }

    fn is_deleted(&self) -> bool {
        self.action == Action::Delete
    }
}

/// Makes an enum with a variant for each registered kind.
macro_rules! kinds {
    ($($kind:ident),+) => {
        enum Changed<'a> {
            $($kind(Seen<'a, <of::$kind as Record>::Id, of::$kind>)),+
        }

        impl<'a> Changed<'a> {
            fn of(change: &Change<'a>) -> Result<Self> {
                match change.kind() {
                    $(<<of::$kind as Record>::Id as Subject>::KIND => Ok(Self::$kind(Seen::of(change)?)),)+
                    kind => Err(Error::Internal(anyhow!("the change feed knows no {kind}"))),
                }
            }

            /// Keeps the search equal to what has changed.
            async fn index(&self, tx: &mut WriteTx) -> Result<()> {
                match self {
                    $(Self::$kind(seen) => search::follow(tx, seen.id.uuid(), seen.action, seen.before, seen.after).await),+
                }
            }
        }
    };
}
for_all_records!(kinds);

/// All subscribers.
pub struct Subscribers;

impl Feed for Subscribers {
    fn before<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<Gone>> {
        before(tx, change).boxed()
    }

    fn after<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<()>> {
        after(tx, change).boxed()
    }
}

/// Runs before a change is made. Deletes or unlinks what refers to a record that is about to be deleted, and ends what
/// must not outlive the change.
async fn before(tx: &mut WriteTx, change: &Change<'_>) -> Result<Gone> {
    let mut gone = Gone::new();
    if change.action() == Action::Delete {
        search::remove_below(tx, change.kind(), change.id()).await?;
    }
    match Changed::of(change)? {
        Changed::Tenant(tenant) if tenant.is_deleted() => {
            users::release_names(tx).await?;
            invitations::delete_all(tx).await?;
        }
        Changed::User(user) => match (user.action, user.before) {
            // A calendar feed needs no password, so it must end together with a password that others may have known.
            (Action::PasswordChange | Action::PasswordReset, _) => {
                calendar::revoke(tx, user.id).await?;
            }
            (Action::Delete, Some(before)) => {
                calendar::revoke(tx, user.id).await?;
                attendees::anonymize_guest(tx, &before.email).await?;
            }
            (Action::Delete, None) => {
                return Err(Error::Internal(anyhow::anyhow!("a removed user is told of without what they were")));
            }
            _ => {}
        },
        Changed::Task(task) if task.is_deleted() => {
            gone.push(("comments", comments::delete_of(tx, task.id).await?));
            gone.push(("files", files::delete_of(tx, files::Parent::Task(task.id)).await?));
            action_items::unlink_task(tx, task.id).await?;
        }
        Changed::Meeting(meeting) if meeting.is_deleted() => {
            gone.push(("files", files::delete_of(tx, files::Parent::Meeting(meeting.id)).await?));
            attendees::delete_all(tx, meeting.id).await?;
            action_items::delete_all(tx, meeting.id).await?;
        }
        Changed::Contract(contract) if contract.is_deleted() => {
            gone.push(("files", files::delete_of(tx, files::Parent::Contract(contract.id)).await?));
            history::delete_of(tx, contract.id).await?;
        }
        _ => {}
    }
    Ok(gone)
}

/// Runs after a change was made, and writes the terms of the search and the history of contracts.
async fn after(tx: &mut WriteTx, change: &Change<'_>) -> Result<()> {
    let changed = Changed::of(change)?;
    changed.index(tx).await?;
    match changed {
        Changed::Contract(Seen { before: Some(before), after: Some(after), .. }) => {
            history::record(tx, before, after).await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tasks::TaskId;

    #[test]
    fn a_record_of_another_type_is_an_error() {
        let id = TaskId::from(Uuid::from_u128(1));
        let text = "not a task".to_owned();
        assert!(matches!(Changed::of(&Change::deleted(id, &text)), Err(Error::Internal(_))));
        assert!(matches!(Changed::of(&Change::of(Action::Delete, id)), Ok(Changed::Task(task)) if task.id == id));
    }
}
