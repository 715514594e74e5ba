-- The spine: tenants, people, sessions, tasks. The same tables on all three databases; `src/schema.rs` mirrors them.

-- Companies. `id` is the tenant everywhere else.
CREATE TABLE tenants (
    id BINARY(16) NOT NULL,
    slug VARCHAR(50) NOT NULL,
    name VARCHAR(120) NOT NULL,
    timezone VARCHAR(64) NOT NULL,
    currency VARCHAR(3) NOT NULL,
    open_registration BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT tenants_slug_key UNIQUE (slug)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The people of a tenant. E-mail and username are unique on the whole server: see `logins`.
CREATE TABLE users (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    email VARCHAR(255) NOT NULL,
    username VARCHAR(50),
    name VARCHAR(120) NOT NULL,
    role SMALLINT NOT NULL,
    kind VARCHAR(10) NOT NULL,
    password_hash VARCHAR(100),
    is_active BOOLEAN NOT NULL,
    is_superuser BOOLEAN NOT NULL,
    email_verified BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX users_created_at ON users (tenant_id, created_at, id);

-- The sign-in directory: a normalised e-mail address or a username, and whose it is. It has to be searched before a tenant
-- is known, so it is not under row-level security.
CREATE TABLE logins (
    name VARCHAR(255) NOT NULL,
    tenant_id BINARY(16) NOT NULL,
    user_id BINARY(16) NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT logins_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX logins_user ON logins (tenant_id, user_id);

-- One row for each device that is signed in. `token_hash` is the SHA-256 of the refresh token of `generation`.
CREATE TABLE sessions (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    user_id BINARY(16) NOT NULL,
    generation BIGINT NOT NULL,
    token_hash VARBINARY(32) NOT NULL,
    device_name VARCHAR(120),
    ip VARCHAR(45),
    created_at DATETIME(6) NOT NULL,
    rotated_at DATETIME(6) NOT NULL,
    expires_at DATETIME(6) NOT NULL,
    ended_at DATETIME(6),
    end_reason VARCHAR(20),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT sessions_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX sessions_user ON sessions (tenant_id, user_id, created_at, id);

-- What has to be done, planned by ISO week. `priority` is a rank, 1 (low) to 4 (urgent).
CREATE TABLE tasks (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    title VARCHAR(200) NOT NULL,
    description TEXT,
    status VARCHAR(20) NOT NULL,
    priority SMALLINT NOT NULL,
    week_number INTEGER,
    year INTEGER,
    tags JSON NOT NULL,
    due_date DATE,
    assigned_to BINARY(16),
    created_by BINARY(16) NOT NULL,
    completed_at DATETIME(6),
    version BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT tasks_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT tasks_assigned_to_fkey FOREIGN KEY (tenant_id, assigned_to) REFERENCES users (tenant_id, id),
    CONSTRAINT tasks_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX tasks_created_at ON tasks (tenant_id, created_at, id);
CREATE INDEX tasks_updated_at ON tasks (tenant_id, updated_at, id);
CREATE INDEX tasks_title ON tasks (tenant_id, title, id);
CREATE INDEX tasks_status ON tasks (tenant_id, status, id);
CREATE INDEX tasks_priority ON tasks (tenant_id, priority, id);
CREATE INDEX tasks_week ON tasks (tenant_id, year, week_number);
CREATE INDEX tasks_assigned_to ON tasks (tenant_id, assigned_to);

-- Requests that were carried out once: `fingerprint` is the SHA-256 of the request, `answer` its encrypted answer.
CREATE TABLE idempotency_keys (
    tenant_id BINARY(16) NOT NULL,
    user_id BINARY(16) NOT NULL,
    `key` VARCHAR(255) NOT NULL,
    fingerprint VARBINARY(32) NOT NULL,
    answer MEDIUMBLOB,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, user_id, `key`),
    CONSTRAINT idempotency_keys_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (tenant_id, created_at);

-- Who changed what. `changes`: member to [before, after]. `actor_id` refers to no row: it outlives its user.
CREATE TABLE audit_logs (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    at DATETIME(6) NOT NULL,
    actor_id BINARY(16) NOT NULL,
    action VARCHAR(20) NOT NULL,
    subject_kind VARCHAR(20) NOT NULL,
    subject_id BINARY(16) NOT NULL,
    changes MEDIUMTEXT NOT NULL,
    ip VARCHAR(45),
    request_id VARCHAR(128),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT audit_logs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX audit_logs_at ON audit_logs (tenant_id, at, id);
