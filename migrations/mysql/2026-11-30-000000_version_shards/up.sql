-- The version of a tenant's rows of a kind: each change replaces the id of one shard, and caches find no old list under the new one.
-- In a single row, changes at the same time would wait for one another.
CREATE TABLE cache_versions (
    tenant_id BINARY(16) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    shard SMALLINT NOT NULL,
    id BINARY(16) NOT NULL,
    PRIMARY KEY (tenant_id, kind, shard),
    CONSTRAINT cache_versions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
-- New ids, because a server of an earlier version may be changing rows under the old ones.
INSERT INTO cache_versions SELECT tenant_id, kind, 0, UNHEX(REPLACE(UUID(), '-', '')) FROM cache_generations;
DROP TABLE cache_generations;
