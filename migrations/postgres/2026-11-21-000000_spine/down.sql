DROP TABLE audit_logs;
DROP TABLE idempotency_keys;
DROP TABLE tasks;
DROP TABLE sessions;
DROP TABLE logins;
DROP TABLE users;
DROP TABLE tenants;
