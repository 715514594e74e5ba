//! The tables, once for all three databases. Kept by hand; a test compares it with the catalogue of each migrated database.

macro_rules! tables {
    ($($body:tt)*) => {
        diesel::table! { use diesel::sql_types::*; use crate::db::types::{JsonList, Uid, UtcInstant}; $($body)* }
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
    }
}
tables! {
    users (tenant_id, id) {
        tenant_id -> Uid,
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
    }
}
tables! {
    logins (name) {
        name -> Text,
        tenant_id -> Uid,
        user_id -> Uid,
    }
}
tables! {
    sessions (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        user_id -> Uid,
        generation -> BigInt,
        token_hash -> Binary,
        device_name -> Nullable<Text>,
        ip -> Nullable<Text>,
        created_at -> UtcInstant,
        rotated_at -> UtcInstant,
        expires_at -> UtcInstant,
        ended_at -> Nullable<UtcInstant>,
        end_reason -> Nullable<Text>,
    }
}
tables! {
    tasks (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        title -> Text,
        description -> Nullable<Text>,
        status -> Text,
        priority -> SmallInt,
        week_number -> Nullable<Integer>,
        year -> Nullable<Integer>,
        tags -> JsonList,
        due_date -> Nullable<Date>,
        assigned_to -> Nullable<Uid>,
        created_by -> Uid,
        completed_at -> Nullable<UtcInstant>,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    idempotency_keys (tenant_id, user_id, key) {
        tenant_id -> Uid,
        user_id -> Uid,
        key -> Text,
        fingerprint -> Binary,
        answer -> Nullable<Binary>,
        created_at -> UtcInstant,
    }
}
tables! {
    audit_logs (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        at -> UtcInstant,
        actor_id -> Uid,
        action -> Text,
        subject_kind -> Text,
        subject_id -> Uid,
        changes -> Text,
        ip -> Nullable<Text>,
        request_id -> Nullable<Text>,
    }
}
diesel::allow_tables_to_appear_in_same_query!(tenants, users, logins, sessions, tasks, idempotency_keys, audit_logs);
