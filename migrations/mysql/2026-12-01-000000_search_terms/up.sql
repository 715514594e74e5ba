-- The terms under which a search finds records. A term stands here once for each audience that may find the record by it: the
-- readers of a kind of records, or one user (src/db/search_terms.rs). The change feed keeps the terms equal to the records. There
-- is no foreign key to the tenant, because it would be checked for each term of a new record.
CREATE TABLE search_terms (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    audience VARCHAR(41) NOT NULL,
    term VARCHAR(64) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    weight SMALLINT NOT NULL,
    PRIMARY KEY (tenant_id, id, audience, term)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
CREATE INDEX search_terms_term ON search_terms (tenant_id, audience, term, weight DESC, id DESC, kind);
