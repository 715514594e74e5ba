CREATE TABLE cache_generations (
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    generation BLOB NOT NULL,
    PRIMARY KEY (tenant_id, kind),
    CONSTRAINT cache_generations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
-- New ids, because lists may be cached under the ids that there were before.
INSERT INTO cache_generations SELECT tenant_id, kind, randomblob(16) FROM cache_versions GROUP BY tenant_id, kind;
DROP TABLE cache_versions;
