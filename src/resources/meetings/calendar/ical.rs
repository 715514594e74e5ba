//! Writes meetings as iCalendar (RFC 5545). The crate for iCalendar (`icalendar` 0.17) is not used: it folds lines at
//! 76 octets, takes quadratic time for long texts, and lets a quotation mark end its parameter.
use super::types::{Event, Facts, Guest};
use crate::base::formats::YEARS;
use crate::db::types::{Instant, UserId};
use crate::resources::meetings::attendees::Rsvp;
use crate::resources::meetings::types::MeetingStatus;
use chrono::{DateTime, Datelike, Duration, SubsecRound, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The greatest length of a line in octets, without its end (3.1).
const LINE: usize = 75;

/// The characters of an e-mail address that are percent-encoded in a `mailto` URI (RFC 6068).
const ADDRESS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_').remove(b'+');

/// Returns a calendar file with these events.
pub fn print<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let mut lines = Lines(String::new());
    lines.add("BEGIN:VCALENDAR");
    lines.add("VERSION:2.0");
    lines.add("PRODID:-//BizCenter//BizCenter//EN");
    lines.add("CALSCALE:GREGORIAN");
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        NO_EVENTS.lines().for_each(|line| lines.add(line));
    }
    for event in events {
        lines.event(event);
    }
    lines.add("END:VCALENDAR");
    lines.0
}

/// The content of a calendar without events. A calendar must have at least one component (3.6), so this one defines a
/// time zone that nothing refers to.
const NO_EVENTS: &str = "\
BEGIN:VTIMEZONE
TZID:UTC
BEGIN:STANDARD
DTSTART:19700101T000000
TZOFFSETFROM:+0000
TZOFFSETTO:+0000
TZNAME:UTC
END:STANDARD
END:VTIMEZONE";

struct Lines(String);

impl Lines {
    /// Adds one content line, which must contain no line break. A long line is folded, between characters.
    fn add(&mut self, line: &str) {
        let mut octets = 0;
        for c in line.chars() {
            if octets + c.len_utf8() > LINE {
                self.0.push_str("\r\n ");
                octets = 1;
            }
            self.0.push(c);
            octets += c.len_utf8();
        }
        self.0.push_str("\r\n");
    }

    fn event(&mut self, Event { facts, agenda, organizer, guests }: &Event) {
        let Facts { id, title, location, status, starts_at, ends_at, version, created_at, updated_at } = facts;
        let starts_at = starts_at.0.trunc_subsecs(0);
        let ends_at = ends_at.0.trunc_subsecs(0).max(starts_at + Duration::seconds(1)); // an event must not be empty
        // An event that starts in the last second of the last year has no later end.
        let ends_at = if YEARS.contains(&ends_at.year()) { ends_at } else { starts_at };
        let updated_at = guests.iter().map(|guest| &guest.updated_at).fold(updated_at, |latest, at| latest.max(at));
        self.add("BEGIN:VEVENT");
        self.add(&format!("UID:{id}@bizcenter"));
        // The time of the last change and not of the request (3.8.7.2), so that an unchanged meeting always gives the
        // same file. The answer of an attendee is a change, too. An invitation makes a new version of the meeting.
        self.add(&format!("DTSTAMP:{}", time(updated_at)));
        self.add(&format!("CREATED:{}", time(created_at)));
        self.add(&format!("LAST-MODIFIED:{}", time(updated_at)));
        self.add(&format!("SEQUENCE:{}", version - 1));
        self.add(&format!("DTSTART:{}", time(&starts_at.into())));
        self.add(&format!("DTEND:{}", time(&ends_at.into())));
        self.add(&format!("SUMMARY:{}", text(title)));
        self.text_of("DESCRIPTION", agenda.as_deref());
        self.text_of("LOCATION", location.as_deref());
        self.add(match status {
            MeetingStatus::Cancelled => "STATUS:CANCELLED",
            MeetingStatus::Scheduled | MeetingStatus::InProgress | MeetingStatus::Completed => "STATUS:CONFIRMED",
        });
        if let Some((id, name)) = organizer.as_ref().filter(|_| !guests.is_empty()) {
            self.add(&format!("ORGANIZER;CN={}:{}", quoted(name), nobodys(*id)));
        }
        for Guest { user, email, rsvp, updated_at: _ } in guests {
            let (name, address) = match (user, email) {
                (Some((id, name)), _) => (name.as_str(), nobodys(*id)),
                (None, Some(email)) => (email.as_str(), format!("mailto:{}", utf8_percent_encode(email, ADDRESS))),
                (None, None) => continue,
            };
            let answer = match rsvp {
                Rsvp::Yes => "ACCEPTED",
                Rsvp::No => "DECLINED",
                Rsvp::Maybe => "TENTATIVE",
                Rsvp::None => "NEEDS-ACTION",
            };
            self.add(&format!("ATTENDEE;CN={};PARTSTAT={answer}:{address}", quoted(name)));
        }
        self.add("END:VEVENT");
    }

    fn text_of(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(&format!("{name}:{}", text(value)));
        }
    }
}

fn time(Instant(time): &Instant) -> String {
    DateTime::<Utc>::format(time, "%Y%m%dT%H%M%SZ").to_string()
}

/// The URI of a user of the tenant. It is not the e-mail address, which not everybody who may read the meeting may see.
fn nobodys(user: UserId) -> String {
    format!("urn:uuid:{user}")
}

/// Whether some programs take the character for the end of a line.
fn breaks_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Escapes a text value (3.3.11). Control characters are not allowed in it, and are left out.
fn text(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.replace("\r\n", "\n").chars() {
        match c {
            '\\' | ';' | ',' => escaped.extend(['\\', c]),
            c if breaks_line(c) => escaped.push_str("\\n"),
            c if c.is_control() && c != '\t' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// Encloses the value of a parameter in quotation marks. Quotation marks in the value are written as in RFC 6868.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '^' => quoted.push_str("^^"),
            '"' => quoted.push_str("^'"),
            c if breaks_line(c) || c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_in_their_line() {
        assert_eq!(
            text("a\\b;c,d\r\ne\nf\rg\u{2028}h\u{85}i\u{0}\u{7}\tj\":"),
            "a\\\\b\\;c\\,d\\ne\\nf\\ng\\nh\\ni\tj\":"
        );
        assert_eq!(quoted("A \"B\" ^C;D:E,\r\nF\u{2029}"), "\"A ^'B^' ^^C;D:E,  F \"");
    }

    #[test]
    fn lines_are_folded_between_characters() {
        for (one, count) in
            [("a", 74), ("a", 75), ("a", 76), ("a", 149), ("a", 150), ("한", 100), ("😀", 100), (" ", 200)]
        {
            let line = one.repeat(count);
            let mut lines = Lines(String::new());
            lines.add(&line);
            assert_eq!(lines.0.replace("\r\n ", ""), format!("{line}\r\n"), "{count} × {one:?}");
            let printed: Vec<_> = lines.0.trim_end_matches("\r\n").split("\r\n").collect();
            assert!(printed.iter().all(|line| (1..=LINE).contains(&line.len())), "{count} × {one:?}");
            let least = line.len().saturating_sub(LINE).div_ceil(LINE - 1) + 1;
            assert!(printed.len() >= least && (one.len() > 1 || printed.len() == least), "{count} × {one:?}");
        }
    }
}
