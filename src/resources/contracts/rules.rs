//! The states of a contract: draft → active → expired | terminated, draft → terminated.
use super::types::{ContractStatus, Terms};
use crate::base::error::{Detail, Error, Result};

/// Whether users may change a contract from one state to another. `from` is `None` for a new contract. Only the server
/// sets `expired`, in `queries::expire`.
pub fn may_move(from: Option<ContractStatus>, to: ContractStatus) -> bool {
    use ContractStatus::{Active, Draft, Terminated};
    match (from, to) {
        (None, Draft | Active) | (Some(Draft), Active | Terminated) | (Some(Active), Terminated) => true,
        (from, to) => from == Some(to),
    }
}

/// Fails with 422 if a contract may not be changed like this. `before` is `None` for a new contract.
pub fn check_change(before: Option<&Terms>, after: &Terms) -> Result<()> {
    let mut problems = Detail::default();
    if !may_move(before.map(|terms| terms.status), after.status) {
        problems.add(
            "status",
            match after.status {
                ContractStatus::Expired => "is set only by the server, after `end_date`",
                _ => "can't follow the present status",
            },
        );
    }
    if before.is_some_and(|terms| terms.status == ContractStatus::Expired && terms.end_date != after.end_date) {
        problems.add("end_date", "can't be changed, because the contract has expired");
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Unprocessable(problems)) }
}

#[cfg(test)]
mod tests {
    use super::ContractStatus::{self, Active, Draft, Expired, Terminated};
    use super::may_move;

    #[test]
    fn the_whole_table_of_moves() {
        let all = [Draft, Active, Expired, Terminated];
        let table: [(Option<ContractStatus>, [bool; 4]); 5] = [
            (None, [true, true, false, false]),
            (Some(Draft), [true, true, false, true]),
            (Some(Active), [false, true, false, true]),
            (Some(Expired), [false, false, true, false]),
            (Some(Terminated), [false, false, false, true]),
        ];
        for (from, row) in table {
            assert_eq!(all.map(|to| may_move(from, to)), row, "from {from:?}");
        }
    }
}
