ALTER TABLE audit_logs
    DROP INDEX audit_logs_unsealed,
    ADD INDEX audit_logs_unsealed (seq, tenant_id);
