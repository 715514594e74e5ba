//! What is known of each table beside its queries. The list itself is [`TABLES`](super::schema::TABLES).

/// A table as `schema.rs` declares it.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The columns of its primary key, in their order.
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// Its type without `Nullable`: `Uid`, `Text` and so on.
    pub of_type: &'static str,
    pub is_nullable: bool,
    /// The table whose id it is, with the same tenant.
    pub refers_to: Option<&'static str>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether its rows are those of tenants, and go with them. Rows that need no tenant, as jobs, may outlive it.
    pub fn goes_with_its_tenant(&self) -> bool {
        self.column("tenant_id").is_some_and(|tenant| !tenant.is_nullable)
    }

    /// Its columns that refer to rows of another table, or of itself.
    pub fn references_to(&self, other: &str) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().filter(move |column| column.refers_to == Some(other))
    }

    /// The column that tells a tenant's rows apart, by which they can be gone through in batches; none where they have no id.
    pub fn id_column(&self) -> Option<&'static str> {
        let second = self.column(self.key.get(1)?)?;
        (self.key.first() == Some(&"tenant_id") && second.of_type == "Uid").then_some(second.name)
    }
}
