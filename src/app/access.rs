//! Prints `docs/access.md`: the permissions of each role, taken from what the handlers require.
use crate::api::guard::OperationLine;
use crate::auth::Role;
use std::fmt::Write;

const HEAD: &str = "\
# What each role may do

Printed from the code: `UPDATE=1 cargo test --test api contract` writes it, and the tests fail where it is not true.

Each role may do all that the ones to its left may. *own* is what the caller made; another user's needs the role that has
✓. *Public* operations need no sign-in. Operators (`is_superuser`) have the operations below `/admin` alone, whatever their
role; they see no tenant's rows. In their own tenant, operators alone change or remove them. Editors read contracts without
amounts, which are for admins and owners.

An API key acts with the role that it was given, where the last column has ✓. It has no sessions, no password and no profile, and
it gives nobody rights that outlive it. So of what it may otherwise do, it is refused these parts: to change a user's role, to let a
disabled user in again (`user_change`), and to open registration (`tenant_change`).

| operation | | viewer | analyst | editor | admin | owner | operator | API key |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
";

/// The whole page.
pub fn page(operations: &[OperationLine]) -> String {
    let mut page = HEAD.to_owned();
    for OperationLine { id, method, path, permission } in operations {
        let role = permission.split(' ').nth(1);
        let cells = match role {
            None => Role::ALL.map(|_| "public").to_vec(),
            Some("Operator") => Role::ALL.map(|_| "").to_vec(),
            Some(roles) => {
                let (own, others) = roles.split_once('/').unwrap_or((roles, roles));
                Role::ALL.map(|role| cell(role, own, others)).to_vec()
            }
        };
        let operator = match role {
            None => "public",
            Some("Operator") => "✓",
            Some(_) => "",
        };
        let key = match role {
            None => "public",
            Some(_) if permission.ends_with(" people") => "",
            Some(_) => "✓",
        };
        // Writing to a String does not fail.
        let _ = writeln!(page, "| `{id}` | {method} `{path}` | {} | {operator} | {key} |", cells.join(" | "));
    }
    page
}

fn cell(role: Role, own: &str, others: &str) -> &'static str {
    let may = |name: &str| Role::ALL.into_iter().any(|least| least.name() == name.to_lowercase() && role >= least);
    match (may(own), may(others)) {
        (_, true) => "✓",
        (true, false) => "own",
        (false, false) => "",
    }
}
