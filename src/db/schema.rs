//! The tables, declared once for all three databases. The joins, the order in which the rows of a deleted tenant are
//! removed, and what the tests expect of the databases follow from this list. It is kept by hand. Tests compare it with
//! the catalogue of each migrated database.
//!
//! `column -> Type => table` is a foreign key: `(tenant_id, column)` refers to `(tenant_id, id)` of that table.
//! `tenant_id => tenants` means that a table refers to its tenant directly. Diesel's `joinable!` does not support keys
//! of two columns, so joins name the columns with `on`.
//!
//! `versioned as "task"` after the key: each change to a tenant's rows of this table gives them a new version, under
//! which lists and their totals are cached ([`super::cache_versions`]).
use super::tables::{Column, Table};

macro_rules! tables {
    ($($table:ident ($($key:ident),+) $(versioned as $kind:literal)? {
        $($column:ident -> $type:ident $(<$inner:ident>)? $(=> $target:ident)?),+ $(,)?
    })+) => {
        $(diesel::table! {
            use diesel::sql_types::*;
            use crate::db::types::{JsonList, Uid, UtcInstant};
            $table ($($key),+) {
                $($column -> $type $(<$inner>)?,)+
            }
        })+
        diesel::allow_tables_to_appear_in_same_query!($($table),+);

        /// All tables, in the order in which they are written here.
        pub const TABLES: &[Table] = &[$(Table {
            name: stringify!($table),
            key: &[$(stringify!($key)),+],
            versioned_as: tables!(@versioned $($kind)?),
            columns: &[$(tables!(@column $column $type $(<$inner>)? $(=> $target)?)),+],
        }),+];

        /// The table of this name.
        pub fn table(name: &str) -> Option<&'static Table> {
            TABLES.iter().find(|table| table.name == name)
        }
    };
    (@column $column:ident Nullable<$type:ident> $(=> $target:ident)?) => {
        Column { name: stringify!($column), of_type: stringify!($type), is_nullable: true, refers_to: tables!(@target $($target)?) }
    };
    (@column $column:ident $type:ident $(=> $target:ident)?) => {
        Column { name: stringify!($column), of_type: stringify!($type), is_nullable: false, refers_to: tables!(@target $($target)?) }
    };
    (@versioned $kind:literal) => {
        Some($kind)
    };
    (@versioned) => {
        None
    };
    (@target $target:ident) => {
        Some(stringify!($target))
    };
    (@target) => {
        None
    };
}

