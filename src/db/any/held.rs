//! Moves the index that a list is held to ([`crate::db::ordered`]) to its place in the SQL for MariaDB.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// What marks the index in the SQL, until `held` moves it to its place.
pub const MARK: &str = " /* in order of */ ";

/// The indexes of MariaDB that have the rows of a tenant in the order of a column and then of their ids, by table and
/// column. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct KnownIndexes(Arc<OnceLock<HashMap<String, String>>>);

impl KnownIndexes {
    pub fn get(&self) -> Option<&HashMap<String, String>> {
        self.0.get()
    }

    pub fn set(&self, found: HashMap<String, String>) {
        let _ = self.0.set(found); // another lease may have been first
    }
}

/// The table and the column by which a query sorts its rows first, such as `tasks.title`. `None` if it is an expression.
pub fn order_of(sql: &str) -> Option<String> {
    let (_, order) = sql.rsplit_once(" ORDER BY `")?;
    let (table, rest) = order.split_once("`.`")?;
    let (column, _) = rest.split_once('`')?;
    Some(format!("{table}.{column}"))
}

/// The SQL with the index of its mark beside the table.
pub fn held(sql: String) -> String {
    let Some((query, index)) = sql.rsplit_once(MARK) else { return sql };
    let table = order_of(query).unwrap_or_default();
    let from = format!(" FROM `{}`", table.split('.').next().unwrap_or_default());
    query.replacen(&from, &format!("{from} FORCE INDEX (`{index}`)"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_stands_beside_the_table() {
        let sql = "SELECT `tasks`.`id` FROM `tasks` WHERE (`tasks`.`id` < ?) ORDER BY `tasks`.`title` DESC, `tasks`.`id` DESC";
        let held = held(format!("{sql}{MARK}tasks_title"));
        assert_eq!(held, sql.replace("FROM `tasks`", "FROM `tasks` FORCE INDEX (`tasks_title`)"));
        assert_eq!(super::held(sql.to_owned()), sql);
        assert_eq!(order_of("SELECT 1 FROM `tasks` ORDER BY coalesce(`tasks`.`due_date`, ?)"), None);
    }
}
