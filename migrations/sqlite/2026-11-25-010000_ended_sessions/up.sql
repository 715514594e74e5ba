-- Sessions in Redis that were ended before they expired, until they would have: a Redis that is restored from a snapshot, or
-- whose replica takes over, may know them still.
CREATE TABLE ended_sessions (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT ended_sessions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
