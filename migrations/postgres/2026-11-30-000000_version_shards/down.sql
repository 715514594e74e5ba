CREATE TABLE cache_generations (
    tenant_id uuid NOT NULL,
    kind varchar(20) NOT NULL,
    generation uuid NOT NULL,
    PRIMARY KEY (tenant_id, kind),
    CONSTRAINT cache_generations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
-- New ids, because lists may be cached under the ids that there were before.
INSERT INTO cache_generations SELECT tenant_id, kind, gen_random_uuid() FROM cache_versions GROUP BY tenant_id, kind;
DROP TABLE cache_versions;
ALTER TABLE cache_generations ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache_generations FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_generations_tenant ON cache_generations USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)
    OR (SELECT current_setting('app.system', true) = 'on')
);
