-- The version of a tenant's rows of a kind: each change replaces the id of one shard, and caches find no old list under the new one.
-- In a single row, changes at the same time would wait for one another.
CREATE TABLE cache_versions (
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, kind, shard),
    CONSTRAINT cache_versions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
-- New ids, because a server of an earlier version may be changing rows under the old ones.
INSERT INTO cache_versions SELECT tenant_id, kind, 0, randomblob(16) FROM cache_generations;
DROP TABLE cache_generations;
