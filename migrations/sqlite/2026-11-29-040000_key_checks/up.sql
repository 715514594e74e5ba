-- By what each master key of the settings is known again: a value that follows from the key and does not reveal it. Key ids
-- belong to the server, and no tenant sees them.
CREATE TABLE key_checks (
    master_key_id TEXT NOT NULL,
    check_value BLOB NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (master_key_id)
) STRICT;
