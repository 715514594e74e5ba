DROP INDEX audit_logs_unsealed;
CREATE INDEX audit_logs_unsealed ON audit_logs (seq, tenant_id);
DROP INDEX audit_logs_seq;
CREATE UNIQUE INDEX audit_logs_seq ON audit_logs (tenant_id, seq);
