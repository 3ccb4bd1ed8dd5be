//! Writing columns: `client.topic("flights").writer().write(&batch)`.
//!
//! Rows travel as Arrow (tag 5700 of a Produce request, protocol/COLUMNAR.md) and are validated by the broker against the topic's
//! table, whose types they must have: the writer asks for these, and casts what means the same (`cast.rs`). A writer is an idempotent producer with one request in flight: what is repeated after a failure is stored once, and
//! rows of a partition keep their order. What the broker finds too large is halved.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{Schema, SchemaRef};
use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use weir_protocol::columnar::{ColumnarProduce, FEATURE, TAG};
use weir_protocol::ids::{ProducerEpoch, ProducerId};

use super::{TopicQuery, cast, table};
use crate::cluster::{AutoCreate, Client};
use crate::connection::retrying;
use crate::error::{ClientError, Result};

/// First version that carries columns.
const COLUMNS_SINCE: i16 = 13;
/// Rows of one request: about what fits a topic's `max.message.bytes` if rows are small. Larger rows are found too large, and halved.
const ROWS_AT_ONCE: usize = 8 << 10;
/// Columns of one request, before compression.
const BYTES_AT_ONCE: usize = 768 << 10;

/// Rows that the broker has stored: offsets `first_offset` to `first_offset + rows - 1` of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The partition.
    pub partition: i32,
    /// Offset of the first row.
    pub first_offset: i64,
    /// How many rows.
    pub rows: usize,
}

/// Writes columns to one topic. See [`TopicQuery::writer`].
pub struct ColumnWriter {
    client: Client,
    topic: Arc<str>,
    partition: Option<i32>,
    /// Where the next rows go if no partition was chosen.
    next: usize,
    producer: Option<(ProducerId, ProducerEpoch)>,
    /// The next sequence number by partition.
    sequences: BTreeMap<i32, i32>,
    /// What the topic's table was when it was looked up. Inside: none if that cannot be known.
    table: Option<Option<SchemaRef>>,
    /// Rows of earlier batches, so that an error tells the place among all.
    rows: usize,
}

impl TopicQuery {
    /// Writes rows to the topic instead of reading them: to the partition that was chosen with
    /// [`partitions`](Self::partitions) if it is one, otherwise to one after the other.
    pub fn writer(self) -> ColumnWriter {
        let partition = self.partitions.as_deref().and_then(|chosen| match chosen {
            [only] => Some(*only),
            _ => None,
        });
        ColumnWriter {
            client: self.client,
            topic: self.topic,
            partition,
            next: 0,
            producer: None,
            sequences: BTreeMap::new(),
            table: None,
            rows: 0,
        }
    }
}

