-- The version of a tenant's rows of a kind: each change replaces the id of one shard, and caches find no old list under the new one.
-- In a single row, changes at the same time would wait for one another.
CREATE TABLE cache_versions (
    tenant_id uuid NOT NULL,
    kind varchar(20) NOT NULL,
    shard smallint NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (tenant_id, kind, shard),
    CONSTRAINT cache_versions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
-- New ids, because a server of an earlier version may be changing rows under the old ones.
INSERT INTO cache_versions SELECT tenant_id, kind, 0, gen_random_uuid() FROM cache_generations;
DROP TABLE cache_generations;
ALTER TABLE cache_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_versions_tenant ON cache_versions USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)
    OR (SELECT current_setting('app.system', true) = 'on')
);
