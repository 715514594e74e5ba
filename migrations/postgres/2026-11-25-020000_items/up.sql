-- Items: the price list. And the generations of lists that are kept in caches.

-- `price` is in minor units of `currency`.
CREATE TABLE items (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    title varchar(200) NOT NULL,
    description text,
    price bigint NOT NULL,
    currency varchar(3) NOT NULL,
    owner_id uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT items_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT items_owner_id_fkey FOREIGN KEY (tenant_id, owner_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX items_created_at ON items (tenant_id, created_at, id);
CREATE INDEX items_updated_at ON items (tenant_id, updated_at, id);
CREATE INDEX items_title ON items (tenant_id, title, id);
CREATE INDEX items_price ON items (tenant_id, price, id);
CREATE INDEX items_owner_id ON items (tenant_id, owner_id);

-- Which state the tenant's lists of a kind are in: each change puts another id here, under which caches find no old list.
CREATE TABLE cache_generations (
    tenant_id uuid NOT NULL,
    kind varchar(20) NOT NULL,
    generation uuid NOT NULL,
    PRIMARY KEY (tenant_id, kind),
    CONSTRAINT cache_generations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

ALTER TABLE items ENABLE ROW LEVEL SECURITY;
ALTER TABLE items FORCE ROW LEVEL SECURITY;
CREATE POLICY items_tenant ON items USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
ALTER TABLE cache_generations ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache_generations FORCE ROW LEVEL SECURITY;
CREATE POLICY cache_generations_tenant ON cache_generations USING (
    tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.system', true) = 'on'
);
