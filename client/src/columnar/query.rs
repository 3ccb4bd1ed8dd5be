//! What to read of a topic, as a chain of wishes.

use std::sync::Arc;
use std::time::Duration;

use weir_protocol::columnar::{AcceptedCodecs, ScanOrder};

use super::{ColumnReader, ColumnStream, GroupColumnReader};
use crate::admin::Isolation;
use crate::cluster::Client;
use crate::consumer::{ColumnQuery, ConsumerConfig, ResetPolicy, StartAt};
use crate::group::GroupConfig;

/// Bytes of one partition in an answer, unless said otherwise. Larger than for records: an answer is one schema and dictionaries.
const PARTITION_BYTES: i32 = 4 << 20;
/// Bytes of an answer's columns after decompression, unless said otherwise.
const DECODED_BYTES_MAX: u64 = 256 << 20;

/// Where to stop reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadUntil {
    /// Never: waits for new rows.
    #[default]
    Forever,
    /// At the end as it is when the reading begins.
    End,
    /// Before this offset of each partition, or at the end as it is when the reading begins.
    Offset(i64),
    /// Before the first row at or after this time (milliseconds since 1970), or at the end as it is when the reading begins.
    Timestamp(i64),
}

/// Compressions of columns on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codecs {
    /// LZ4 frames.
    pub lz4: bool,
    /// ZSTD.
    pub zstd: bool,
}

impl Codecs {
    /// Whatever the broker has; nothing is compressed anew for this reader.
    pub const ALL: Self = Self { lz4: true, zstd: true };
    /// Plain bodies: more bytes on the wire, nothing to decompress.
    pub const NONE: Self = Self { lz4: false, zstd: false };
}

/// A reading of one topic that has not begun. See [`Client::topic`].
#[derive(Clone)]
#[must_use = "nothing is read before stream, reader or reader_in_group is called"]
pub struct TopicQuery {
    pub(crate) client: Client,
    pub(crate) topic: Arc<str>,
    pub(crate) query: ColumnQuery,
    pub(crate) config: ConsumerConfig,
    pub(crate) partitions: Option<Vec<i32>>,
    pub(crate) start: StartAt,
    pub(crate) until: ReadUntil,
    pub(crate) decoded_bytes_max: u64,
    pub(crate) on_this_side: bool,
}

impl Client {
    /// Reads columns of a topic: every user column of every row from the beginning on, until something else is asked for.
    ///
    /// ```no_run
    /// # async fn example(client: weir_client::Client) -> weir_client::Result<()> {
    /// let mut rows = client.topic("flights").columns(["carrier", "dep_delay"]).filter("dep_delay > 60").to_end().stream();
    /// while let Some(batch) = rows.next().await {
    ///     let batch = batch?;
    ///     println!("{} rows up to offset {:?}", batch.rows.num_rows(), batch.offsets.last());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn topic(&self, name: impl Into<Arc<str>>) -> TopicQuery {
        TopicQuery {
            client: self.clone(),
            topic: name.into(),
            query: ColumnQuery {
                columns: None,
                predicate: None,
                codecs: AcceptedCodecs { lz4: true, zstd: true },
                max_scan_bytes: None,
                order: ScanOrder::Offset,
            },
            config: ConsumerConfig { partition_bytes_max: PARTITION_BYTES, ..ConsumerConfig::default() },
            partitions: None,
            start: StartAt::Earliest,
            until: ReadUntil::Forever,
            decoded_bytes_max: DECODED_BYTES_MAX,
            on_this_side: false,
        }
    }
}

impl TopicQuery {
    /// Only these columns, in this order. Members of structs by their path (`user.address.city`); a name that contains a dot in
    /// double quotes. System columns (`_offset`, `_timestamp`, ...) count as columns; no column at all gives rows without values.
    pub fn columns<I: Into<String>>(mut self, columns: impl IntoIterator<Item = I>) -> Self {
        self.query.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Only rows for which this SQL expression is TRUE.
    pub fn filter(mut self, predicate: impl Into<String>) -> Self {
        self.query.predicate = Some(predicate.into());
        self
    }

    /// Only these partitions.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = i32>) -> Self {
        self.partitions = Some(partitions.into_iter().collect());
        self
    }

