//! `openapi/operations.txt`, read: the roles that may call each operation.
use bizcenter::auth::Role;
use std::collections::BTreeMap;

/// A line of the file.
pub struct Line {
    pub id: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    /// None where the operation is public.
    pub rights: Option<Rights>,
}

#[derive(Clone, Copy)]
pub struct Rights {
    /// The least role for what the caller made.
    pub own: Role,
    /// The least role for what others made; none where nobody may.
    pub others: Option<Role>,
    /// Only an operator of the server may call it, whatever the role.
    pub is_for_operators: bool,
    /// No API key may call it, whatever the role.
    pub is_for_people: bool,
}

impl Line {
    /// Whether it is about one record, which its path names.
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

/// By the operation's id.
pub fn rights() -> BTreeMap<&'static str, Option<Rights>> {
    lines().into_iter().map(|line| (line.id, line.rights)).collect()
}

/// How many operations there are for which this holds. A walk that reads the contract compares its own count with it.
pub fn count(holds: impl Fn(&Line) -> bool) -> usize {
    lines().iter().filter(|line| holds(line)).count()
}

/// `task_delete DELETE /api/v1/tasks/{task_id} tasks::Delete Editor/Admin`, perhaps with ` people` at its end.
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
