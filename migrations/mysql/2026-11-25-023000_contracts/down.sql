DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys ADD COLUMN fingerprint VARBINARY(32) NOT NULL DEFAULT '';
DROP TABLE contract_history;
DROP TABLE contracts;
