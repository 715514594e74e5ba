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
        is_suspended -> Bool,
        deleted_at -> Nullable<UtcInstant>,
        user_requests_per_hour -> Nullable<Integer>,
        api_key_requests_per_hour -> Nullable<Integer>,
        user_writes_per_minute -> Nullable<Integer>,
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
        session_epoch -> BigInt,
        requests_per_hour -> Nullable<Integer>,
        deleted_at -> Nullable<UtcInstant>,
        first_verified_at -> Nullable<UtcInstant>,
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
        epoch -> BigInt,
    }
}
tables! {
    ended_sessions (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        expires_at -> UtcInstant,
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
    contracts (tenant_id, id) {
        tenant_id -> Uid,
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
        created_by -> Uid,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    contract_history (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        contract_id -> Uid,
        version -> BigInt,
        changed_by -> Nullable<Uid>,
        field -> Text,
        from_value -> Nullable<Text>,
        to_value -> Nullable<Text>,
        from_sealed -> Nullable<Binary>,
        to_sealed -> Nullable<Binary>,
        created_at -> UtcInstant,
    }
}
tables! {
    idempotency_keys (tenant_id, user_id, key) {
        tenant_id -> Uid,
        user_id -> Uid,
        key -> Text,
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
        seq -> Nullable<BigInt>,
        hash -> Nullable<Binary>,
    }
}
tables! {
    invitations (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        email -> Text,
        role -> SmallInt,
        token_hash -> Binary,
        invited_by -> Nullable<Uid>,
        created_at -> UtcInstant,
        expires_at -> UtcInstant,
    }
}
tables! {
    api_keys (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        name -> Text,
        role -> SmallInt,
        key_hash -> Binary,
        user_id -> Uid,
        created_by -> Uid,
        created_at -> UtcInstant,
        expires_at -> Nullable<UtcInstant>,
        last_used_at -> Nullable<UtcInstant>,
    }
}
tables! {
    one_time_tokens (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        user_id -> Uid,
        purpose -> Text,
        email -> Text,
        token_hash -> Binary,
        created_at -> UtcInstant,
        expires_at -> UtcInstant,
    }
}
tables! {
    audit_heads (tenant_id) {
        tenant_id -> Uid,
        seq -> BigInt,
        hash -> Binary,
        checkpoint_seq -> BigInt,
        checkpoint_hash -> Binary,
        checkpoint_mac -> Binary,
    }
}
tables! {
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
}
tables! {
    data_key_heads (tenant_id) {
        tenant_id -> Uid,
        number -> Integer,
        uses -> BigInt,
    }
}
tables! {
    data_keys (tenant_id, number) {
        tenant_id -> Uid,
        number -> Integer,
        wrapped -> Binary,
        master_key_id -> Text,
        made_under -> Text,
        created_at -> UtcInstant,
    }
}
tables! {
    key_checks (master_key_id) {
        master_key_id -> Text,
        check_value -> Binary,
        created_at -> UtcInstant,
    }
}
tables! {
    items (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        title -> Text,
        description -> Nullable<Text>,
        price -> BigInt,
        currency -> Text,
        owner_id -> Uid,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    cache_generations (tenant_id, kind) {
        tenant_id -> Uid,
        kind -> Text,
        generation -> Uid,
    }
}
tables! {
    task_comments (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        task_id -> Uid,
        author_id -> Uid,
        body -> Text,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    task_comment_mentions (tenant_id, comment_id, user_id) {
        tenant_id -> Uid,
        comment_id -> Uid,
        user_id -> Uid,
    }
}
tables! {
    meetings (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        title -> Text,
        agenda -> Nullable<Text>,
        minutes -> Nullable<Text>,
        location -> Nullable<Text>,
        status -> Text,
        starts_at -> UtcInstant,
        ends_at -> UtcInstant,
        created_by -> Uid,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    meeting_attendees (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        meeting_id -> Uid,
        user_id -> Nullable<Uid>,
        email -> Nullable<Text>,
        rsvp -> Text,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    meeting_action_items (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        meeting_id -> Uid,
        description -> Text,
        assignee_id -> Nullable<Uid>,
        due_date -> Nullable<Date>,
        done -> Bool,
        task_id -> Nullable<Uid>,
        created_by -> Uid,
        version -> BigInt,
        created_at -> UtcInstant,
        updated_at -> UtcInstant,
    }
}
tables! {
    calendar_feeds (tenant_id, id) {
        tenant_id -> Uid,
        id -> Uid,
        user_id -> Uid,
        token_hash -> Binary,
        created_at -> UtcInstant,
    }
}
diesel::allow_tables_to_appear_in_same_query!(
    tenants,
    users,
    logins,
    sessions,
    ended_sessions,
    tasks,
    contracts,
    contract_history,
    idempotency_keys,
    audit_logs,
    invitations,
    api_keys,
    one_time_tokens,
    audit_heads,
    jobs,
    data_key_heads,
    data_keys,
    key_checks,
    task_comments,
    task_comment_mentions,
    meetings,
    meeting_attendees,
    meeting_action_items,
    calendar_feeds,
    items,
    cache_generations,
);
