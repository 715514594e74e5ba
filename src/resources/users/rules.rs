//! The changes that a user may make to another user.
use super::types::{Account, UserInput};
use super::{GiveRights, Manage};
use crate::api::Caller;
use crate::auth::{Permission, Role};
use crate::base::error::{Error, Result};

/// How high somebody stands.
#[derive(Debug, Clone, Copy)]
pub struct Rank {
    pub role: Role,
    /// Operates the server.
    pub is_superuser: bool,
}

/// Nobody acts on a user who stands above them, nor lifts anybody above themselves. Operators of the server stand above all
/// other users, whatever their roles.
pub fn may_change(actor: Rank, target: Rank, new: Role) -> Result<()> {
    let is_below = actor.role < target.role || (target.is_superuser && !actor.is_superuser);
    let may_manage = actor.role >= Manage::ROLE; // still, as it may have changed since they were let in
    if may_manage && !is_below && actor.role >= new { Ok(()) } else { Err(Error::Forbidden) }
}

/// A change of a user that its caller may make: [`allow`] alone makes one.
pub struct AllowedChange(UserInput);

impl AllowedChange {
    pub fn into_input(self) -> UserInput {
        self.0
    }
}

/// 403 where the caller may not change the user like this: not by their rank, or because they are an API key, which changes
/// names and limits but not what somebody may do.
pub fn allow(caller: &Caller<Manage>, actor: Rank, account: &Account, input: UserInput) -> Result<AllowedChange> {
    may_change(actor, account.user.rank(), input.role)?;
    if gives_rights(&account.as_input(), &input) {
        caller.require::<GiveRights>()?;
    }
    Ok(AllowedChange(input))
}

/// Whether a change has the user in another role, or lets them in again. To disable somebody gives nobody anything.
fn gives_rights(before: &UserInput, after: &UserInput) -> bool {
    before.role != after.role || (!before.is_active && after.is_active)
}

/// Whether the tenant has one active owner less afterwards.
pub fn loses_owner(before: &UserInput, after: Option<&UserInput>) -> bool {
    let owns = |user: &UserInput| user.role == Role::Owner && user.is_active;
    owns(before) && !after.is_some_and(owns)
}

/// Whether what the user could do with a session from before has become less.
pub fn ends_sessions(before: &UserInput, after: &UserInput) -> bool {
    before.is_active && !after.is_active
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reaches_above_themselves() {
        let rank = |role, is_superuser| Rank { role, is_superuser };
        for actor in Role::ALL {
            for target in Role::ALL {
                for new in Role::ALL {
                    for [operates, is_operator] in [[false, false], [false, true], [true, false], [true, true]] {
                        let allowed = may_change(rank(actor, operates), rank(target, is_operator), new).is_ok();
                        let reaches = actor >= Role::Admin && target <= actor && new <= actor;
                        let expected = reaches && (operates || !is_operator);
                        assert_eq!(allowed, expected, "{actor:?} {operates} makes {target:?} {is_operator} {new:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_name_and_an_end_give_no_rights() {
        let user =
            |name: &str, role, is_active| UserInput { name: name.into(), role, is_active, requests_per_hour: None };
        let editor = user("x", Role::Editor, true);
        let disabled = user("x", Role::Editor, false);
        assert!(!gives_rights(&editor, &user("y", Role::Editor, true)) && !gives_rights(&editor, &disabled));
        assert!(!gives_rights(&disabled, &user("y", Role::Editor, false)) && gives_rights(&disabled, &editor));
        for role in [Role::Viewer, Role::Admin] {
            assert!(gives_rights(&editor, &user("x", role, true)) && gives_rights(&disabled, &user("x", role, false)));
        }
    }

    #[test]
    fn an_owner_is_lost_by_demotion_disabling_and_removal() {
        let user = |role, is_active| UserInput { name: "x".into(), role, is_active, requests_per_hour: None };
        let owner = user(Role::Owner, true);
        assert!(loses_owner(&owner, None) && loses_owner(&owner, Some(&user(Role::Admin, true))));
        assert!(loses_owner(&owner, Some(&user(Role::Owner, false))));
        assert!(!loses_owner(&owner, Some(&user(Role::Owner, true))));
        assert!(!loses_owner(&user(Role::Owner, false), None) && !loses_owner(&user(Role::Admin, true), None));
    }
}
