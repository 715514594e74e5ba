-- Files: what people attach to tasks, meetings and contracts, or keep by itself. Their content is an object in the storage, under
-- the ids of tenant and file.
CREATE TABLE files (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    name VARCHAR(200) NOT NULL,
    size BIGINT NOT NULL,
    content_type VARCHAR(120) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    task_id BINARY(16),
    meeting_id BINARY(16),
    contract_id BINARY(16),
    uploaded_by BINARY(16) NOT NULL,
    version BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT files_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT files_task_id_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT files_meeting_id_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT files_contract_id_fkey FOREIGN KEY (tenant_id, contract_id) REFERENCES contracts (tenant_id, id),
    CONSTRAINT files_uploaded_by_fkey FOREIGN KEY (tenant_id, uploaded_by) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE INDEX files_created_at ON files (tenant_id, created_at, id);
CREATE INDEX files_task_id ON files (tenant_id, task_id);
CREATE INDEX files_meeting_id ON files (tenant_id, meeting_id);
CREATE INDEX files_contract_id ON files (tenant_id, contract_id);
CREATE INDEX files_uploaded_by ON files (tenant_id, uploaded_by);

-- Objects in the storage that belong to no file: uploads that are under way, and what is left to be removed.
CREATE TABLE loose_objects (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    user_id BINARY(16),
    reserved_bytes BIGINT NOT NULL,
    multipart_id VARCHAR(2000),
    request MEDIUMTEXT,
    is_abandoned BOOLEAN NOT NULL,
    expires_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT loose_objects_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT loose_objects_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE INDEX loose_objects_expires_at ON loose_objects (tenant_id, expires_at);
CREATE INDEX loose_objects_user_id ON loose_objects (tenant_id, user_id);

-- How many bytes a tenant has stored, together with those that are reserved for its uploads.
CREATE TABLE stored_bytes (
    tenant_id BINARY(16) NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id),
    CONSTRAINT stored_bytes_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
INSERT INTO stored_bytes SELECT id, 0 FROM tenants;
