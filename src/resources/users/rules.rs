//! Who may make what of whom.
use super::types::UserInput;
use crate::auth::Role;
use crate::error::{Error, Result};

/// Nobody acts on who stands above them, nor lifts anybody above themselves.
pub fn may_change(actor: Role, target: Role, new: Role) -> Result<()> {
    if actor < target || actor < new { Err(Error::Forbidden) } else { Ok(()) }
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
        for actor in Role::ALL {
            for target in Role::ALL {
                for new in Role::ALL {
                    let allowed = may_change(actor, target, new).is_ok();
                    assert_eq!(allowed, target <= actor && new <= actor, "{actor:?} makes {target:?} {new:?}");
                }
            }
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
