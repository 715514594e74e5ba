-- Files: what people attach to tasks, meetings and contracts, or keep by itself. Their content is an object in the storage, under
-- the ids of tenant and file.
CREATE TABLE files (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name varchar(200) NOT NULL,
    size bigint NOT NULL,
    content_type varchar(120) NOT NULL,
    sha256 varchar(64) NOT NULL,
    task_id uuid,
    meeting_id uuid,
    contract_id uuid,
    uploaded_by uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT files_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT files_task_id_fkey FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id),
    CONSTRAINT files_meeting_id_fkey FOREIGN KEY (tenant_id, meeting_id) REFERENCES meetings (tenant_id, id),
    CONSTRAINT files_contract_id_fkey FOREIGN KEY (tenant_id, contract_id) REFERENCES contracts (tenant_id, id),
    CONSTRAINT files_uploaded_by_fkey FOREIGN KEY (tenant_id, uploaded_by) REFERENCES users (tenant_id, id)
);
CREATE INDEX files_created_at ON files (tenant_id, created_at, id);
CREATE INDEX files_task_id ON files (tenant_id, task_id);
CREATE INDEX files_meeting_id ON files (tenant_id, meeting_id);
CREATE INDEX files_contract_id ON files (tenant_id, contract_id);
CREATE INDEX files_uploaded_by ON files (tenant_id, uploaded_by);

-- Objects in the storage that belong to no file: uploads that are under way, and what is left to be removed.
CREATE TABLE loose_objects (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid,
    reserved_bytes bigint NOT NULL,
    multipart_id varchar(2000),
    request text,
    is_abandoned boolean NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT loose_objects_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT loose_objects_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX loose_objects_expires_at ON loose_objects (tenant_id, expires_at);
CREATE INDEX loose_objects_user_id ON loose_objects (tenant_id, user_id);

-- How many bytes a tenant has stored, together with those that are reserved for its uploads.
CREATE TABLE stored_bytes (
    tenant_id uuid NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tenant_id),
    CONSTRAINT stored_bytes_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
INSERT INTO stored_bytes SELECT id, 0 FROM tenants;

ALTER TABLE files ENABLE ROW LEVEL SECURITY;
ALTER TABLE files FORCE ROW LEVEL SECURITY;
CREATE POLICY files_tenant ON files USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)
    OR (SELECT current_setting('app.system', true) = 'on')
);

ALTER TABLE loose_objects ENABLE ROW LEVEL SECURITY;
ALTER TABLE loose_objects FORCE ROW LEVEL SECURITY;
CREATE POLICY loose_objects_tenant ON loose_objects USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)
    OR (SELECT current_setting('app.system', true) = 'on')
);

ALTER TABLE stored_bytes ENABLE ROW LEVEL SECURITY;
ALTER TABLE stored_bytes FORCE ROW LEVEL SECURITY;
CREATE POLICY stored_bytes_tenant ON stored_bytes USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)
    OR (SELECT current_setting('app.system', true) = 'on')
);
