-- What people say about tasks.
CREATE TABLE task_comments (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    task_id uuid NOT NULL,
    author_id uuid NOT NULL,
    body text NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT task_comments_task_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT task_comments_author_fkey FOREIGN KEY (tenant_id, author_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX task_comments_task ON task_comments (tenant_id, task_id, created_at, id);
CREATE INDEX task_comments_author ON task_comments (tenant_id, author_id, id);

-- Whom a comment names: rows and no list, so that they can be found by user and lead to no other tenant. They are part of
-- their comment and go with it.
CREATE TABLE task_comment_mentions (
    tenant_id uuid NOT NULL,
    comment_id uuid NOT NULL,
    user_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, comment_id, user_id),
    CONSTRAINT task_comment_mentions_comment_fkey FOREIGN KEY (tenant_id, comment_id)
        REFERENCES task_comments (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT task_comment_mentions_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX task_comment_mentions_user ON task_comment_mentions (tenant_id, user_id, comment_id);

ALTER TABLE task_comments ENABLE ROW LEVEL SECURITY;
ALTER TABLE task_comments FORCE ROW LEVEL SECURITY;
CREATE POLICY task_comments_tenant ON task_comments USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE task_comment_mentions ENABLE ROW LEVEL SECURITY;
ALTER TABLE task_comment_mentions FORCE ROW LEVEL SECURITY;
CREATE POLICY task_comment_mentions_tenant ON task_comment_mentions USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
