-- The spine: tenants, people, sessions, tasks. The same tables on all three databases; `src/schema.rs` mirrors them.

-- Companies. `id` is the tenant everywhere else.
CREATE TABLE tenants (
    id uuid NOT NULL,
    slug varchar(50) NOT NULL,
    name varchar(120) NOT NULL,
    timezone varchar(64) NOT NULL,
    currency varchar(3) NOT NULL,
    open_registration boolean NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT tenants_slug_key UNIQUE (slug)
);

-- The people of a tenant. E-mail and username are unique on the whole server: see `logins`.
CREATE TABLE users (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    email varchar(255) NOT NULL,
    username varchar(50),
    name varchar(120) NOT NULL,
    role smallint NOT NULL,
    kind varchar(10) NOT NULL,
    password_hash varchar(100),
    is_active boolean NOT NULL,
    is_superuser boolean NOT NULL,
    email_verified boolean NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
CREATE INDEX users_created_at ON users (tenant_id, created_at, id);

-- The sign-in directory: a normalised e-mail address or a username, and whose it is. It has to be searched before a tenant
-- is known, so it is not under row-level security.
CREATE TABLE logins (
    name varchar(255) NOT NULL,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT logins_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX logins_user ON logins (tenant_id, user_id);

-- One row for each device that is signed in. `token_hash` is the SHA-256 of the refresh token of `generation`.
CREATE TABLE sessions (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    generation bigint NOT NULL,
    token_hash bytea NOT NULL,
    device_name varchar(120),
    ip varchar(45),
    created_at timestamptz NOT NULL,
    rotated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason varchar(20),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT sessions_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id, created_at, id);

-- What has to be done, planned by ISO week. `priority` is a rank, 1 (low) to 4 (urgent).
CREATE TABLE tasks (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    title varchar(200) NOT NULL,
    description text,
    status varchar(20) NOT NULL,
    priority smallint NOT NULL,
    week_number integer,
    year integer,
    tags jsonb NOT NULL,
    due_date date,
    assigned_to uuid,
    created_by uuid NOT NULL,
    completed_at timestamptz,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT tasks_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT tasks_assigned_to_fkey FOREIGN KEY (tenant_id, assigned_to) REFERENCES users (tenant_id, id),
    CONSTRAINT tasks_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX tasks_created_at ON tasks (tenant_id, created_at, id);
CREATE INDEX tasks_updated_at ON tasks (tenant_id, updated_at, id);
CREATE INDEX tasks_title ON tasks (tenant_id, title, id);
CREATE INDEX tasks_status ON tasks (tenant_id, status, id);
CREATE INDEX tasks_priority ON tasks (tenant_id, priority, id);
CREATE INDEX tasks_due_date ON tasks (tenant_id, coalesce(due_date, '9999-12-31'), id);
CREATE INDEX tasks_week ON tasks (tenant_id, year, week_number);
CREATE INDEX tasks_assigned_to ON tasks (tenant_id, assigned_to);

-- Requests that were carried out once: `fingerprint` is the SHA-256 of the request, `answer` its encrypted answer.
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    key varchar(255) NOT NULL,
    fingerprint bytea NOT NULL,
    answer bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, key),
    CONSTRAINT idempotency_keys_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (tenant_id, created_at);

-- Who changed what. `changes`: member to [before, after]. `actor_id` refers to no row: it outlives its user.
CREATE TABLE audit_logs (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor_id uuid NOT NULL,
    action varchar(20) NOT NULL,
    subject_kind varchar(20) NOT NULL,
    subject_id uuid NOT NULL,
    changes text NOT NULL,
    ip varchar(45),
    request_id varchar(128),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT audit_logs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
CREATE INDEX audit_logs_at ON audit_logs (tenant_id, at, id);

-- Row-level security, also for the owner of the tables: a lease sets `app.tenant_id` and sees that tenant's rows alone.
-- `app.system` is set by migrations, dumps and the operator's commands.
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY users_tenant ON users USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY sessions_tenant ON sessions USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY tasks_tenant ON tasks USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotency_keys_tenant ON idempotency_keys USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_logs FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_logs_tenant ON audit_logs USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
