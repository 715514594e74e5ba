-- The terms under which a search finds records. A term stands here once for each audience that may find the record by it: the
-- readers of a kind of records, or one user (src/db/search_terms.rs). The change feed keeps the terms equal to the records. There
-- is no foreign key to the tenant, because it would be checked for each term of a new record.
CREATE TABLE search_terms (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    audience varchar(41) COLLATE "C" NOT NULL,
    term varchar(64) COLLATE "C" NOT NULL,
    kind varchar(20) COLLATE "C" NOT NULL,
    weight smallint NOT NULL,
    PRIMARY KEY (tenant_id, id, audience, term)
);
CREATE INDEX search_terms_term ON search_terms (tenant_id, audience, term, weight DESC, id DESC, kind);

ALTER TABLE search_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE search_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY search_terms_tenant ON search_terms USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)
    OR (SELECT current_setting('app.system', true) = 'on')
);