tables! {
    tenants (id) {
        id -> Uid,
        slug -> Text,
        name -> Text,
        timezone -> Text,
        currency -> Text,
        open_registration -> Bool,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
        is_suspended -> Bool,
        deleted_at -> Nullable<UtcInstant>,
        user_requests_per_hour -> Nullable<Integer>,
        api_key_requests_per_hour -> Nullable<Integer>,
        user_writes_per_minute -> Nullable<Integer>,
    }
    users (tenant_id, id) {
        tenant_id -> Uid => tenants,
        id -> Uid,
        email -> Text,
        username -> Nullable<Text>,
        name -> Text,
        role -> SmallInt,
        kind -> Text,
        password_hash -> Nullable<Text>,
        is_active -> Bool,
        is_superuser -> Bool,
        email_verified -> Bool,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
        session_epoch -> BigInt,
        requests_per_hour -> Nullable<Integer>,
        deleted_at -> Nullable<UtcInstant>,
        first_verified_at -> Nullable<UtcInstant>,
    }
    logins (name) {
        name -> Text,
        tenant_id -> Uid,
        user_id -> Uid => users,
    }
    sessions (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        user_id -> Uid => users,
        generation -> BigInt,
        token_hash -> Binary,
        device_name -> Nullable<Text>,
        ip -> Nullable<Text>,
        created_at -> UtcInstant,
        rotated_at -> UtcInstant,
        expires_at -> UtcInstant,
        ended_at -> Nullable<UtcInstant>,
        end_reason -> Nullable<Text>,
        epoch -> BigInt,
    }
    ended_sessions (tenant_id, id) {
        tenant_id -> Uid => tenants,
        id -> Uid,
        expires_at -> UtcInstant,
    }
    tasks (tenant_id, id) versioned as "task" {
        tenant_id -> Uid => tenants,
        id -> Uid,
        title -> Text,
        description -> Nullable<Text>,
        status -> Text,
        priority -> SmallInt,
        week_number -> Nullable<Integer>,
        year -> Nullable<Integer>,
        tags -> JsonList,
        due_date -> Nullable<Date>,
        assigned_to -> Nullable<Uid> => users,
        created_by -> Uid => users,
        completed_at -> Nullable<UtcInstant>,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    contracts (tenant_id, id) versioned as "contract" {
        tenant_id -> Uid => tenants,
        id -> Uid,
        title -> Text,
        counterparty -> Text,
        description -> Nullable<Text>,
        status -> Text,
        start_date -> Date,
        end_date -> Date,
        currency -> Text,
        amount_sealed -> Nullable<Binary>,
        tags -> JsonList,
        created_by -> Uid => users,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    contract_history (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        contract_id -> Uid => contracts,
        version -> BigInt,
        changed_by -> Nullable<Uid> => users,
        field -> Text,
        from_value -> Nullable<Text>,
        to_value -> Nullable<Text>,
        from_sealed -> Nullable<Binary>,
        to_sealed -> Nullable<Binary>,
        created_at -> UtcInstant,
    }
    idempotency_keys (tenant_id, user_id, key) {
        tenant_id -> Uid,
        user_id -> Uid => users,
        key -> Text,
        answer -> Nullable<Binary>,
        created_at -> UtcInstant,
    }
    audit_logs (tenant_id, id) {
        tenant_id -> Uid => tenants,
        id -> Uid,
        at -> UtcInstant,
        actor_id -> Uid,
        action -> Text,
        subject_kind -> Text,
        subject_id -> Uid,
        changes -> Text,
        ip -> Nullable<Text>,
        request_id -> Nullable<Text>,
        seq -> Nullable<BigInt>,
        hash -> Nullable<Binary>,
    }
    invitations (tenant_id, id) {
        tenant_id -> Uid => tenants,
        id -> Uid,
        email -> Text,
        role -> SmallInt,
        token_hash -> Binary,
        invited_by -> Nullable<Uid> => users,
        created_at -> UtcInstant,
        expires_at -> UtcInstant,
    }
    api_keys (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        name -> Text,
        role -> SmallInt,
        key_hash -> Binary,
        user_id -> Uid => users,
        created_by -> Uid => users,
        created_at -> UtcInstant,
        expires_at -> Nullable<UtcInstant>,
        last_used_at -> Nullable<UtcInstant>,
    }
    one_time_tokens (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        user_id -> Uid => users,
        purpose -> Text,
        email -> Text,
        token_hash -> Binary,
        created_at -> UtcInstant,
        expires_at -> UtcInstant,
    }
    audit_heads (tenant_id) {
        tenant_id -> Uid => tenants,
        seq -> BigInt,
        hash -> Binary,
        checkpoint_seq -> BigInt,
        checkpoint_hash -> Binary,
        checkpoint_mac -> Binary,
    }
    jobs (id) {
        id -> Uid,
        tenant_id -> Nullable<Uid>,
        kind -> Text,
        unique_key -> Nullable<Text>,
        payload -> Binary,
        run_at -> UtcInstant,
        attempts -> Integer,
        locked_until -> Nullable<UtcInstant>,
        last_error -> Nullable<Text>,
        created_at -> UtcInstant,
    }
    data_key_heads (tenant_id) {
        tenant_id -> Uid => tenants,
        number -> Integer,
        uses -> BigInt,
    }
    data_keys (tenant_id, number) {
        tenant_id -> Uid => tenants,
        number -> Integer,
        wrapped -> Binary,
        master_key_id -> Text,
        made_under -> Text,
        created_at -> UtcInstant,
    }
    key_checks (master_key_id) {
        master_key_id -> Text,
        check_value -> Binary,
        created_at -> UtcInstant,
    }
    items (tenant_id, id) versioned as "item" {
        tenant_id -> Uid => tenants,
        id -> Uid,
        title -> Text,
        description -> Nullable<Text>,
        price -> BigInt,
        currency -> Text,
        owner_id -> Uid => users,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    cache_versions (tenant_id, kind, shard) {
        tenant_id -> Uid => tenants,
        kind -> Text,
        shard -> SmallInt,
        id -> Uid,
    }
    task_comments (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        task_id -> Uid => tasks,
        author_id -> Uid => users,
        body -> Text,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    task_comment_mentions (tenant_id, comment_id, user_id) {
        tenant_id -> Uid,
        comment_id -> Uid => task_comments,
        user_id -> Uid => users,
    }
    meetings (tenant_id, id) versioned as "meeting" {
        tenant_id -> Uid => tenants,
        id -> Uid,
        title -> Text,
        agenda -> Nullable<Text>,
        minutes -> Nullable<Text>,
        location -> Nullable<Text>,
        status -> Text,
        starts_at -> UtcInstant,
        ends_at -> UtcInstant,
        created_by -> Uid => users,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    meeting_attendees (tenant_id, id) versioned as "meeting_attendee" {
        tenant_id -> Uid => tenants,
        id -> Uid,
        meeting_id -> Uid => meetings,
        user_id -> Nullable<Uid> => users,
        email -> Nullable<Text>,
        rsvp -> Text,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    meeting_action_items (tenant_id, id) {
        tenant_id -> Uid => tenants,
        id -> Uid,
        meeting_id -> Uid => meetings,
        description -> Text,
        assignee_id -> Nullable<Uid> => users,
        due_date -> Nullable<Date>,
        done -> Bool,
        task_id -> Nullable<Uid> => tasks,
        created_by -> Uid => users,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
    calendar_feeds (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        user_id -> Uid => users,
        token_hash -> Binary,
        created_at -> UtcInstant,
    }
    files (tenant_id, id) versioned as "file" {
        tenant_id -> Uid => tenants,
        id -> Uid,
        name -> Text,
        size -> BigInt,
        content_type -> Text,
        sha256 -> Text,
        task_id -> Nullable<Uid> => tasks,
        meeting_id -> Nullable<Uid> => meetings,
        contract_id -> Nullable<Uid> => contracts,
        uploaded_by -> Uid => users,
        version -> BigInt,
        created_at -> UtcInstant,
    }
    loose_objects (tenant_id, id) {
        tenant_id -> Uid => tenants,
        id -> Uid,
        user_id -> Nullable<Uid> => users,
        reserved_bytes -> BigInt,
        multipart_id -> Nullable<Text>,
        request -> Nullable<Text>,
        is_abandoned -> Bool,
        expires_at -> UtcInstant,
    }
    stored_bytes (tenant_id) {
        tenant_id -> Uid => tenants,
        bytes -> BigInt,
    }
    search_terms (tenant_id, id, audience, term) {
        tenant_id -> Uid,
        id -> Uid,
        audience -> Text,
        term -> Text,
        kind -> Text,
        weight -> SmallInt,
    }
}
