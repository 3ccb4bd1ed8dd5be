//! Record batches (magic 2) made by hand: every header field can be set wrong on purpose, and nothing of the code under test
//! is used to make them.

use bytes::{BufMut, Bytes, BytesMut};

/// Offset of the CRC field; the CRC covers everything after it.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
/// Bits of the attributes.
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// One record to be put into a batch.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub timestamp_delta: i64,
}

/// A batch whose derived fields (length, counts, CRC) are right unless a field says otherwise.
#[derive(Debug, Clone)]
pub struct Batch {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub magic: i8,
    pub attributes: i16,
    pub base_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records: Vec<Record>,
    /// Overrides the number of records in the header.
    pub count: Option<i32>,
    /// Overrides the last offset delta in the header.
    pub last_offset_delta: Option<i32>,
    /// Added to the right length.
    pub length_error: i32,
    /// XORed into the right CRC.
    pub crc_error: u32,
    /// The records section as it is, in place of the encoded records (for compressed batches).
    pub section: Option<Bytes>,
}

impl Batch {
    /// `count` small keyed records of the flights' first hour, uncompressed, without a producer id.
    pub fn of(count: usize) -> Batch {
        let records = (0..count)
            .map(|i| Record {
                key: Some(Bytes::from(format!("k{i}"))),
                value: Some(Bytes::from(format!("value {i}"))),
                timestamp_delta: i as i64,
            })
            .collect();
        Batch {
            base_offset: 0,
            leader_epoch: -1,
            magic: 2,
            attributes: 0,
            base_timestamp: 1_357_034_400_000,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records,
            count: None,
            last_offset_delta: None,
            length_error: 0,
            crc_error: 0,
            section: None,
        }
    }

    /// The same batch from an idempotent producer.
    pub fn by_producer(mut self, id: i64, epoch: i16, sequence: i32) -> Batch {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, sequence);
        self
    }

    /// The same batch as part of a transaction.
    pub fn in_transaction(mut self) -> Batch {
        self.attributes |= TRANSACTIONAL;
        self
    }

    /// The same batch with another first timestamp.
    pub fn at(mut self, base_timestamp: i64) -> Batch {
        self.base_timestamp = base_timestamp;
        self
    }

    /// One record with a value of this many bytes.
    pub fn large(bytes: usize) -> Batch {
        let mut batch = Batch::of(1);
        batch.records[0] = Record { key: None, value: Some(Bytes::from(vec![b'x'; bytes])), timestamp_delta: 0 };
        batch
    }

    /// Attributes for zstd, with a section that is one valid zstd frame of the records (stored, so no encoder is needed).
    pub fn zstd(mut self) -> Batch {
        let plain = self.encode_records();
        let mut frame = BytesMut::new();
        frame.put_u32_le(0xFD2F_B528);
        frame.put_u8(0x20 | 0x80); // single segment, four bytes of content size, no checksum
        frame.put_u32_le(plain.len() as u32);
        let block = (plain.len() as u32) << 3 | 1; // the last block, stored
        frame.extend_from_slice(&block.to_le_bytes()[..3]);
        frame.extend_from_slice(&plain);
        self.attributes |= 4;
        self.section = Some(frame.freeze());
        self
    }

    fn encode_records(&self) -> BytesMut {
        let mut section = BytesMut::new();
        for (i, record) in self.records.iter().enumerate() {
            let mut body = BytesMut::new();
            body.put_i8(0);
            put_varint(&mut body, record.timestamp_delta);
            put_varint(&mut body, i as i64);
            for field in [&record.key, &record.value] {
                put_varint(&mut body, field.as_ref().map_or(-1, |bytes| bytes.len() as i64));
                body.extend_from_slice(field.as_deref().unwrap_or_default());
            }
            put_varint(&mut body, 0);
            put_varint(&mut section, body.len() as i64);
            section.extend_from_slice(&body);
        }
        section
    }

    /// The batch as bytes.
    pub fn encode(&self) -> Bytes {
        let section = self.section.clone().unwrap_or_else(|| self.encode_records().freeze());
        let count = self.records.len() as i32;
        let max_delta = self.records.iter().map(|record| record.timestamp_delta).max().unwrap_or(0);
        let mut out = BytesMut::new();
        out.put_i64(self.base_offset);
        out.put_i32(49 + section.len() as i32 + self.length_error);
        out.put_i32(self.leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(0);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta.unwrap_or(count - 1));
        out.put_i64(self.base_timestamp);
        out.put_i64(self.base_timestamp + max_delta);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.count.unwrap_or(count));
        out.extend_from_slice(&section);
        let crc = crc32c::crc32c(&out[CRC_FROM..]) ^ self.crc_error;
        out[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        out.freeze()
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

/// Fetched batches as a list of headers and CRCs: equal CRCs mean equal records. The leader epoch is the broker's own.
pub fn describe(mut bytes: &[u8]) -> serde_json::Value {
    use bytes::Buf;
    let mut batches = Vec::new();
    while bytes.len() >= 61 {
        let mut header = &bytes[..61];
        let base_offset = header.get_i64();
        let length = header.get_i32();
        header.advance(4);
        let magic = header.get_i8();
        let crc = header.get_u32();
        let attributes = header.get_i16();
        let last_offset_delta = header.get_i32();
        header.advance(8);
        let max_timestamp = header.get_i64();
        let producer_id = header.get_i64();
        let producer_epoch = header.get_i16();
        let base_sequence = header.get_i32();
        let count = header.get_i32();
        let total = usize::try_from(length).unwrap_or(0) + 12;
        if total < 61 || total > bytes.len() {
            break;
        }
        let right = crc32c::crc32c(&bytes[CRC_FROM..total]) == crc;
        let mut batch = serde_json::json!({
            "base_offset": base_offset, "length": length, "magic": magic, "attributes": attributes,
            "last_offset_delta": last_offset_delta, "max_timestamp": max_timestamp, "count": count,
            "crc": if right { "right" } else { "wrong" },
        });
        // The value of a marker has the coordinator's epoch, which is the broker's own; the type is in the key.
        match bytes[61..total].get(7..9) {
            Some(kind) if attributes & CONTROL != 0 => batch["control"] = i16::from_be_bytes([kind[0], kind[1]]).into(),
            _ => batch["content"] = crc32c::crc32c(&bytes[61..total]).into(),
        }
        if (producer_id, producer_epoch, base_sequence) != (-1, -1, -1) {
            batch["producer_id"] = producer_id.into();
            batch["producer_epoch"] = producer_epoch.into();
            batch["base_sequence"] = base_sequence.into();
        }
        batches.push(batch);
        bytes = &bytes[total..];
    }
    if !bytes.is_empty() {
        batches.push(serde_json::json!({"bytes_of_a_partial_batch": bytes.len()}));
    }
    serde_json::Value::Array(batches)
}
