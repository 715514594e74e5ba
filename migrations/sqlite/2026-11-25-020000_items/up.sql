-- Items: the price list. And the generations of lists that are kept in caches.

-- `price` is in minor units of `currency`.
CREATE TABLE items (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    title TEXT NOT NULL,
    description TEXT,
    price INTEGER NOT NULL,
    currency TEXT NOT NULL,
    owner_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT items_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT items_owner_id_fkey FOREIGN KEY (tenant_id, owner_id) REFERENCES users (tenant_id, id)
) STRICT;
CREATE INDEX items_created_at ON items (tenant_id, created_at, id);
CREATE INDEX items_updated_at ON items (tenant_id, updated_at, id);
CREATE INDEX items_title ON items (tenant_id, title, id);
CREATE INDEX items_price ON items (tenant_id, price, id);
CREATE INDEX items_owner_id ON items (tenant_id, owner_id);

-- Which state the tenant's lists of a kind are in: each change puts another id here, under which caches find no old list.
CREATE TABLE cache_generations (
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    generation BLOB NOT NULL,
    PRIMARY KEY (tenant_id, kind),
    CONSTRAINT cache_generations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) STRICT;
