-- People and access: invitations, API keys, tokens by mail, the sealed audit log, jobs.

-- An operator suspends a tenant and sets its limits; null is the server's own limit. `deleted_at`: its rows are being removed.
ALTER TABLE tenants ADD COLUMN is_suspended boolean NOT NULL DEFAULT false;
ALTER TABLE tenants ADD COLUMN deleted_at timestamptz;
ALTER TABLE tenants ADD COLUMN user_requests_per_hour integer;
ALTER TABLE tenants ADD COLUMN api_key_requests_per_hour integer;
ALTER TABLE tenants ADD COLUMN user_writes_per_minute integer;

-- Sessions of an epoch before the user's are over. A user with `deleted_at` is anonymised, and there only for what refers to them.
ALTER TABLE users ADD COLUMN session_epoch bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN requests_per_hour integer;
ALTER TABLE users ADD COLUMN deleted_at timestamptz;

-- The user's `session_epoch` when it was opened.
ALTER TABLE sessions ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

-- The place in the tenant's chain, and the SHA-256 over the hash before it and this row; null until it is sealed.
ALTER TABLE audit_logs ADD COLUMN seq bigint;
ALTER TABLE audit_logs ADD COLUMN hash bytea;

CREATE INDEX users_name ON users (tenant_id, name, id);
CREATE INDEX users_updated_at ON users (tenant_id, updated_at, id);
CREATE INDEX audit_logs_subject ON audit_logs (tenant_id, subject_id);
CREATE INDEX audit_logs_actor ON audit_logs (tenant_id, actor_id, at);
CREATE UNIQUE INDEX audit_logs_seq ON audit_logs (tenant_id, seq);
CREATE INDEX audit_logs_unsealed ON audit_logs (seq, tenant_id);

-- Who was asked to join. `token_hash` is the SHA-256 of the token that was mailed; `invited_by` is null where an operator did it.
CREATE TABLE invitations (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    email varchar(255) NOT NULL,
    role smallint NOT NULL,
    token_hash bytea NOT NULL,
    invited_by uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT invitations_email_key UNIQUE (tenant_id, email),
    CONSTRAINT invitations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT invitations_invited_by_fkey FOREIGN KEY (tenant_id, invited_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX invitations_created_at ON invitations (tenant_id, created_at, id);
CREATE INDEX invitations_invited_by ON invitations (tenant_id, invited_by);

-- Keys of service accounts: `user_id` is the account, `created_by` answers for it. `key_hash` is the SHA-256 of the key's secret.
CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name varchar(120) NOT NULL,
    role smallint NOT NULL,
    key_hash bytea NOT NULL,
    user_id uuid NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT api_keys_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CONSTRAINT api_keys_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX api_keys_created_at ON api_keys (tenant_id, created_at, id);
CREATE INDEX api_keys_created_by ON api_keys (tenant_id, created_by);
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id);

-- Tokens that were mailed and are good for one use: to reset a password, to verify an address.
CREATE TABLE one_time_tokens (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    purpose varchar(20) NOT NULL,
    email varchar(255) NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT one_time_tokens_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX one_time_tokens_user ON one_time_tokens (tenant_id, user_id, purpose);

-- Where a tenant's chain of sealed audit rows ends, and the signed checkpoint behind which it was pruned.
CREATE TABLE audit_heads (
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    checkpoint_seq bigint NOT NULL,
    checkpoint_hash bytea NOT NULL,
    checkpoint_mac bytea NOT NULL,
    PRIMARY KEY (tenant_id),
    CONSTRAINT audit_heads_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

-- Work to be done after a change was committed. `payload` is encrypted; `unique_key` keeps one of a kind. A job outlives its tenant
-- (it may be about removing it), so that `tenant_id` refers to no row; every server takes jobs of every tenant.
CREATE TABLE jobs (
    id uuid NOT NULL,
    tenant_id uuid,
    kind varchar(30) NOT NULL,
    unique_key varchar(100),
    payload bytea NOT NULL,
    run_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    locked_until timestamptz,
    last_error text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT jobs_unique_key UNIQUE (unique_key)
);
CREATE INDEX jobs_run_at ON jobs (run_at);

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY invitations_tenant ON invitations USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY api_keys_tenant ON api_keys USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE one_time_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE one_time_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY one_time_tokens_tenant ON one_time_tokens USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_heads_tenant ON audit_heads USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
