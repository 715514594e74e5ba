//! What the caller of a read says about it.
use crate::db::pg::Plans;

/// How expensive a read is. The caller states it, and the queue, the deadline and the plans of the lease follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// The read finds its rows by a key or along an index.
    Ordinary,
    /// The read loads a page of a whole list. Each order of the list needs an index, and the other statements of the
    /// lease must do without a sort. The read may look at many rows to count them. Its statements have the same deadline
    /// as those of [`Self::Long`].
    WholeList,
    /// As [`Self::WholeList`], but with a filter, which may have no index.
    List,
    /// A search, an export or a feed. It looks at all rows of a tenant, including their texts. A quarter of the
    /// connections is reserved for such reads, and one tenant gets at most half of that quarter.
    Long,
    /// As [`Self::Long`], for a batch of the export of a whole list. What [`Self::WholeList`] says about orders holds for
    /// it, too.
    WholeExport,
}

impl Cost {
    /// How PostgreSQL plans the statements.
    pub(super) fn plans(self) -> Plans {
        match self {
            Self::Ordinary => Plans::Kept,
            Self::WholeList | Self::WholeExport => Plans::KeptInOrder,
            Self::List | Self::Long => Plans::Anew,
        }
    }
}
