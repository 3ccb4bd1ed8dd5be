//! Who draws on the budget, and how much belongs to each.

/// A user of the memory budget. The order is the rank: see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share {
    /// Newest data of all partitions, kept for readers at the end of the log. A cache: it gives way to everybody.
    Tail,
    /// Requests being read or processed.
    Requests,
    /// Rows that scans found, until they were sent. Apart from what produce needs, so that readers who take their time stop nobody.
    Scans,
    /// Data read from disk, and other large answers, on their way to clients.
    Responses,
    /// Decompressed or rewritten records of requests in progress.
    Decode,
    /// Batches accepted but not yet durable.
    Writes,
    /// The same of internal topics (group offsets, transaction state).
    Internal,
    /// Merge and compaction.
    Merge,
}

/// How much a share may use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Nobody else can take these.
    pub reserved: usize,
    /// Most it can use; what is above `reserved` comes from the pool.
    pub max: usize,
}

/// A fraction of the limit as (numerator, denominator), and never less than so many bytes.
struct Part(usize, usize, usize);

impl Part {
    fn of(&self, limit: usize) -> usize {
        (limit / self.1 * self.0).max(self.2)
    }
}

const KIB: usize = 1 << 10;

impl Share {
    /// Every share, in the order of their rank.
    pub const ALL: [Share; 8] = [
        Share::Tail,
        Share::Requests,
        Share::Scans,
        Share::Responses,
        Share::Decode,
        Share::Writes,
        Share::Internal,
        Share::Merge,
    ];

    pub(super) const COUNT: usize = Share::ALL.len();

    /// Name in metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Share::Tail => "tail",
            Share::Requests => "requests",
            Share::Scans => "scans",
            Share::Responses => "responses",
            Share::Decode => "decode",
            Share::Writes => "writes",
            Share::Internal => "internal",
            Share::Merge => "merge",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its part of a budget of `limit` bytes.
    #[must_use]
    pub fn limits(self, limit: usize) -> ShareLimits {
        let (reserved, max) = match self {
            Share::Tail => (Part(0, 1, 0), Part(1, 4, 0)),
            Share::Requests => (Part(1, 8, 0), Part(1, 4, 0)),
            Share::Scans => (Part(1, 16, 0), Part(1, 4, 0)),
            Share::Responses => (Part(1, 8, 0), Part(1, 4, 0)),
            Share::Decode => (Part(1, 8, 0), Part(1, 8, 0)),
            // Not from the pool: a backlog of the log is bounded, and slow readers cannot stop producers.
            Share::Writes => (Part(1, 8, 0), Part(1, 8, 0)),
            Share::Internal => (Part(1, 64, 512 * KIB), Part(1, 64, 512 * KIB)),
            Share::Merge => (Part(1, 8, 2048 * KIB), Part(1, 8, 2048 * KIB)),
        };
        ShareLimits { reserved: reserved.of(limit), max: max.of(limit) }
    }
}
