-- The keys of tenants: each encrypts its tenant's amounts by keys of its own, wrapped by a master key of the settings.

-- Which of its keys a tenant encrypts with (0: it has none yet), and how often that was used. Who uses one locks this row.
CREATE TABLE data_key_heads (
    tenant_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (tenant_id),
    CONSTRAINT data_key_heads_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
INSERT INTO data_key_heads (tenant_id, number, uses) SELECT id, 0, 0 FROM tenants;

-- `wrapped` is the key, encrypted under `master_key_id`; `made_under` is the master key that was active when it was made.
CREATE TABLE data_keys (
    tenant_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    master_key_id TEXT NOT NULL,
    made_under TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, number),
    CONSTRAINT data_keys_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
