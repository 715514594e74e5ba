-- Meetings, who attends them, what follows from them, and the feeds of calendar programs.

-- What people come together for.
CREATE TABLE meetings (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    title varchar(200) NOT NULL,
    agenda text,
    minutes text,
    location varchar(200),
    status varchar(20) NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meetings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT meetings_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX meetings_created_at ON meetings (tenant_id, created_at, id);
CREATE INDEX meetings_updated_at ON meetings (tenant_id, updated_at, id);
CREATE INDEX meetings_title ON meetings (tenant_id, title, id);
CREATE INDEX meetings_status ON meetings (tenant_id, status, id);
CREATE INDEX meetings_starts_at ON meetings (tenant_id, starts_at, id);
CREATE INDEX meetings_created_by ON meetings (tenant_id, created_by, starts_at);

-- Who is asked to come: a user, or somebody outside by their normalised address.
CREATE TABLE meeting_attendees (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    meeting_id uuid NOT NULL,
    user_id uuid,
    email varchar(255),
    rsvp varchar(10) NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meeting_attendees_user_key UNIQUE (tenant_id, meeting_id, user_id),
    CONSTRAINT meeting_attendees_email_key UNIQUE (tenant_id, meeting_id, email),
    CONSTRAINT meeting_attendees_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT meeting_attendees_meeting_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT meeting_attendees_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX meeting_attendees_created_at ON meeting_attendees (tenant_id, meeting_id, created_at, id);
CREATE INDEX meeting_attendees_user ON meeting_attendees (tenant_id, user_id, meeting_id);

-- What somebody has to do after a meeting; `task_id` once a task was made of it.
CREATE TABLE meeting_action_items (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    meeting_id uuid NOT NULL,
    description text NOT NULL,
    assignee_id uuid,
    due_date date,
    done boolean NOT NULL,
    task_id uuid,
    created_by uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT meeting_action_items_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT meeting_action_items_meeting_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT meeting_action_items_assignee_id_fkey FOREIGN KEY (tenant_id, assignee_id) REFERENCES users (tenant_id, id),
    CONSTRAINT meeting_action_items_task_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT meeting_action_items_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX meeting_action_items_created_at ON meeting_action_items (tenant_id, meeting_id, created_at, id);
CREATE INDEX meeting_action_items_assignee ON meeting_action_items (tenant_id, assignee_id);
CREATE INDEX meeting_action_items_created_by ON meeting_action_items (tenant_id, created_by);
CREATE INDEX meeting_action_items_task ON meeting_action_items (tenant_id, task_id);

-- The feed that a person's calendar program reads. `token_hash` is the SHA-256 of the secret in its address.
CREATE TABLE calendar_feeds (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT calendar_feeds_user_key UNIQUE (tenant_id, user_id),
    CONSTRAINT calendar_feeds_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);

ALTER TABLE meetings ENABLE ROW LEVEL SECURITY;
ALTER TABLE meetings FORCE ROW LEVEL SECURITY;
CREATE POLICY meetings_tenant ON meetings USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE meeting_attendees ENABLE ROW LEVEL SECURITY;
ALTER TABLE meeting_attendees FORCE ROW LEVEL SECURITY;
CREATE POLICY meeting_attendees_tenant ON meeting_attendees USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE meeting_action_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE meeting_action_items FORCE ROW LEVEL SECURITY;
CREATE POLICY meeting_action_items_tenant ON meeting_action_items USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE calendar_feeds ENABLE ROW LEVEL SECURITY;
ALTER TABLE calendar_feeds FORCE ROW LEVEL SECURITY;
CREATE POLICY calendar_feeds_tenant ON calendar_feeds USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
