-- The keys of tenants: each encrypts its tenant's amounts by keys of its own, wrapped by a master key of the settings.

-- Which of its keys a tenant encrypts with (0: it has none yet), and how often that was used. Who uses one locks this row.
CREATE TABLE data_key_heads (
    tenant_id uuid NOT NULL,
    number integer NOT NULL,
    uses bigint NOT NULL,
    PRIMARY KEY (tenant_id),
    CONSTRAINT data_key_heads_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
INSERT INTO data_key_heads (tenant_id, number, uses) SELECT id, 0, 0 FROM tenants;

-- `wrapped` is the key, encrypted under `master_key_id`; `made_under` is the master key that was active when it was made.
CREATE TABLE data_keys (
    tenant_id uuid NOT NULL,
    number integer NOT NULL,
    wrapped bytea NOT NULL,
    master_key_id varchar(40) NOT NULL,
    made_under varchar(40) NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number),
    CONSTRAINT data_keys_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

ALTER TABLE data_key_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_key_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY data_key_heads_tenant ON data_key_heads USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY data_keys_tenant ON data_keys USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
