CREATE TABLE cache_generations (
    tenant_id BINARY(16) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    generation BINARY(16) NOT NULL,
    PRIMARY KEY (tenant_id, kind),
    CONSTRAINT cache_generations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
-- New ids, because lists may be cached under the ids that there were before.
INSERT INTO cache_generations SELECT tenant_id, kind, UNHEX(REPLACE(UUID(), '-', '')) FROM cache_versions GROUP BY tenant_id, kind;
DROP TABLE cache_versions;
