-- Business contracts. `amount_sealed` is encrypted for its row; every amount has the same length there.
CREATE TABLE contracts (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    title TEXT NOT NULL,
    counterparty TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    start_date TEXT NOT NULL,
    end_date TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount_sealed BLOB,
    tags TEXT NOT NULL,
    created_by BLOB NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT contracts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT contracts_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
) STRICT;
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
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    contract_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    changed_by BLOB,
    field TEXT NOT NULL,
    from_value TEXT,
    to_value TEXT,
    from_sealed BLOB,
    to_sealed BLOB,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT contract_history_contract_fkey FOREIGN KEY (tenant_id, contract_id) REFERENCES contracts (tenant_id, id),
    CONSTRAINT contract_history_changed_by_fkey FOREIGN KEY (tenant_id, changed_by) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX contract_history_contract ON contract_history (tenant_id, contract_id, version, id);
CREATE INDEX contract_history_changed_by ON contract_history (tenant_id, changed_by);

-- What a key stands for is kept with its answer, encrypted: with a plain hash of it, who reads the database could try amounts.
DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys DROP COLUMN fingerprint;
