-- The next rows to seal are found in their order, however many wait. Each row is in only one of the two indexes. On MariaDB,
-- which has no partial indexes, it is in both.
DROP INDEX audit_logs_unsealed;
CREATE INDEX audit_logs_unsealed ON audit_logs (seq, tenant_id, at, id) WHERE seq IS NULL;
DROP INDEX audit_logs_seq;
CREATE UNIQUE INDEX audit_logs_seq ON audit_logs (tenant_id, seq) WHERE seq IS NOT NULL;
