//! The queues in which leases wait for a connection.
use super::{Access, Cost};
use crate::base::metrics::Metrics;
use crate::base::queue::{Claimant, FairQueue, Party, Turn};

/// How many connections the jobs have, in addition to those of the requests.
const JOB_CONNECTIONS: usize = 2;

/// The queues in which leases wait. Each lease waits in only one of them: if it waited in a second queue, it would
/// meanwhile keep its turn in the first from others. These queues are fair. The connection pool (bb8) is not: a busy
/// task can overtake the tasks that wait.
#[derive(Clone)]
pub(super) struct Queues {
    /// For three quarters of the requests' connections. If these are four or more, one party can't have all of them.
    /// Another party then gets a turn at once, however slow the statements of the first party are.
    connections: FairQueue,
    /// For the last quarter of the requests' connections, which is reserved for long reads: see [`Cost::Long`].
    long_reads: FairQueue,
    /// For the connections that are reserved for the server's own work: jobs and the operator's commands.
    jobs: FairQueue,
    /// For the one connection that writes to SQLite, for requests and jobs alike. SQLite has only one writer at a time,
    /// and waiting here is better than polling a locked file. `None` for the other databases.
    writer: Option<FairQueue>,
}

impl Queues {
    /// Returns the queues and the number of connections that they hand out together.
    pub fn new(pool_size: usize, has_one_writer: bool, metrics: &Metrics) -> (Self, usize) {
        let quarter = (pool_size / 4).max(1);
        let rest = pool_size.saturating_sub(quarter).max(1);
        let queue = |name, capacity, per_party| FairQueue::new(capacity, per_party, metrics.queue(name));
        let queues = Self {
            connections: queue("connections", rest, rest - rest / 4),
            long_reads: queue("long_reads", quarter, quarter / 2),
            jobs: queue("jobs", JOB_CONNECTIONS, JOB_CONNECTIONS),
            writer: has_one_writer.then(|| queue("writer", 1, 1)),
        };
        (queues, rest + quarter + JOB_CONNECTIONS + usize::from(has_one_writer))
    }

    /// Waits for a turn in the queue of such a lease.
    pub async fn turn(&self, access: Access, cost: Cost, claimant: Claimant) -> Turn {
        let Queues { connections, long_reads, jobs, writer } = self;
        let queue = match (access, writer, claimant.party, cost) {
            (Access::Write, Some(writer), ..) => writer,
            (_, _, Party::Server, _) => jobs,
            (_, _, _, Cost::Long | Cost::WholeExport) => long_reads,
            (_, _, _, Cost::Ordinary | Cost::WholeList | Cost::List) => connections,
        };
        queue.turn(claimant).await
    }
}
