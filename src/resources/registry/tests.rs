use crate::api::Record;
use crate::api::record::{Concern, Kind, Parent, Weight, as_title};
use crate::db::SealedColumn;
use crate::db::schema;
use crate::db::schema::TABLES;
use crate::db::types::{Instant, UserId};
use crate::resources::items::ItemContent;
use crate::resources::tasks::comments::{self, CommentInput, Stored};
use crate::resources::{RECORDS, audit_logs, items};
use std::collections::BTreeSet;
use std::path::Path;
use uuid::Uuid;

#[test]
fn each_kind_and_each_table_is_declared_once() {
    let names: BTreeSet<_> = RECORDS.kinds().map(|kind| kind.name).collect();
    let tables: BTreeSet<_> = RECORDS.kinds().map(|kind| kind.table).collect();
    let count = RECORDS.kinds().count();
    assert_eq!((names.len(), tables.len()), (count, count));
    let is_word = |name: &str| name.chars().all(|c| c == '_' || c.is_ascii_lowercase());
    assert!(names.iter().all(|name| is_word(name) && name.len() <= 20), "the audit log takes 20 letters: {names:?}");
    let numbers: BTreeSet<_> = RECORDS.demos().iter().map(|demo| demo.number).collect();
    assert_eq!(numbers.len(), RECORDS.demos().len(), "two kinds would throw the same dice");
}

/// The foreign keys to `users` that no record names: table, column, and the reason why the column concerns nobody.
const CONCERNS_NOBODY: [(&str, &str, &str); 8] = [
    ("logins", "user_id", "the sign-in directory: names of the user's own, which are removed with the user"),
    ("sessions", "user_id", "the user's own, of which the answers don't say whose they are"),
    ("calendar_feeds", "user_id", "the user's own, of which the answers don't say whose they are"),
    ("idempotency_keys", "user_id", "answers that are kept for a day for the user to repeat a request"),
    ("one_time_tokens", "user_id", "what was mailed to the user"),
    ("loose_objects", "user_id", "an upload that is under way, or what is left of one"),
    ("contract_history", "changed_by", "says who changed a contract, which is another's"),
    ("api_keys", "user_id", "the key's own service account, which is no person"),
];

#[test]
fn each_reference_to_a_user_belongs_to_a_record_or_has_a_reason() {
    let people: BTreeSet<_> = RECORDS.people().map(|(table, column, _)| (table, column)).collect();
    let reasons: BTreeSet<_> = CONCERNS_NOBODY.iter().map(|(table, column, _)| (*table, *column)).collect();
    let mut references = BTreeSet::new();
    for table in TABLES {
        references.extend(table.references_to("users").map(|column| (table.name, column.name)));
    }
    let unexplained: Vec<_> = references.iter().filter(|it| !people.contains(*it) && !reasons.contains(*it)).collect();
    assert!(unexplained.is_empty(), "name them in `people` of a record, or say here why not: {unexplained:?}");
    let explained: Vec<_> = people.iter().chain(&reasons).filter(|it| !references.contains(*it)).collect();
    assert!(explained.is_empty(), "they refer to no user: {explained:?}");
    let twice: Vec<_> = people.intersection(&reasons).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn what_is_below_another_record_refers_to_it_and_has_its_address() {
    for kind in RECORDS.kinds() {
        let Some(Parent { kind: above, column }) = kind.parent else {
            assert!(!kind.href.contains("{parent}"), "{}", kind.name);
            continue;
        };
        let above =
            RECORDS.kind(above).unwrap_or_else(|| panic!("{} is below a {above}, which there is not", kind.name));
        let column = schema::table(kind.table).and_then(|table| table.column(column)).unwrap();
        assert_eq!(column.refers_to, Some(above.table), "{}", kind.name);
        let beginning = above.href.replace("{id}", "{parent}") + "/";
        assert!(kind.href.starts_with(&beginning) && kind.href.ends_with("/{id}"), "{}: {}", kind.name, kind.href);
    }
}

/// Every column whose name ends in `_sealed` is sealed. Values in a column that no record names would be lost with the
/// old keys.
#[test]
fn each_sealed_column_belongs_to_a_record() {
    let in_schema = TABLES.iter().flat_map(|table| table.columns.iter().map(move |column| (table.name, column.name)));
    let in_schema: BTreeSet<_> = in_schema.filter(|(_, column)| column.ends_with("_sealed")).collect();
    let declared = RECORDS.sealed();
    let places: BTreeSet<_> = declared.iter().map(|SealedColumn { table, column }| (*table, *column)).collect();
    assert_eq!((&places, declared.len()), (&in_schema, in_schema.len()));
    // A stored value can be decrypted only for its table and column, so these names must stay.
    let names: Vec<_> = declared.iter().map(|SealedColumn { table, column }| format!("{table}.{column}")).collect();
    assert_eq!(names, ["contracts.amount_sealed", "contract_history.from_sealed", "contract_history.to_sealed"]);
}

/// Without this, a sealed member would be in the audit log in plain text.
#[test]
fn a_record_with_sealed_columns_has_confidential_members() {
    let with =
        |is: fn(&Kind) -> bool| RECORDS.kinds().filter(|kind| is(kind)).map(|kind| kind.name).collect::<Vec<_>>();
    assert_eq!(with(|kind| !kind.sealed.is_empty()), with(|kind| !kind.confidential.is_empty()));
    assert_eq!(RECORDS.kind("contract").unwrap().confidential, ["amount"]);
}

#[test]
fn the_readers_of_the_audit_log_may_read_each_kind() {
    for kind in RECORDS.kinds() {
        let reader = <audit_logs::Read as crate::auth::Permission>::ROLE;
        assert!(kind.role <= reader, "an admin finds in the log what they can't read: {}", kind.name);
        assert!(kind.title_role <= kind.role, "{}", kind.name);
    }
}

/// The list has the names that clients know already. A new name need not be added. It may stand anywhere among them.
#[test]
fn an_export_names_its_parts_in_this_order() {
    let expected = [
        "user",
        "session",
        "api_key",
        "invitation",
        "item",
        "task",
        "contract",
        "comment",
        "meeting",
        "attendance",
        "action_item",
        "calendar_feed",
        "audit_entry",
    ];
    let mut names: Vec<_> = RECORDS.held().iter().map(|held| held.name).collect();
    names.dedup();
    names.retain(|name| expected.contains(name));
    assert_eq!(names, expected);
}

/// Every record that concerns people is in their export.
#[test]
fn a_kind_that_concerns_people_says_what_it_holds_about_them() {
    for kind in RECORDS.kinds().filter(|kind| !kind.people.is_empty()) {
        assert!(!kind.held.is_empty(), "{} concerns people: say in `held` how to find the rows about one", kind.name);
    }
}

/// The number of a kind determines its dice. With another number, the same seed would invent other records. The list
/// has the kinds that have a number already. A new kind need not be added.
#[test]
fn the_demo_records_of_a_kind_keep_their_number() {
    let demos: Vec<_> = RECORDS.demos().iter().map(|demo| (demo.number, demo.name)).collect();
    for pinned in [(1, "tasks"), (2, "items"), (3, "meetings"), (4, "contracts")] {
        assert!(demos.contains(&pinned), "{pinned:?} is not among {demos:?}");
    }
}

/// The trait can't be private, because `db` requires it and this module implements it.
#[test]
fn only_the_registry_registers() {
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => sources(&path, found),
                Some(extension) if extension == "rs" => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let count = text.matches(concat!("Registered", " for ")).count();
                    found.extend((0..count).map(|_| path.file_name().unwrap().to_string_lossy().into_owned()));
                }
                _ => {}
            }
        }
    }
    let mut found = vec![];
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert_eq!(found, ["registry.rs"]);
}

