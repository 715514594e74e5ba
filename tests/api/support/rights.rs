//! Reads `openapi/operations.txt`: the roles that may call each operation.
use bizcenter::auth::Role;
use std::collections::BTreeMap;

/// A line of the file.
pub struct Line {
    pub id: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    /// `None` if the operation is public.
    pub rights: Option<Rights>,
}

#[derive(Clone, Copy)]
pub struct Rights {
    /// The lowest role that may call it on records that the caller created.
    pub own: Role,
    /// The lowest role that may call it on records that others created. `None` if no role may.
    pub others: Option<Role>,
    /// Only an operator of the server may call it, whatever the role.
    pub is_for_operators: bool,
    /// No API key may call it, whatever the role.
    pub is_for_people: bool,
}

impl Line {
    /// Whether the operation is about one record, which its path names.
    pub fn is_about_one(&self) -> bool {
        self.path.contains('{')
    }
    pub fn is_for_operators(&self) -> bool {
        self.rights.is_some_and(|rights| rights.is_for_operators)
    }
}

/// All lines, in the order of the file.
pub fn lines() -> Vec<Line> {
    include_str!("../../../openapi/operations.txt").lines().map(line).collect()
}

/// The rights of each operation, by its id.
pub fn rights() -> BTreeMap<&'static str, Option<Rights>> {
    lines().into_iter().map(|line| (line.id, line.rights)).collect()
}

/// How many operations fulfil this condition. A test that walks over the contract compares its own count with this one.
pub fn count(holds: impl Fn(&Line) -> bool) -> usize {
    lines().iter().filter(|line| holds(line)).count()
}

/// Parses a line such as `task_delete DELETE /api/v1/tasks/{task_id} tasks::Delete Editor/Admin`, which may end with `
/// people`.
fn line(text: &'static str) -> Line {
    let words: Vec<_> = text.split(' ').collect();
    let role = |name: &str| Role::ALL.into_iter().find(|role| role.name() == name.to_lowercase()).unwrap();
    let rights = words.get(4).map(|roles| {
        let is_for_operators = *roles == "Operator";
        let roles = if is_for_operators { "Viewer" } else { roles };
        let (own, others) = roles.split_once('/').unwrap_or((roles, roles));
        let others = (others != "Nobody").then(|| role(others));
        Rights { own: role(own), others, is_for_operators, is_for_people: words.get(5) == Some(&"people") }
    });
    assert_eq!(rights.is_none(), words[3] == "public", "{text}");
    Line { id: words[0], method: words[1], path: words[2], rights }
}
