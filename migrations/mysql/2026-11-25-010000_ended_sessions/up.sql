-- Sessions in Redis that were ended before they expired, until they would have: a Redis that is restored from a snapshot, or
-- whose replica takes over, may know them still.
CREATE TABLE ended_sessions (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    expires_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT ended_sessions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
