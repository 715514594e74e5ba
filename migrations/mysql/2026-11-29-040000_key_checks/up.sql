-- By what each master key of the settings is known again: a value that follows from the key and does not reveal it. Key ids
-- belong to the server, and no tenant sees them.
CREATE TABLE key_checks (
    master_key_id VARCHAR(40) NOT NULL,
    check_value VARBINARY(32) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (master_key_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
