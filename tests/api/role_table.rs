//! The rights of each role, written by hand, because code can't prove itself. Each row has the rule in the product's
//! table, the lowest role (for the caller's own records/for those of others, as in `operations.txt`) and the operations
//! that the rule is about. A new operation must be added to a row.
use std::collections::BTreeMap;

const TABLE: [(&str, &str, &str); 17] = [
    (
        "see whether the server is well, come in and go, prove an address, fetch a feed by its secret",
        "public",
        "server_welcome server_health server_live server_ready server_jwks server_status auth_register \
         auth_login auth_token auth_refresh auth_logout auth_password_forgot auth_password_reset \
         auth_email_verify calendar_feed_read",
    ),
    (
        "read items, tasks, meetings, comments",
        "Viewer",
        "item_list item_export item_get task_list task_export task_get task_comment_list task_comment_get \
         meeting_list meeting_export meeting_get attendee_list attendee_get action_item_list action_item_get \
         meeting_calendar",
    ),
    ("list users' names, read the tenant's settings", "Viewer", "user_list user_get tenant_get"),
    (
        "own profile, sessions, feed",
        "Viewer",
        "auth_logout_all auth_me auth_session_list auth_session_end auth_password user_me_get user_me_replace \
         user_me_change user_me_export calendar_feed_get calendar_feed_create calendar_feed_delete",
    ),
    ("answer an invitation, one's own or a guest's", "Viewer/Editor", "attendee_change"),
    ("comment", "Analyst", "task_comment_create"),
    ("change own comments", "Analyst/Nobody", "task_comment_change"),
    ("delete own comments, others'", "Analyst/Admin", "task_comment_delete"),
    (
        "create items, change and delete own items, others'",
        "Editor/Admin",
        "item_create item_replace item_change item_delete",
    ),
    (
        "create and change tasks and meetings",
        "Editor",
        "task_create task_replace task_change meeting_create meeting_replace meeting_change attendee_create \
         attendee_delete action_item_create action_item_change action_item_delete action_item_make_task",
    ),
    ("delete tasks and meetings one made, others'", "Editor/Admin", "task_delete meeting_delete"),
    (
        "read contracts and their history without amounts",
        "Editor",
        "contract_list contract_export contract_get contract_history_list",
    ),
    ("amounts; create and change contracts", "Admin", "contract_create contract_replace contract_change"),
    ("delete contracts", "Owner", "contract_delete"),
    ("tenant settings; delete tenant", "Owner", "tenant_change tenant_delete"),
    (
        "users, invitations, API keys, audit log",
        "Admin",
        "user_change user_delete invitation_list invitation_create invitation_get invitation_delete \
         api_key_list api_key_create api_key_get api_key_delete audit_list audit_export",
    ),
    ("the server's tenants", "Operator", "admin_tenant_list admin_tenant_create admin_tenant_get admin_tenant_change"),
];

#[test]
fn operations_txt_says_what_the_table_says() {
    let mut expected = BTreeMap::new();
    for (what, role, operations) in TABLE {
        for operation in operations.split_whitespace() {
            let other = expected.insert(operation, role);
            assert_eq!(other, None, "{operation} is in two rows: {what}");
        }
    }
    let line = |line: &'static str| {
        let words: Vec<_> = line.split(' ').collect();
        (words[0], words.get(4).copied().unwrap_or(words[3]))
    };
    let stated: BTreeMap<_, _> = include_str!("../../openapi/operations.txt").lines().map(line).collect();
    for (operation, role) in &stated {
        let by_hand = expected.get(operation).unwrap_or_else(|| panic!("{operation} is in no row"));
        assert_eq!(role, by_hand, "{operation}");
    }
    assert_eq!(stated.len(), expected.len(), "the table has operations that there are not");
}
