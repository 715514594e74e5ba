//! The changes that a user may make to another user.
use super::types::{Account, UserInput};
use super::{GiveRights, Manage};
use crate::api::Caller;
use crate::auth::{Permission, Role};
use crate::base::error::{Error, Result};

/// The rank of a user among the other users.
#[derive(Debug, Clone, Copy)]
pub struct Rank {
    pub role: Role,
    /// Whether the user is an operator of the server.
    pub is_superuser: bool,
}

/// Fails with 403 if the actor may not change the target, whose role after the change is `new`. Users can't change
/// users with a higher rank, and can't give a role above their own. Operators of the server rank above all other users,
/// whatever their roles.
pub fn may_change(actor: Rank, target: Rank, new: Role) -> Result<()> {
    let is_below = actor.role < target.role || (target.is_superuser && !actor.is_superuser);
    let may_manage = actor.role >= Manage::ROLE; // the role may have changed since authentication
    if may_manage && !is_below && actor.role >= new { Ok(()) } else { Err(Error::Forbidden) }
}

/// A change of a user that the caller may make. Only [`allow`] makes one.
pub struct AllowedChange(UserInput);

impl AllowedChange {
    pub fn into_input(self) -> UserInput {
        self.0
    }
}

/// Checks a change of a user. Fails with 403 if the rank of the caller is too low, or if the caller is an API key and
/// the change gives rights. API keys may change names and limits, but may not give rights.
pub fn allow(caller: &Caller<Manage>, actor: Rank, account: &Account, input: UserInput) -> Result<AllowedChange> {
    may_change(actor, account.user.rank(), input.role)?;
    if gives_rights(&account.as_input(), &input) {
        caller.require::<GiveRights>()?;
    }
    Ok(AllowedChange(input))
}

/// Whether a change gives the user another role, or enables a disabled user. To disable a user gives no rights.
fn gives_rights(before: &UserInput, after: &UserInput) -> bool {
    before.role != after.role || (!before.is_active && after.is_active)
}

/// Whether the change takes an active owner from the tenant.
pub fn loses_owner(before: &UserInput, after: Option<&UserInput>) -> bool {
    let owns = |user: &UserInput| user.role == Role::Owner && user.is_active;
    owns(before) && !after.is_some_and(owns)
}

/// Whether the change must end the user's sessions: it does if it disables the user.
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
