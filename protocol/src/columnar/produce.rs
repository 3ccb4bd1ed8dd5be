//! `ColumnarProduce`: tag 5700 on each PartitionProduceData of ProduceRequest 13+, whose Records are an Arrow IPC stream.
use bytes::{BufMut, BytesMut};

use super::{ColumnarError, VERSION_MAX, put_no_tags, version};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::wire::Wire;

/// What a batch header says for row batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnarProduce {
    /// Schema version the columns were written for.
    pub schema_id: i32,
    /// Id, epoch and first sequence of an idempotent producer; sequences count rows.
    pub producer: Option<(ProducerId, ProducerEpoch, i32)>,
    /// Part of the producer's transaction.
    pub transactional: bool,
    /// CRC-32C of the Records bytes.
    pub crc32c: u32,
}

impl ColumnarProduce {
    /// From the bytes of the tag.
    pub fn decode(bytes: &[u8]) -> Result<ColumnarProduce, ColumnarError> {
        let mut wire = Wire::new(bytes);
        version(&mut wire)?;
        let schema_id = wire.i32("SchemaId")?;
        let id = wire.i64("ProducerId")?;
        let epoch = wire.i16("ProducerEpoch")?;
        let sequence = wire.i32("BaseSequence")?;
        let transactional = wire.i8("Transactional")? != 0;
        let crc32c = wire.i32("Crc32c")? as u32;
        wire.skip_tagged_fields()?;
        wire.finish()?;
        let producer = (id >= 0).then_some((ProducerId(id), ProducerEpoch(epoch), sequence));
        Ok(ColumnarProduce { schema_id, producer, transactional, crc32c })
    }

    /// Appends the bytes of the tag.
    pub fn encode(&self, out: &mut BytesMut) {
        let (id, epoch, sequence) = self.producer.unwrap_or((ProducerId(-1), ProducerEpoch(-1), -1));
        out.put_i8(VERSION_MAX);
        out.put_i32(self.schema_id);
        out.put_i64(id.0);
        out.put_i16(epoch.0);
        out.put_i32(sequence);
        out.put_u8(u8::from(self.transactional));
        out.put_u32(self.crc32c);
        put_no_tags(out);
    }
}
