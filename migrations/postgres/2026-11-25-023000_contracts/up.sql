-- Business contracts. `amount_sealed` is encrypted for its row; every amount has the same length there.
CREATE TABLE contracts (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    title varchar(200) NOT NULL,
    counterparty varchar(200) NOT NULL,
    description text,
    status varchar(20) NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    currency varchar(3) NOT NULL,
    amount_sealed bytea,
    tags jsonb NOT NULL,
    created_by uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT contracts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT contracts_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX contracts_created_at ON contracts (tenant_id, created_at, id);
CREATE INDEX contracts_updated_at ON contracts (tenant_id, updated_at, id);
CREATE INDEX contracts_title ON contracts (tenant_id, title, id);
CREATE INDEX contracts_counterparty ON contracts (tenant_id, counterparty, id);
CREATE INDEX contracts_status ON contracts (tenant_id, status, id);
CREATE INDEX contracts_start_date ON contracts (tenant_id, start_date, id);
CREATE INDEX contracts_end_date ON contracts (tenant_id, end_date, id);
CREATE INDEX contracts_ending ON contracts (tenant_id, status, end_date);
CREATE INDEX contracts_created_by ON contracts (tenant_id, created_by, id);

-- What changed in a contract, one row a member. `version` is the one that it led to. An amount is in the sealed columns and in
-- no other. `changed_by` is null where the server did it by itself.
CREATE TABLE contract_history (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    contract_id uuid NOT NULL,
    version bigint NOT NULL,
    changed_by uuid,
    field varchar(20) NOT NULL,
    from_value text,
    to_value text,
    from_sealed bytea,
    to_sealed bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT contract_history_contract_fkey FOREIGN KEY (tenant_id, contract_id) REFERENCES contracts (tenant_id, id),
    CONSTRAINT contract_history_changed_by_fkey FOREIGN KEY (tenant_id, changed_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX contract_history_contract ON contract_history (tenant_id, contract_id, version, id);
CREATE INDEX contract_history_changed_by ON contract_history (tenant_id, changed_by);

ALTER TABLE contracts ENABLE ROW LEVEL SECURITY;
ALTER TABLE contracts FORCE ROW LEVEL SECURITY;
CREATE POLICY contracts_tenant ON contracts USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE contract_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE contract_history FORCE ROW LEVEL SECURITY;
CREATE POLICY contract_history_tenant ON contract_history USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);

-- What a key stands for is kept with its answer, encrypted: with a plain hash of it, who reads the database could try amounts.
DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys DROP COLUMN fingerprint;
