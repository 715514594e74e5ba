//! Tests properties of cursors with a list of notes that is kept in memory.
use super::*;
use crate::db::types::{AnyId, Day, Instant};
use chrono::{DateTime, NaiveDate, TimeDelta};
use poem_openapi::{Enum, Object};
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Object)]
struct Note {
    id: AnyId,
    title: String,
    #[oai(nullable)]
    due_date: Option<Day>,
    created_at: Instant,
}

#[derive(Debug, Clone, Object)]
struct NoteFilter {}

#[derive(Debug, Default, Clone, Copy, PartialEq, Enum)]
#[oai(rename_all = "snake_case")]
enum NoteSort {
    Title,
    DueDate,
    #[default]
    CreatedAt,
}

impl Filter for NoteFilter {
    type Item = Note;
    type Column = NoteSort;
}

/// The value of the sort column, as the databases compare it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Key {
    Title(String),
    DueDate(Day),
    CreatedAt(Instant),
}

fn key(note: &Note, by: NoteSort) -> Key {
    match by {
        NoteSort::Title => Key::Title(note.title.clone()),
        NoteSort::DueDate => Key::DueDate(note.due_date.unwrap_or(NO_DAY)),
        NoteSort::CreatedAt => Key::CreatedAt(note.created_at),
    }
}

type Notes = List<NoteFilter>;

fn list(sort: Sort<NoteSort>, per_page: i32, cursor: Option<String>) -> Notes {
    List { filter: NoteFilter {}, q: None, sort, per_page, at: At::Cursor(cursor) }
}

/// The position that the cursor names, read as `paged!` reads it.
fn after(list: &Notes) -> Result<Option<(Key, AnyId)>> {
    Ok(match list.sort.by {
        NoteSort::Title => list.after()?.map(|(key, id)| (Key::Title(key), id)),
        NoteSort::DueDate => list.after()?.map(|(key, id)| (Key::DueDate(key), id)),
        NoteSort::CreatedAt => list.after()?.map(|(key, id)| (Key::CreatedAt(key), id)),
    })
}

/// Selects the rows that a database would find.
fn rows(notes: &[Note], list: &Notes) -> Result<Vec<Note>> {
    let place = |note: &Note| (key(note, list.sort.by), note.id);
    let mut found = notes.to_vec();
    found.sort_by(|a, b| place(a).partial_cmp(&place(b)).expect("keys of one column"));
    if list.sort.descending {
        found.reverse();
    }
    if let Some(last) = after(list)? {
        found.retain(|note| if list.sort.descending { place(note) < last } else { place(note) > last });
    }
    found.truncate(usize::try_from(list.limit()).expect("few"));
    Ok(found)
}

prop_compose! {
    /// Only a few different values, so that there are ties, and some that are hard to encode.
    fn note()(
        id in any::<u128>(),
        title in prop_oneof![
            prop::sample::select(vec!["", "a", "A", "\"", "\\", "\u{1}", "한", "\u{10ffff}", "null", "%"]).prop_map(str::to_owned),
            prop::collection::vec(any::<char>().prop_map(|c| if c == '\0' { '한' } else { c }), 0..200)
                .prop_map(String::from_iter),
        ],
        day in prop::option::of(prop_oneof![Just(1), Just(3_652_059), 1..3_652_059]),
        micros in prop_oneof![Just(0), Just(1), -62_135_596_800_000_000_i64..253_402_300_799_999_999],
    ) -> Note {
        Note {
            id: Uuid::from_u128(id).into(),
            title,
            due_date: day.and_then(NaiveDate::from_num_days_from_ce_opt).map(Day),
            created_at: (DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros)).into(),
        }
    }
}

/// All orders that a list can have.
fn sorts() -> Vec<Sort<NoteSort>> {
    let columns = [NoteSort::Title, NoteSort::DueDate, NoteSort::CreatedAt];
    columns.into_iter().flat_map(|by| [false, true].map(|descending| Sort { by, descending })).collect()
}

fn sort() -> impl Strategy<Value = Sort<NoteSort>> {
    prop::sample::select(sorts())
}

fn cursor_of(note: &Note, sort: Sort<NoteSort>) -> String {
    let page = list(sort, 1, None).page(vec![note.clone(), note.clone()], None);
    page.meta.next_cursor.expect("another one follows")
}

proptest! {
    #[test]
    fn a_cursor_names_the_place_of_its_note(note in note(), sort in sort()) {
        let found = after(&list(sort, 1, Some(cursor_of(&note, sort))));
        prop_assert_eq!(found.expect("ours"), Some((key(&note, sort.by), note.id)));
    }

    #[test]
    fn a_walk_sees_every_note_once_and_in_order(
        notes in prop::collection::vec(note(), 0..30), sort in sort(), per_page in 1..10,
    ) {
        let expected = rows(&notes, &list(sort, i32::MAX, None)).expect("no cursor");
        let (mut seen, mut cursor) = (vec![], None);
        loop {
            let list = list(sort, per_page, cursor);
            let page = list.page(rows(&notes, &list).expect("our own cursor"), None);
            seen.extend(page.items);
            prop_assert!(seen.len() <= notes.len());
            cursor = page.meta.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn a_cursor_is_refused_where_it_is_not_from(note in note(), from in 0..6_usize, on in 1..6_usize) {
        let (sort, other) = (sorts()[from], sorts()[(from + on) % 6]);
        prop_assert!(after(&list(other, 1, Some(cursor_of(&note, sort)))).is_err());
    }

    #[test]
    fn a_cut_cursor_is_refused(note in note(), sort in sort(), cut in any::<prop::sample::Index>()) {
        let cursor = cursor_of(&note, sort);
        let part = cursor[..cut.index(cursor.len())].to_owned();
        prop_assert!(after(&list(sort, 1, Some(part))).is_err());
    }

    /// Cursors are not signed. An altered cursor may name another position, but only one that a note could have.
    #[test]
    fn an_altered_cursor_is_refused_or_just_another_place(
        note in note(), sort in sort(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut json = BASE64.decode(cursor_of(&note, sort)).expect("ours");
        let at = at.index(json.len());
        json[at] = byte;
        match after(&list(sort, 1, Some(BASE64.encode(json)))) {
            Ok(Some((Key::Title(title), _))) => prop_assert!(!title.contains('\0')),
            Ok(Some((Key::DueDate(day), _))) => prop_assert!(is_four_digits(&day.0.to_string())),
            Ok(Some((Key::CreatedAt(time), _))) => prop_assert!(is_four_digits(&time.0.to_rfc3339())),
            Ok(None) => prop_assert!(false, "there was a cursor"),
            Err(_) => {}
        }
    }

    #[test]
    fn nonsense_is_refused(text in any::<String>(), bytes in any::<Vec<u8>>(), sort in sort()) {
        for cursor in [text.clone(), BASE64.encode(text), BASE64.encode(bytes)] {
            prop_assert!(after(&list(sort, 1, Some(cursor))).is_err());
        }
    }
}

/// No database has years of more than 4 digits or before year 1.
fn is_four_digits(date: &str) -> bool {
    date.as_bytes().iter().position(|byte| *byte == b'-') == Some(4)
}
