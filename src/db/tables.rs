//! What `schema.rs` declares of each table, as data. The list of all tables is [`TABLES`](super::schema::TABLES).

/// A table as `schema.rs` declares it.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The columns of its primary key, in their order.
    pub key: &'static [&'static str],
    /// The name of the versions of its rows, if these have versions: see [`super::cache_versions`].
    pub versioned_as: Option<&'static str>,
    pub columns: &'static [Column],
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// Its type without `Nullable`: `Uid`, `Text` and so on.
    pub of_type: &'static str,
    pub is_nullable: bool,
    /// The table with the row that the column refers to by its id. That row has the same tenant.
    pub refers_to: Option<&'static str>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether each of its rows belongs to a tenant and is removed with that tenant. Rows that need no tenant, such as
    /// jobs, may outlive the tenant.
    pub fn goes_with_its_tenant(&self) -> bool {
        self.column("tenant_id").is_some_and(|tenant| !tenant.is_nullable)
    }

    /// The columns that refer to rows of the table `other`, which may be this table itself.
    pub fn references_to(&self, other: &str) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().filter(move |column| column.refers_to == Some(other))
    }

    /// The id column that follows `tenant_id` in the primary key. A tenant's rows can be gone through in batches by it.
    /// `None` if the table has no such column.
    pub fn id_column(&self) -> Option<&'static str> {
        let second = self.column(self.key.get(1)?)?;
        (self.key.first() == Some(&"tenant_id") && second.of_type == "Uid").then_some(second.name)
    }
}
