-- What people say about tasks.
CREATE TABLE task_comments (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    task_id BINARY(16) NOT NULL,
    author_id BINARY(16) NOT NULL,
    body TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT task_comments_task_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT task_comments_author_fkey FOREIGN KEY (tenant_id, author_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX task_comments_task ON task_comments (tenant_id, task_id, created_at, id);
CREATE INDEX task_comments_author ON task_comments (tenant_id, author_id, id);

-- Whom a comment names: rows and no list, so that they can be found by user and lead to no other tenant. They are part of
-- their comment and go with it.
CREATE TABLE task_comment_mentions (
    tenant_id BINARY(16) NOT NULL,
    comment_id BINARY(16) NOT NULL,
    user_id BINARY(16) NOT NULL,
    PRIMARY KEY (tenant_id, comment_id, user_id),
    CONSTRAINT task_comment_mentions_comment_fkey FOREIGN KEY (tenant_id, comment_id)
        REFERENCES task_comments (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT task_comment_mentions_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX task_comment_mentions_user ON task_comment_mentions (tenant_id, user_id, comment_id);
