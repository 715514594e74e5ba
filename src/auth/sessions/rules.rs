//! The rules of refresh-token rotation, as one pure function. The session stores only compare and swap.
use crate::db::sessions::SessionState;
use crate::db::types::Instant;
use chrono::Duration;

/// The decision about a refresh token that a client presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the current token. It is replaced by the token of this generation.
    Rotate { next: i64 },
    /// It is the predecessor of the current token, which was created just now and has not been used. The answer with
    /// the current token may have been lost, or two tabs may have refreshed at once. Both requests get the same
    /// successor.
    Repeat { current: i64 },
    /// It was used before and may be in the hands of another person. The session ends.
    Reused,
    /// The session has ended or expired.
    Over,
}

/// Decides about a token of generation `presented`. `grace` is how long the predecessor of an unused token is still
/// accepted.
pub fn rotation_verdict(state: &SessionState, presented: i64, now: Instant, grace: Duration) -> Verdict {
    if state.has_ended || now >= state.expires_at {
        return Verdict::Over;
    }
    if presented == state.generation {
        return Verdict::Rotate { next: state.generation + 1 };
    }
    if presented >= 0 && presented == state.generation - 1 && now.0 - state.rotated_at.0 <= grace {
        return Verdict::Repeat { current: state.generation };
    }
    Verdict::Reused
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn at(seconds: i64) -> Instant {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap().into()
    }

    const GRACE: Duration = Duration::seconds(10);

    fn state() -> SessionState {
        SessionState { generation: 5, rotated_at: at(0), expires_at: at(1000), has_ended: false }
    }

    #[test]
    fn rules() {
        let cases = [
            (5, 0, Verdict::Rotate { next: 6 }),
            (5, 999, Verdict::Rotate { next: 6 }),
            (4, 0, Verdict::Repeat { current: 5 }),
            (4, 10, Verdict::Repeat { current: 5 }),
            (4, 11, Verdict::Reused),
            (3, 0, Verdict::Reused),
            (6, 0, Verdict::Reused), // its MAC is right, but the token was never given out
            (5, 1000, Verdict::Over),
            (4, 1000, Verdict::Over),
        ];
        for (presented, seconds, verdict) in cases {
            assert_eq!(rotation_verdict(&state(), presented, at(seconds), GRACE), verdict, "{presented} at {seconds}");
        }
        let ended = SessionState { has_ended: true, ..state() };
        assert_eq!(rotation_verdict(&ended, 5, at(0), GRACE), Verdict::Over);
    }
}
