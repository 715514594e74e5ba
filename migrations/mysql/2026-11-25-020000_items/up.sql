-- Items: the price list. And the generations of lists that are kept in caches.

-- `price` is in minor units of `currency`.
CREATE TABLE items (
    tenant_id BINARY(16) NOT NULL,
    id BINARY(16) NOT NULL,
    title VARCHAR(200) NOT NULL,
    description TEXT,
    price BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    owner_id BINARY(16) NOT NULL,
    version BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT items_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT items_owner_id_fkey FOREIGN KEY (tenant_id, owner_id) REFERENCES users (tenant_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX items_created_at ON items (tenant_id, created_at, id);
CREATE INDEX items_updated_at ON items (tenant_id, updated_at, id);
CREATE INDEX items_title ON items (tenant_id, title, id);
CREATE INDEX items_price ON items (tenant_id, price, id);
CREATE INDEX items_owner_id ON items (tenant_id, owner_id);

-- Which state the tenant's lists of a kind are in: each change puts another id here, under which caches find no old list.
CREATE TABLE cache_generations (
    tenant_id BINARY(16) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    generation BINARY(16) NOT NULL,
    PRIMARY KEY (tenant_id, kind),
    CONSTRAINT cache_generations_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
