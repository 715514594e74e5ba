-- The next rows to seal are found in their order, however many wait.
ALTER TABLE audit_logs
    DROP INDEX audit_logs_unsealed,
    ADD INDEX audit_logs_unsealed (seq, tenant_id, at, id);
