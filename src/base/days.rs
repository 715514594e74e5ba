//! Days of a time zone. A day has 23 or 25 hours if the clocks are changed on it.
use super::formats::YEARS;
use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// The beginning and the end of a period. `None` means that there is no bound.
pub type Span = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// The period from the beginning of the day `from` to the end of the day `to`, by the clocks of the zone.
pub fn span(from: Option<NaiveDate>, to: Option<NaiveDate>, zone: Tz) -> Span {
    let next = to.and_then(|day| day.checked_add_days(Days::new(1)));
    // No stored time is outside of these years, so that such a bound would change nothing.
    let start = |day| Some(day_start(day, zone)).filter(|time| YEARS.contains(&time.year()));
    (from.and_then(start), next.and_then(start))
}

/// The beginning of a day: midnight, or the first of two midnights if the clocks are set back, or the end of the gap if
/// the clocks skip midnight.
fn day_start(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    match zone.from_local_datetime(&midnight) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.to_utc(),
        LocalResult::None => {
            let gap = GapInfo::new(&midnight, &zone).and_then(|gap| gap.end);
            gap.map_or_else(|| midnight.and_utc(), |end| end.to_utc())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_when_the_clocks_say_so() {
        for (zone, day, start, hours) in [
            (Tz::UTC, "2026-05-11", "2026-05-11T00:00:00Z", 24),
            (Tz::Asia__Seoul, "2026-05-11", "2026-05-10T15:00:00Z", 24),
            (Tz::America__New_York, "2026-03-08", "2026-03-08T05:00:00Z", 23),
            (Tz::America__New_York, "2026-11-01", "2026-11-01T04:00:00Z", 25),
            (Tz::Pacific__Auckland, "2026-04-05", "2026-04-04T11:00:00Z", 25),
            (Tz::Pacific__Auckland, "2026-09-27", "2026-09-26T12:00:00Z", 23),
            (Tz::America__Sao_Paulo, "2018-11-04", "2018-11-04T03:00:00Z", 23), // no midnight: it began at 01:00
            (Tz::America__Havana, "2026-11-01", "2026-11-01T04:00:00Z", 25),    // two midnights
            (Tz::America__Toronto, "1919-03-31", "1919-03-31T04:30:00Z", 23),   // 23:30 became 00:30
            (Tz::Pacific__Apia, "2011-12-30", "2011-12-30T10:00:00Z", 0),       // a day that never was
            (Tz::Australia__Lord_Howe, "2026-10-04", "2026-10-03T13:30:00Z", 23),
        ] {
            let day: NaiveDate = day.parse().unwrap();
            let (from, until) = span(Some(day), Some(day), zone);
            assert_eq!(from, Some(start.parse().unwrap()), "{day} in {zone}");
            assert_eq!((until.unwrap() - from.unwrap()).num_hours(), hours, "{day} in {zone}");
        }
        let (first, last) = (NaiveDate::from_ymd_opt(1, 1, 1), NaiveDate::from_ymd_opt(9999, 12, 31));
        assert_eq!(span(first, None, Tz::Pacific__Auckland), (None, None), "it began in the year 0 of UTC");
        assert_eq!(span(None, last, Tz::UTC), (None, None), "it ends where all that is kept does");
        assert_eq!(span(None, Some(NaiveDate::MAX), Tz::UTC), (None, None));
    }
}
