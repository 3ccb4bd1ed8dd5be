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
}

impl RecordPlan {
    /// `projection` plus what records keep. `whole`: every column, so that values can keep their bytes.
    pub fn new(
        table: &Table,
        version: &Arc<TableSchema>,
        projection: Projection,
        whole: bool,
        schema: &Schema,
    ) -> Result<(Projection, RecordPlan), ScanPlanError> {
        let kept = places_of(&KEPT, schema);
        if whole {
            return Ok((Projection::whole(kept, schema), RecordPlan { encoder: None, user: 0 }));
        }
        if let Some(system) = projection.inputs().find(|at| *at >= version.fields.len()) {
            let column = schema.field(system).name().clone();
            return Err(ScanPlanError::SystemColumnInRecords { column });
        }
        let not_writable = |reason: String| ScanPlanError::NotWritable { reason };
        let kind = table.value_format().kind;
        if kind != FormatKind::Json {
            return Err(not_writable(format!("{kind:?} rows need every field of their schema")));
        }
        let encoder = table.encoder(&Arc::new(projection.table(version)));
        let encoder = encoder.map_err(|error| not_writable(error.to_string()))?;
        let user = projection.schema().fields().len();
        Ok((projection.with_whole(kept, schema), RecordPlan { encoder: Some(encoder), user }))
    }
}

/// The rows of a scan as Kafka batches, with offsets, timestamps, keys and headers as they were stored. The plan was made for
/// [`crate::ResultRows::Kafka`].
pub fn encode_records(
    plan: &ScanPlan,
    batches: &[ScannedBatch],
    compression: Compression,
    epoch_at: &dyn Fn(Offset) -> Option<LeaderEpoch>,
) -> Result<Vec<Bytes>, ScanError> {
    let Some(records) = plan.records() else {
        return Err(ScanError::failed("the plan is not one of records".to_owned()));
    };
    let mut writer = Writer { open: None, done: Vec::new(), compression, epoch_at };
    for scanned in batches {
        writer.scanned(plan, records, scanned)?;
    }
    writer.close()?;
    Ok(writer.done)
}

struct Writer<'a> {
    /// With its base offset.
    open: Option<(i64, BatchBuilder)>,
    done: Vec<Bytes>,
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
            let mut value = option(values, row);
            if let (Some(rows), Some(_)) = (&encoded, value) {
                text.clear();
                rows.value(row, &mut text).map_err(|error| ScanError::failed(error.to_string()))?;
                value = Some(&text);
            }
            self.record(offset, option(keys, row), value, headers, row, Timestamp(timestamps.value(row)))?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &ListArray,
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
        let items = headers.value(row);
        let items = items.as_struct();
        let (names, contents) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
        let headers: Vec<_> = (0..items.len()).map(|i| (names.value(i).as_bytes(), option(contents, i))).collect();
        let delta = delta(*base).unwrap_or_default();
        open.append_at(delta, key, value, &headers, timestamp).map_err(|error| ScanError::failed(error.to_string()))
    }

    fn close(&mut self) -> Result<(), ScanError> {
        if let Some((_, open)) = self.open.take() {
            self.done.push(open.build().map_err(|error| ScanError::failed(error.to_string()))?);
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
