//! The batches in which exports read rows. Their size in bytes is bounded, whatever the rows are like.
use serde_json::Value;
use uuid::Uuid;

/// How many rows an export reads at once. The number follows from the largest row so far, so that small rows need few
/// statements and large rows need little memory.
#[derive(Debug, Clone, Copy)]
pub struct BatchSize {
    rows: i32,
    largest: usize,
}

impl BatchSize {
    /// The greatest size of a batch in bytes. A single row may be larger.
    const MAX_BYTES: usize = 256 * 1024;
    const MAX_ROWS: usize = 500;
    /// The size of the first batch, when nothing is known about the rows.
    pub const FIRST: Self = Self { rows: 8, largest: 0 };

    pub fn rows(self) -> i64 {
        self.rows.into()
    }

    /// The same number, as the size of a list's page.
    pub fn per_page(self) -> i32 {
        self.rows
    }

    /// Returns the rows that fit, but at least one, whether other rows are left, and the size of the next batch. The
    /// size at most doubles, because the caller chooses the order, and rows may suddenly become larger.
    pub fn fit(self, mut rows: impl Iterator<Item = Value>) -> (Vec<Value>, bool, Self) {
        let (mut fitting, mut bytes, mut largest) = (vec![], 0, self.largest);
        let rest = rows.by_ref().find(|row| {
            let size = size_of_value(row);
            (bytes, largest) = (bytes + size, largest.max(size));
            let fits = fitting.is_empty() || bytes <= Self::MAX_BYTES;
            if fits {
                fitting.push(row.clone());
            }
            !fits
        });
        let most = usize::try_from(self.rows).unwrap_or_default() * 2;
        let rows = (Self::MAX_BYTES / largest.max(1)).clamp(1, Self::MAX_ROWS.min(most));
        (fitting, rest.is_some(), Self { rows: i32::try_from(rows).unwrap_or(1), largest })
    }
}

/// The rows of one kind that a personal export reads next, in the order of their ids.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The last id before this batch, or nil at the start.
    pub after: Uuid,
    pub size: BatchSize,
}

impl Batch {
    pub fn first() -> Self {
        Self { after: Uuid::nil(), size: BatchSize::FIRST }
    }
}

/// The approximate size of a value in bytes when it is rendered. The whole row counts, because it is read whichever
/// columns the export shows.
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

    fn rows(lengths: &[usize]) -> impl Iterator<Item = Value> {
        lengths.iter().map(|length| json!({"text": "x".repeat(*length)}))
    }

    /// Returns how many of these rows fit, whether some are left, and how many are read next.
    fn fit(size: BatchSize, lengths: &[usize]) -> (usize, bool, i64) {
        let (fitting, more, next) = size.fit(rows(lengths));
        (fitting.len(), more, next.rows())
    }

    #[test]
    fn the_next_batch_is_what_fits_by_the_largest_row_so_far() {
        let first = BatchSize::FIRST;
        assert_eq!(first.rows(), 8);
        assert_eq!(fit(first, &[]), (0, false, 16), "it at most doubles");
        assert_eq!(fit(BatchSize { rows: 400, ..first }, &[1]), (1, false, 500));
        let (_, _, small) = BatchSize { rows: 100, ..first }.fit(rows(&[1000, 10_000, 10]));
        assert_eq!(small.rows(), 26);
        assert_eq!(fit(small, &[10]), (1, false, 26), "the largest so far");
        assert_eq!(fit(small, &[1_000_000]), (1, false, 1), "a single larger one passes");
    }

    #[test]
    fn a_batch_ends_where_rows_become_larger() {
        let large = [100_000; 5];
        assert_eq!(fit(BatchSize::FIRST, &large), (2, true, 2));
        assert_eq!(fit(BatchSize::FIRST, &[1_000_000, 1]), (1, true, 1));
    }
}
