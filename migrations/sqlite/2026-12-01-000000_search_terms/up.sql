-- The terms under which a search finds records. A term stands here once for each audience that may find the record by it: the
-- readers of a kind of records, or one user (src/db/search_terms.rs). The change feed keeps the terms equal to the records. There
-- is no foreign key to the tenant, because it would be checked for each term of a new record.
CREATE TABLE search_terms (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    audience TEXT NOT NULL,
    term TEXT NOT NULL,
    kind TEXT NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id, audience, term)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_terms_term ON search_terms (tenant_id, audience, term, weight DESC, id DESC, kind);
