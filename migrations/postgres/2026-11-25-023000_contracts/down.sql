DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys ADD COLUMN fingerprint bytea NOT NULL DEFAULT '';
DROP TABLE contract_history;
DROP TABLE contracts;
