//! Matching rows as Kafka batches: ResultFormat 1 and views.
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, BinaryArray, ListArray, RecordBatch};
use arrow_schema::Schema;
use bytes::Bytes;
use weir_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use weir_protocol::records::{BatchBuilder, Compression};
use weir_table::table::FormatKind;
use weir_table::{RowEncoder, Table, TableSchema};

use crate::error::ScanError;
use crate::output::ScannedBatch;
use crate::plan::{ScanPlan, ScanPlanError, batch_of, places_of};
use crate::projection::Projection;
use crate::system::{HEADERS, KEY, TIMESTAMP, VALUE};

/// Bytes of a batch before compression: consumers decompress one at a time.
const BATCH_BYTES: usize = 1 << 20;
/// What every record keeps, in this order behind the projected columns.
const KEPT: [&str; 4] = [TIMESTAMP, KEY, HEADERS, VALUE];

/// How rows of a plan become records.
#[derive(Debug)]
pub struct RecordPlan {
    /// `None`: values keep their bytes.
    encoder: Option<RowEncoder>,
    /// Projected columns, in front of the kept ones.
    user: usize,
    parts: RecordParts,
}

/// What is shown of a record beside its offset and timestamp; what is not shown is null, or no headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordParts {
    pub key: bool,
    pub value: bool,
    pub headers: bool,
}

impl RecordParts {
    pub const ALL: RecordParts = RecordParts { key: true, value: true, headers: true };

    /// Those among the system columns `names`; `_timestamp` is always shown. The error is a name that is none of them.
    pub fn named(names: &[String]) -> Result<RecordParts, String> {
        let mut parts = RecordParts { key: false, value: false, headers: false };
        for name in names {
            match name.as_str() {
                KEY => parts.key = true,
                VALUE => parts.value = true,
                HEADERS => parts.headers = true,
                TIMESTAMP => {}
                other => return Err(other.to_owned()),
            }
        }
        Ok(parts)
    }
}

/// Rows of a scan as Kafka batches.
#[derive(Debug, Default)]
pub struct EncodedRecords {
    pub batches: Vec<Bytes>,
    /// Rows that the topic's format cannot say; they are left out.
    pub errored: u64,
    /// Why the first of them.
    pub error: Option<String>,
    /// Offset of the last record.
    pub last: Option<Offset>,
}

impl RecordPlan {
    /// Records as they were produced, or parts of them.
    pub fn kept(parts: RecordParts, schema: &Schema) -> (Projection, RecordPlan) {
        (Projection::whole(places_of(&KEPT, schema), schema), RecordPlan { encoder: None, user: 0, parts })
    }

    /// `projection` written by `encoder`, plus what records keep.
    pub fn rewritten(projection: Projection, encoder: RowEncoder, schema: &Schema) -> (Projection, RecordPlan) {
        let user = projection.schema().fields().len();
        let projection = projection.with_whole(places_of(&KEPT, schema), schema);
        (projection, RecordPlan { encoder: Some(encoder), user, parts: RecordParts::ALL })
    }

    /// `projection` plus what records keep, of which `parts` are shown. `whole`: every column, so that values can keep their bytes.
    pub fn new(
        table: &Table,
        version: &Arc<TableSchema>,
        projection: Projection,
        whole: bool,
        parts: RecordParts,
        schema: &Schema,
    ) -> Result<(Projection, RecordPlan), ScanPlanError> {
        if whole {
            return Ok(RecordPlan::kept(parts, schema));
        }
        if let Some(system) = projection.inputs().find(|at| *at >= version.fields.len()) {
            let column = schema.field(system).name().clone();
            return Err(ScanPlanError::SystemColumnInRecords { column });
        }
        let not_writable = |reason: String| ScanPlanError::NotWritable { reason };
        let kind = table.value_format().kind;
        // A message may leave fields out, an Avro record may not.
        if kind == FormatKind::Avro {
            return Err(not_writable(format!("{kind:?} rows need every field of their schema")));
        }
        let encoder = table.encoder(&Arc::new(projection.table(version)));
        let encoder = encoder.map_err(|error| not_writable(error.to_string()))?;
        let (projection, plan) = RecordPlan::rewritten(projection, encoder, schema);
        Ok((projection, RecordPlan { parts: RecordParts { value: true, ..parts }, ..plan }))
    }
}

