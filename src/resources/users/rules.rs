//! Who may make what of whom.
use super::Manage;
use super::types::UserInput;
use crate::auth::{Permission, Role};
use crate::error::{Error, Result};

/// How high somebody stands.
#[derive(Debug, Clone, Copy)]
pub struct Rank {
    pub role: Role,
    /// Operates the server.
    pub is_superuser: bool,
}

/// Nobody acts on who stands above them, nor lifts anybody above themselves. Who operates the server stands above all who
/// don't, whatever their roles.
pub fn may_change(actor: Rank, target: Rank, new: Role) -> Result<()> {
    let is_below = actor.role < target.role || (target.is_superuser && !actor.is_superuser);
    let may_manage = actor.role >= Manage::ROLE; // still, as it may have changed since they were let in
    if may_manage && !is_below && actor.role >= new { Ok(()) } else { Err(Error::Forbidden) }
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
    fn an_owner_is_lost_by_demotion_disabling_and_removal() {
        let user = |role, is_active| UserInput { name: "x".into(), role, is_active, requests_per_hour: None };
        let owner = user(Role::Owner, true);
        assert!(loses_owner(&owner, None) && loses_owner(&owner, Some(&user(Role::Admin, true))));
        assert!(loses_owner(&owner, Some(&user(Role::Owner, false))));
        assert!(!loses_owner(&owner, Some(&user(Role::Owner, true))));
        assert!(!loses_owner(&user(Role::Owner, false), None) && !loses_owner(&user(Role::Admin, true), None));
    }
}
