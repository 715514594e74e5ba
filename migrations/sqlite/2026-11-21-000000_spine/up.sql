-- The spine: tenants, people, sessions, tasks. The same tables on all three databases; `src/schema.rs` mirrors them.

-- Companies. `id` is the tenant everywhere else.
CREATE TABLE tenants (
    id BLOB NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    timezone TEXT NOT NULL,
    currency TEXT NOT NULL,
    open_registration INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT tenants_slug_key UNIQUE (slug)
) STRICT;

-- The people of a tenant. E-mail and username are unique on the whole server: see `logins`.
CREATE TABLE users (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    email TEXT NOT NULL,
    username TEXT,
    name TEXT NOT NULL,
    role INTEGER NOT NULL,
    kind TEXT NOT NULL,
    password_hash TEXT,
    is_active INTEGER NOT NULL,
    is_superuser INTEGER NOT NULL,
    email_verified INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
CREATE INDEX users_created_at ON users (tenant_id, created_at, id);

-- The sign-in directory: a normalised e-mail address or a username, and whose it is. It has to be searched before a tenant
-- is known, so it is not under row-level security.
CREATE TABLE logins (
    name TEXT NOT NULL,
    tenant_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT logins_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX logins_user ON logins (tenant_id, user_id);

-- One row for each device that is signed in. `token_hash` is the SHA-256 of the refresh token of `generation`.
CREATE TABLE sessions (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    generation INTEGER NOT NULL,
    token_hash BLOB NOT NULL,
    device_name TEXT,
    ip TEXT,
    created_at TEXT NOT NULL,
    rotated_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    ended_at TEXT,
    end_reason TEXT,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT sessions_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX sessions_user ON sessions (tenant_id, user_id, created_at, id);

-- What has to be done, planned by ISO week. `priority` is a rank, 1 (low) to 4 (urgent).
CREATE TABLE tasks (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    title TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    priority INTEGER NOT NULL,
    week_number INTEGER,
    year INTEGER,
    tags TEXT NOT NULL,
    due_date TEXT,
    assigned_to BLOB,
    created_by BLOB NOT NULL,
    completed_at TEXT,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT tasks_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT tasks_assigned_to_fkey FOREIGN KEY (tenant_id, assigned_to) REFERENCES users (tenant_id, id),
    CONSTRAINT tasks_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
) STRICT;
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
    tenant_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer BLOB,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, user_id, key),
    CONSTRAINT idempotency_keys_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (tenant_id, created_at);

-- Who changed what. `changes`: member to [before, after]. `actor_id` refers to no row: it outlives its user.
CREATE TABLE audit_logs (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    at TEXT NOT NULL,
    actor_id BLOB NOT NULL,
    action TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id BLOB NOT NULL,
    changes TEXT NOT NULL,
    ip TEXT,
    request_id TEXT,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT audit_logs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
CREATE INDEX audit_logs_at ON audit_logs (tenant_id, at, id);
