//! The states of a meeting.
use super::types::MeetingStatus;

/// Whether a meeting may go from one state to the other. It is held before it is completed, and what is over stays as it is.
pub fn may_become(from: MeetingStatus, to: MeetingStatus) -> bool {
    use MeetingStatus::{Cancelled, Completed, InProgress, Scheduled};
    matches!(
        (from, to),
        (Scheduled, Scheduled | InProgress | Cancelled)
            | (InProgress, InProgress | Completed | Cancelled)
            | (Completed, Completed)
            | (Cancelled, Cancelled)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use MeetingStatus::{Cancelled, Completed, InProgress, Scheduled};

    #[test]
    fn every_move_between_states() {
        let states = [Scheduled, InProgress, Completed, Cancelled];
        let table = [
            [true, true, false, true],   // from scheduled
            [false, true, true, true],   // from in_progress
            [false, false, true, false], // from completed
            [false, false, false, true], // from cancelled
        ];
        for (from, row) in states.into_iter().zip(table) {
            for (to, may) in states.into_iter().zip(row) {
                assert_eq!(may_become(from, to), may, "{from:?} to {to:?}");
            }
        }
    }
}
