-- Meetings, who attends them, what follows from them, and the feeds of calendar programs.

-- What people come together for.
CREATE TABLE meetings (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    title TEXT NOT NULL,
    agenda TEXT,
    minutes TEXT,
    location TEXT,
    status TEXT NOT NULL,
    starts_at TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    created_by BLOB NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meetings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT meetings_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX meetings_created_at ON meetings (tenant_id, created_at, id);
CREATE INDEX meetings_updated_at ON meetings (tenant_id, updated_at, id);
CREATE INDEX meetings_title ON meetings (tenant_id, title, id);
CREATE INDEX meetings_status ON meetings (tenant_id, status, id);
CREATE INDEX meetings_starts_at ON meetings (tenant_id, starts_at, id);
CREATE INDEX meetings_created_by ON meetings (tenant_id, created_by, starts_at);

-- Who is asked to come: a user, or somebody outside by their normalised address.
CREATE TABLE meeting_attendees (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    meeting_id BLOB NOT NULL,
    user_id BLOB,
    email TEXT,
    rsvp TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meeting_attendees_user_key UNIQUE (tenant_id, meeting_id, user_id),
    CONSTRAINT meeting_attendees_email_key UNIQUE (tenant_id, meeting_id, email),
    CONSTRAINT meeting_attendees_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT meeting_attendees_meeting_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT meeting_attendees_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX meeting_attendees_created_at ON meeting_attendees (tenant_id, meeting_id, created_at, id);
CREATE INDEX meeting_attendees_user ON meeting_attendees (tenant_id, user_id, meeting_id);

-- What somebody has to do after a meeting; `task_id` once a task was made of it.
CREATE TABLE meeting_action_items (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    meeting_id BLOB NOT NULL,
    description TEXT NOT NULL,
    assignee_id BLOB,
    due_date TEXT,
    done INTEGER NOT NULL,
    task_id BLOB,
    created_by BLOB NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meeting_action_items_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT meeting_action_items_meeting_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT meeting_action_items_assignee_id_fkey FOREIGN KEY (tenant_id, assignee_id) REFERENCES users (tenant_id, id),
    CONSTRAINT meeting_action_items_task_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT meeting_action_items_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX meeting_action_items_created_at ON meeting_action_items (tenant_id, meeting_id, created_at, id);
CREATE INDEX meeting_action_items_assignee ON meeting_action_items (tenant_id, assignee_id);
CREATE INDEX meeting_action_items_created_by ON meeting_action_items (tenant_id, created_by);
CREATE INDEX meeting_action_items_task ON meeting_action_items (tenant_id, task_id);

-- The feed that a person's calendar program reads. `token_hash` is the SHA-256 of the secret in its address.
CREATE TABLE calendar_feeds (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    token_hash BLOB NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT calendar_feeds_user_key UNIQUE (tenant_id, user_id),
    CONSTRAINT calendar_feeds_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