    /// Where to start in each partition. An offset that does not exist is an error.
    pub fn start(mut self, start: StartAt) -> Self {
        self.start = start;
        self.config.reset = match start {
            StartAt::Offset(_) => ResetPolicy::Fail,
            _ => ResetPolicy::Earliest,
        };
        self
    }

    /// Where to stop.
    pub fn until(mut self, until: ReadUntil) -> Self {
        self.until = until;
        self
    }

    /// Stops at the end as it is when the reading begins.
    pub fn to_end(self) -> Self {
        self.until(ReadUntil::End)
    }

    /// Which rows of transactions to see.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.config.isolation = isolation;
        self
    }

    /// Compressions to accept.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.query.codecs = AcceptedCodecs { lz4: codecs.lz4, zstd: codecs.zstd };
        self
    }

    /// Bytes of input after which the broker answers with what it has found, down to nothing. Smaller: progress is seen sooner.
    pub fn max_scan_bytes(mut self, bytes: u64) -> Self {
        self.query.max_scan_bytes = Some(bytes);
        self
    }

    /// Takes the rows of a topic with `weir.cluster.by` as they are stored: whole windows at a time, in each of them the rows of one
    /// value behind those of another. The broker has less to do, since nothing is put into offset order. Rows of one batch are in
    /// offset order, batches of one window are not. Of other topics, and of those that are not stored as columns, the broker refuses it.
    pub fn in_windows(mut self) -> Self {
        self.query.order = ScanOrder::Window;
        self
    }

    /// Bytes to fetch ahead: of one partition in one answer, and of all answers that wait to be taken.
    pub fn fetch_bytes(mut self, partition: i32, total: i32) -> Self {
        self.config.partition_bytes_max = partition;
        self.config.fetch_bytes_max = total;
        self
    }

    /// How long a broker may hold an answer back until something matches.
    pub fn fetch_wait(mut self, wait: Duration) -> Self {
        self.config.fetch_wait_max = wait;
        self
    }

    /// Bytes that the columns of one answer may take after decompression; more is an error.
    pub fn decoded_bytes_max(mut self, bytes: u64) -> Self {
        self.decoded_bytes_max = bytes;
        self
    }

    /// Fetches records and filters them here even if the broker could, to take the work off it. The rows are the same.
    #[cfg(feature = "stock-kafka")]
    pub fn on_this_side(mut self) -> Self {
        self.on_this_side = true;
        self
    }

    /// Begins to read, on a task of its own. Needs a tokio runtime.
    pub fn stream(self) -> ColumnStream {
        ColumnStream::start(self.reader())
    }

    /// The schema of the batches: that of the first row there is, whether it matches or not. Of a topic without any row, the
    /// columns of its table and those that every topic has; a path into a column is an error then.
    pub async fn schema(&self) -> crate::error::Result<arrow_schema::SchemaRef> {
        let mut probe = self.clone().start(StartAt::Earliest).to_end().fetch_bytes(1, 1);
        probe.partitions = None;
        probe.query.predicate = None;
        let mut probe = probe.reader();
        loop {
            if let Some(batch) = probe.poll(Duration::from_secs(1)).await?.first() {
                return Ok(batch.rows.schema());
            }
            if probe.is_at_end() {
                let table = self.table_schema().await?;
                return super::system::projected(&self.topic, self.query.columns.as_deref(), table.as_deref());
            }
        }
    }

    /// A reader that fetches when it is asked.
    pub fn reader(self) -> ColumnReader {
        ColumnReader::new(self)
    }

    /// A reader that gets its partitions and starts from a consumer group. Partitions, start and end of this query do not count;
    /// `group` says where partitions without a committed offset start, by its reset policy.
    pub fn reader_in_group(self, group: GroupConfig) -> GroupColumnReader {
        GroupColumnReader::new(self, group)
    }
}
