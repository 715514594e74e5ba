//! The states of a meeting.
use super::types::MeetingStatus;

/// Whether a meeting may change from one state to another. A meeting must be in progress before it is completed. A
/// completed or cancelled meeting keeps its state.
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