/// The rows of a scan as Kafka batches, with offsets, timestamps, keys and headers as they were stored. The plan was made for
/// [`crate::ResultRows::Kafka`].
pub fn encode_records(
    plan: &ScanPlan,
    batches: &[ScannedBatch],
    compression: Compression,
    epoch_at: &dyn Fn(Offset) -> Option<LeaderEpoch>,
) -> Result<EncodedRecords, ScanError> {
    let Some(records) = plan.records() else {
        return Err(ScanError::failed("the plan is not one of records".to_owned()));
    };
    let mut writer = Writer { open: None, done: EncodedRecords::default(), compression, epoch_at };
    for scanned in batches {
        writer.scanned(plan, records, scanned)?;
    }
    writer.close()?;
    Ok(writer.done)
}

struct Writer<'a> {
    /// With its base offset.
    open: Option<(i64, BatchBuilder)>,
    done: EncodedRecords,
    compression: Compression,
    epoch_at: &'a dyn Fn(Offset) -> Option<LeaderEpoch>,
}

impl Writer<'_> {
    fn scanned(&mut self, plan: &ScanPlan, records: &RecordPlan, scanned: &ScannedBatch) -> Result<(), ScanError> {
        let batch = &scanned.batch;
        let kept = |at: usize| batch.column(records.user + at);
        let timestamps = kept(0).as_primitive::<TimestampMillisecondType>();
        let (keys, headers, values) =
            (kept(1).as_binary::<i32>(), kept(2).as_list::<i32>(), kept(3).as_binary::<i32>());
        let sparse = (!scanned.dense).then(|| batch.columns().last()).flatten();
        let sparse = sparse.map(|column| column.as_primitive::<Int64Type>());
        let projected = projected(plan, records, batch)?;
        let encoded = match (&records.encoder, &projected) {
            (Some(encoder), Some(projected)) => {
                Some(encoder.rows(projected).map_err(|error| ScanError::failed(error.to_string()))?)
            }
            _ => None,
        };
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            let offset = sparse.map_or(scanned.first_offset + row as i64, |offsets| offsets.value(row));
            let mut value = option(values, row).filter(|_| records.parts.value);
            if let (Some(rows), Some(_)) = (&encoded, value) {
                text.clear();
                if let Err(error) = rows.value(row, &mut text) {
                    // One row of an older schema must not hold up all behind it.
                    self.done.errored += 1;
                    self.done.error.get_or_insert_with(|| format!("offset {offset}: {error}"));
                    continue;
                }
                value = Some(&text);
            }
            let key = option(keys, row).filter(|_| records.parts.key);
            let headers = Some(headers).filter(|_| records.parts.headers);
            self.record(offset, key, value, headers, row, Timestamp(timestamps.value(row)))?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Option<&ListArray>,
        row: usize,
        timestamp: Timestamp,
    ) -> Result<(), ScanError> {
        let delta = |base: i64| i32::try_from(offset - base).ok();
        let fits = |(base, open): &(i64, BatchBuilder)| open.plain_len() < BATCH_BYTES && delta(*base).is_some();
        if !self.open.as_ref().is_some_and(fits) {
            self.close()?;
        }
        let new = || {
            let epoch = (self.epoch_at)(Offset(offset)).unwrap_or(LeaderEpoch(-1));
            let builder = BatchBuilder::new().base_offset(Offset(offset)).leader_epoch(epoch);
            (offset, builder.compression(self.compression, None))
        };
        let (base, open) = self.open.get_or_insert_with(new);
        let items = headers.map(|headers| headers.value(row));
        let headers: Vec<_> = match &items {
            None => Vec::new(),
            Some(items) => {
                let items = items.as_struct();
                let (names, contents) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
                (0..items.len()).map(|i| (names.value(i).as_bytes(), option(contents, i))).collect()
            }
        };
        let delta = delta(*base).unwrap_or_default();
        self.done.last = Some(Offset(offset));
        open.append_at(delta, key, value, &headers, timestamp).map_err(|error| ScanError::failed(error.to_string()))
    }

    fn close(&mut self) -> Result<(), ScanError> {
        if let Some((_, open)) = self.open.take() {
            self.done.batches.push(open.build().map_err(|error| ScanError::failed(error.to_string()))?);
        }
        Ok(())
    }
}

/// The projected columns as a batch of their own.
fn projected(plan: &ScanPlan, records: &RecordPlan, batch: &RecordBatch) -> Result<Option<RecordBatch>, ScanError> {
    if records.encoder.is_none() {
        return Ok(None);
    }
    let fields: Vec<_> = plan.output().fields().iter().take(records.user).cloned().collect();
    let columns = batch.columns()[..records.user].to_vec();
    Ok(Some(batch_of(&Arc::new(Schema::new(fields)), columns, batch.num_rows())?))
}

fn option(column: &BinaryArray, row: usize) -> Option<&[u8]> {
    column.is_valid(row).then(|| column.value(row))
}
