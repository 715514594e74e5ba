//! The batches that exports read: bounded by bytes, whatever the rows are like.
use serde_json::Value;
use uuid::Uuid;

/// How many rows an export reads at once: as many as fit, judged by the largest row so far, so that neither many small rows
/// cost many statements nor a few large ones much memory.
#[derive(Debug, Clone, Copy)]
pub struct BatchSize {
    rows: i32,
    largest: usize,
}

impl BatchSize {
    /// The bytes that a batch may have; a single larger row may pass.
    const MAX_BYTES: usize = 256 * 1024;
    const MAX_ROWS: usize = 500;
    /// While nothing is known of the rows.
    pub const FIRST: Self = Self { rows: 8, largest: 0 };

    pub fn rows(self) -> i64 {
        self.rows.into()
    }

    /// The same, as the page of a list.
    pub fn per_page(self) -> i32 {
        self.rows
    }

    /// The size of the next batch, after one of these rows.
    #[must_use]
    pub fn after(self, batch: &[Value]) -> Self {
        let largest = batch.iter().map(size_of_value).max().unwrap_or_default().max(self.largest);
        let rows = (Self::MAX_BYTES / largest.max(1)).clamp(1, Self::MAX_ROWS);
        Self { rows: i32::try_from(rows).unwrap_or(1), largest }
    }
}

/// The rows of one kind that a personal export reads next, in the order of their ids.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The last id before them; nil at the start.
    pub after: Uuid,
    pub size: BatchSize,
}

impl Batch {
    pub fn first() -> Self {
        Self { after: Uuid::nil(), size: BatchSize::FIRST }
    }
}

/// About how many bytes a value is printed in; whatever columns an export shows, the whole row is read.
fn size_of_value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size_of_value(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(name, member)| name.len() + 4 + size_of_value(member)).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_batch_is_what_fits_by_the_largest_row_so_far() {
        let row = |length: usize| json!({"text": "x".repeat(length)});
        let first = BatchSize::FIRST;
        assert_eq!(first.rows(), 8);
        assert_eq!(first.after(&[]).rows(), 500);
        assert_eq!(first.after(&[row(1)]).rows(), 500);
        let small = first.after(&[row(1000), row(10_000), row(10)]);
        assert_eq!(small.rows(), 26);
        assert_eq!(small.after(&[row(10)]).rows(), 26, "the largest so far");
        assert_eq!(small.after(&[row(1_000_000)]).rows(), 1);
    }
}