impl ColumnWriter {
    /// Stores the rows of a batch. Its columns are some of the table's and may be `_key` (Binary), `_timestamp` (milliseconds, UTC)
    /// and `_headers`. Other types that mean the same are cast if every value fits: wider integers, floats that are integers, finer
    /// times, large strings, dictionaries. An error names column and row, counted over all batches of this writer. When it returns
    /// the rows are as durable as the topic promises. After an error the rows in front of those that it concerns are stored, but
    /// nothing of a batch in which a value cannot be cast.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<Vec<Written>> {
        self.store(None, rows).await
    }

    /// Stores rows in one partition, in as few requests as the broker takes them.
    pub async fn write_to(&mut self, partition: i32, rows: &RecordBatch) -> Result<Vec<Written>> {
        self.store(Some(partition), rows).await
    }

    async fn store(&mut self, partition: Option<i32>, rows: &RecordBatch) -> Result<Vec<Written>> {
        let mut fitting = self.fitting(rows).await?;
        // Of these rows: arrays that are parts of larger ones share their buffers.
        let sizes = fitting.columns().iter().map(|column| column.to_data().get_slice_memory_size());
        let bytes: usize = sizes.map(|size| size.unwrap_or(0)).sum();
        let row_bytes = (bytes / rows.num_rows().max(1)).max(1);
        let at_once = (BYTES_AT_ONCE / row_bytes).clamp(1, ROWS_AT_ONCE);
        let mut written: Vec<Written> = Vec::new();
        let mut from = 0;
        while from < rows.num_rows() {
            let len = at_once.min(rows.num_rows() - from);
            let to = match partition.or(self.partition) {
                Some(partition) => partition,
                None => self.choose().await?,
            };
            let known = written.len();
            match self.store_part(to, &fitting.slice(from, len), &mut written).await {
                Ok(()) => from += len,
                // The table may be another one since it was looked up; nothing of these rows was stored.
                Err(error) if error.code() == Some(ResponseError::InvalidRecord) && written.len() == known => {
                    let before = self.table.take();
                    fitting = self.fitting(rows).await?;
                    if self.table == before {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.rows += rows.num_rows();
        Ok(written)
    }

    /// The rows with the types of the table.
    async fn fitting(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        if let Some(known) = &self.table {
            let cast = self.cast(rows, known.as_ref());
            if cast.is_ok() {
                return cast;
            }
        }
        // Not looked up yet, or what does not fit may fit by now.
        let now = table::of_topic(&self.client, &self.topic).await?;
        self.table = Some(now.clone());
        self.cast(rows, now.as_ref())
    }

    fn cast(&self, rows: &RecordBatch, table: Option<&SchemaRef>) -> Result<RecordBatch> {
        let cast = match table {
            Some(table) => cast::to_table(rows, &table_and_parts(table), self.rows),
            None => cast::to_usual(rows),
        };
        cast.map_err(|error| ClientError::Unfit { topic: self.topic.to_string(), reason: error.to_string() })
    }

    async fn choose(&mut self) -> Result<i32> {
        let topic = self.client.topic_info(&self.topic, AutoCreate::Forbidden).await?;
        let chosen = topic.partitions.get(self.next % topic.partitions.len().max(1)).map_or(0, |found| found.id);
        self.next += 1;
        Ok(chosen)
    }

    async fn store_part(&mut self, partition: i32, rows: &RecordBatch, written: &mut Vec<Written>) -> Result<()> {
        // Last first.
        let mut left = vec![rows.clone()];
        while let Some(rows) = left.pop() {
            match self.send(partition, &rows).await {
                Ok(done) => written.push(done),
                Err(error) if error.code() == Some(ResponseError::MessageTooLarge) && rows.num_rows() > 1 => {
                    let half = rows.num_rows() / 2;
                    left.push(rows.slice(half, rows.num_rows() - half));
                    left.push(rows.slice(0, half));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send(&mut self, partition: i32, rows: &RecordBatch) -> Result<Written> {
        let stream = encode(rows)?;
        let (id, epoch) = match self.producer {
            Some(producer) => producer,
            None => *self.producer.insert(new_producer(&self.client).await?),
        };
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let tag = ColumnarProduce {
            schema_id: -1,
            producer: Some((id, epoch, sequence)),
            transactional: false,
            crc32c: crc32c::crc32c(&stream),
        };
        let mut bytes = BytesMut::new();
        tag.encode(&mut bytes);
        let tag = bytes.freeze();
        let sent = retrying(self.client.config(), || self.attempt(partition, &tag, &stream)).await;
        match &sent {
            Ok(_) => {
                // Sequence numbers wrap around within the positive numbers.
                let next = (i64::from(sequence) + rows.num_rows() as i64) & i64::from(i32::MAX);
                self.sequences.insert(partition, next as i32);
            }
            // Whether it was stored is not known, or the broker does not know this producer: another one takes over.
            Err(error) if error.is_retriable() || is_about_producers(error) => {
                self.producer = None;
                self.sequences.clear();
            }
            Err(_) => {}
        }
        Ok(Written { partition, first_offset: sent?, rows: rows.num_rows() })
    }

    /// One request; the offset of the first row.
    async fn attempt(&self, partition: i32, tag: &Bytes, stream: &Bytes) -> Result<i64> {
        let sent = self.try_attempt(partition, tag, stream).await;
        if sent.as_ref().is_err_and(ClientError::is_stale_metadata) {
            self.client.forget_topic(&self.topic);
        }
        sent
    }

    async fn try_attempt(&self, partition: i32, tag: &Bytes, stream: &Bytes) -> Result<i64> {
        let topic = self.client.topic_info(&self.topic, AutoCreate::Forbidden).await?;
        let leader = self.client.leader(&self.topic, partition).await?;
        let connection = self.client.broker(leader).await?;
        let version = connection.version::<ProduceRequest>()?;
        let id = topic.id.filter(|_| version >= COLUMNS_SINCE && connection.versions().feature(FEATURE).is_some());
        let Some(id) = id else {
            let reason = "the broker takes no columns (feature weir.columnar): produce records instead";
            return Err(ClientError::InvalidSetting { setting: "writer", value: self.topic.to_string(), reason });
        };
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(stream.clone()));
        let data = data.with_unknown_tagged_fields([(TAG, tag.clone())].into());
        let timeout = self.client.config().request_timeout.mul_f64(0.8).as_millis();
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(i32::try_from(timeout).unwrap_or(i32::MAX))
            .with_topic_data(vec![TopicProduceData::default().with_topic_id(id).with_partition_data(vec![data])]);
        let response = connection.submit(version, &request).await?.wait(self.client.config().request_timeout).await?;
        let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let subject = format!("{}-{partition}", self.topic);
        let Some(answer) = answers.into_iter().find(|answer| answer.index == partition) else {
            let (broker, reason) = (connection.broker().to_owned(), format!("its answer does not mention {subject}"));
            return Err(ClientError::Disconnected { broker, reason });
        };
        connection.check::<ProduceRequest>(&subject, answer.error_code, answer.error_message.as_deref())?;
        Ok(answer.base_offset)
    }
}

/// What rows may have beside the columns of the table.
fn table_and_parts(table: &SchemaRef) -> Schema {
    let parts = super::system::parts_of_records();
    Schema::new(table.fields().iter().map(|field| field.as_ref().clone()).chain(parts).collect::<Vec<_>>())
}

fn is_about_producers(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            ResponseError::UnknownProducerId
                | ResponseError::OutOfOrderSequenceNumber
                | ResponseError::InvalidProducerEpoch
                | ResponseError::InvalidProducerIdMapping
        )
    )
}

async fn new_producer(client: &Client) -> Result<(ProducerId, ProducerEpoch)> {
    retrying(client.config(), || async {
        let connection = client.any_connection().await?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let response = connection.call(|_| request).await?;
        connection.check::<InitProducerIdRequest>("", response.error_code, None)?;
        Ok((ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch)))
    })
    .await
}

fn encode(rows: &RecordBatch) -> Result<Bytes> {
    let failed = |error: arrow_schema::ArrowError| ClientError::Encode {
        api: kafka_protocol::messages::ApiKey::Produce,
        version: COLUMNS_SINCE,
        reason: error.to_string(),
    };
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(failed)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options).map_err(failed)?;
    writer.write(rows).map_err(failed)?;
    writer.into_inner().map(Bytes::from).map_err(failed)
}
