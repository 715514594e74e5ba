-- Files: what people attach to tasks, meetings and contracts, or keep by itself. Their content is an object in the storage, under
-- the ids of tenant and file.
CREATE TABLE files (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    task_id BLOB,
    meeting_id BLOB,
    contract_id BLOB,
    uploaded_by BLOB NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT files_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT files_task_id_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT files_meeting_id_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT files_contract_id_fkey FOREIGN KEY (tenant_id, contract_id) REFERENCES contracts (tenant_id, id),
    CONSTRAINT files_uploaded_by_fkey FOREIGN KEY (tenant_id, uploaded_by) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX files_created_at ON files (tenant_id, created_at, id);
CREATE INDEX files_task_id ON files (tenant_id, task_id);
CREATE INDEX files_meeting_id ON files (tenant_id, meeting_id);
CREATE INDEX files_contract_id ON files (tenant_id, contract_id);
CREATE INDEX files_uploaded_by ON files (tenant_id, uploaded_by);

-- Objects in the storage that belong to no file: uploads that are under way, and what is left to be removed.
CREATE TABLE loose_objects (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    user_id BLOB,
    reserved_bytes INTEGER NOT NULL,
    multipart_id TEXT,
    request TEXT,
    is_abandoned INTEGER NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT loose_objects_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT loose_objects_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX loose_objects_expires_at ON loose_objects (tenant_id, expires_at);
CREATE INDEX loose_objects_user_id ON loose_objects (tenant_id, user_id);

-- How many bytes a tenant has stored, together with those that are reserved for its uploads.
CREATE TABLE stored_bytes (
    tenant_id BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant_id),
    CONSTRAINT stored_bytes_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
INSERT INTO stored_bytes SELECT id, 0 FROM tenants;
