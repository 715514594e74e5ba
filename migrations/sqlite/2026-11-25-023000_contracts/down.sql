DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys ADD COLUMN fingerprint BLOB NOT NULL DEFAULT x'';
DROP TABLE contract_history;
DROP TABLE contracts;