fn id<Id: From<Uuid>>(number: u128) -> Id {
    Uuid::from_u128(number).into()
}

fn now() -> Instant {
    Instant("2026-11-30T09:00:00Z".parse().unwrap())
}

#[test]
fn a_record_says_what_it_is_called_where_it_is_and_whom_it_concerns() {
    let content = ItemContent { title: "Consulting day".to_owned(), description: None, price: 0 };
    let (currency, owner_id, version) = ("USD".to_owned(), id(2), 1);
    let item = items::Item { id: id(1), content, currency, owner_id, version, created_at: now(), updated_at: now() };
    assert_eq!((item.title(), Record::id(&item)), ("Consulting day".to_owned(), id(1)));
    assert_eq!(item.href(), "/api/v1/items/00000000-0000-0000-0000-000000000001");
    assert_eq!((item.parent(), item.text()), (None, vec![(Weight::High, "Consulting day")]));
    assert_eq!(item.people(), [(Concern::Owner, id::<UserId>(2))]);
}

#[test]
fn a_record_below_another_one_says_which() {
    let input = CommentInput { body: "\n Ask @ada\nor @bob".to_owned() };
    let (created_at, updated_at) = (now(), now());
    let stored = Stored { id: id(1), task_id: id(2), author_id: id(3), input, version: 1, created_at, updated_at };
    let comment = comments::Comment { stored, mentions: vec![id(4), id(5)] };
    assert_eq!((comment.title(), comment.parent()), ("Ask @ada".to_owned(), Some(id(2))));
    assert_eq!(
        comment.href(),
        "/api/v1/tasks/00000000-0000-0000-0000-000000000002/comments/00000000-0000-0000-0000-000000000001"
    );
    assert_eq!(comment.text(), [(Weight::Medium, "\n Ask @ada\nor @bob")]);
    let people: [(_, UserId); 3] = [(Concern::Owner, id(3)), (Concern::Mentioned, id(4)), (Concern::Mentioned, id(5))];
    assert_eq!(comment.people(), people);
}

#[test]
fn a_title_is_one_line_and_not_too_long() {
    assert_eq!(as_title("\n a\r\nb"), "a");
    assert_eq!(as_title(""), "");
    assert_eq!(as_title(&"한".repeat(300)), "한".repeat(200));
}
