//! TAB-2 for every format: random tables, rows of random writers, through log, merges to columns and restarts; every value comes
//! back byte for byte.
#![allow(clippy::unwrap_used)]

/// Random tables and writers of JSON rows, as the codec's own tests have them.
#[path = "../../table/src/codec/json/tests/rows.rs"]
mod rows;
/// What `rows` knows by this name.
mod schema {
    pub use weir_table::schema::*;
}

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use weir_column::{Codec, Projection};
use weir_layout::{ColumnSegment, Format, TopicLayout};
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader, batches, decode};
use weir_storage::disk::OsDisk;
use weir_storage::log::{
    AckLevel, AppendOrigin, Layout, LogConfig, Partition, PendingAppend, ReadLimit, ReadRequest, Storage,
    StorageConfig, TopicSpec,
};
use weir_storage::memory::MemoryBudget;
use weir_table::TableSchema;
use weir_table::codec::avro::AvroSchema;
use weir_table::codec::protobuf::ProtoFile;
use weir_table::table::{FormatKind, Framing, RowFormat, Table, TableOptions, WriterSchema, WriterSchemas};

const TOPIC: TopicId = TopicId(Uuid::from_u128(12));

/// Bytes of rows in a run: enough for several column files.
const RUN_BYTES: usize = 3 << 20;

async fn open(dir: &std::path::Path, epoch: i32, table: &Arc<Table>) -> Arc<Storage> {
    let mut disk = OsDisk::open(dir);
    for _ in 0..500 {
        if disk.is_ok() {
            break;
        }
        // The tasks of a storage that was dropped let go of the folder soon.
        tokio::time::sleep(Duration::from_millis(10)).await;
        disk = OsDisk::open(dir);
    }
    let layout = Arc::new(TopicLayout::new(Some(table.clone()), Codec::Zstd(1)));
    let log = LogConfig {
        retention_ms: None,
        layout: Layout::Column { layout, row_retention_ms: 0 },
        ..LogConfig::default()
    };
    let spec = TopicSpec { topic: TOPIC, partitions: 1, config: Arc::new(log) };
    let memory = MemoryBudget::new(256 << 20);
    let config = StorageConfig {
        wal_file_bytes: 1 << 20,
        wal_max_bytes: 4 << 20,
        merge_partition_bytes: 1 << 20,
        housekeeping_interval_ms: 10,
        columns: Some(Arc::new(Format::new(memory.clone()))),
        memory,
        ..StorageConfig::default()
    };
    Storage::open(Arc::new(disk.unwrap()), config, LeaderEpoch(epoch), vec![spec], &|_| false).await.unwrap()
}

fn partition(storage: &Storage) -> Arc<Partition> {
    storage.partition(TOPIC, PartitionId(0)).unwrap()
}

async fn append(storage: &Storage, values: &[Vec<u8>]) {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(None, Some(value), &[], Timestamp(5)).unwrap();
    }
    let batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch).unwrap();
    let batch = BytesMut::from(&batch[..]);
    let pending = PendingAppend::rows(partition(storage), batch, header, AppendOrigin::Client);
    storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
}

async fn values(storage: &Storage) -> Vec<Vec<u8>> {
    let (mut offset, mut out) = (Offset(0), Vec::new());
    loop {
        let request = ReadRequest { offset, max_bytes: 300_000, at_least_one: true, limit: ReadLimit::HighWatermark };
        let outcome = partition(storage).read(request).await.unwrap();
        if outcome.bytes == 0 {
            return out;
        }
        let all: Bytes = outcome.chunks.concat().into();
        for batch in batches(&all) {
            let batch = batch.unwrap();
            offset = batch.header.next_offset();
            let decoded = decode(batch.bytes, &Default::default()).unwrap();
            out.extend(decoded.records().map(|record| record.unwrap().value.unwrap().to_vec()));
        }
    }
}

/// Rows stored as columns, and how many of them keep their bytes.
fn stored(storage: &Storage) -> (usize, usize) {
    let (mut rows, mut raw) = (0, 0);
    for extent in partition(storage).extents().iter().filter(|extent| extent.columns) {
        let part = partition(storage).column_part(extent.base).unwrap().unwrap();
        let segment = part.file.as_any().downcast::<ColumnSegment>().unwrap();
        let value = Projection::paths(segment.reader().schema(), &[["_value"]]).unwrap();
        for group in 0..segment.reader().group_count() {
            let batch = segment.reader().read(group, &value).unwrap();
            rows += batch.num_rows();
            raw += batch.num_rows() - batch.column(0).null_count();
        }
    }
    (rows, raw)
}

/// Appends rows of `next` until there are column files, and compares; before and after a restart. Returns what is stored.
async fn comes_back(table: Arc<Table>, mut next: impl FnMut(usize) -> Vec<u8>, what: &str) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 1, &table).await;
    let (mut produced, mut bytes) = (Vec::new(), 0);
    while bytes < RUN_BYTES {
        let batch: Vec<_> = (0..500).map(|row| next(produced.len() + row)).collect();
        bytes += batch.iter().map(Vec::len).sum::<usize>() + 8 * batch.len();
        append(&storage, &batch).await;
        produced.extend(batch);
    }
    for _ in 0..3_000 {
        if stored(&storage).0 > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    same(&values(&storage).await, &produced, what);
    storage.shutdown().await;
    drop(storage);
    let storage = open(dir.path(), 2, &table).await;
    same(&values(&storage).await, &produced, what);
    let stored = stored(&storage);
    storage.shutdown().await;
    assert!(stored.0 > 0, "{what}: nothing became columns");
    stored
}

fn same(found: &[Vec<u8>], produced: &[Vec<u8>], what: &str) {
    assert_eq!(found.len(), produced.len(), "{what}");
    if let Some(at) = found.iter().zip(produced).position(|(a, b)| a != b) {
        panic!(
            "{what}: row {at} differs:\n{}\n{}",
            String::from_utf8_lossy(&found[at]),
            String::from_utf8_lossy(&produced[at])
        );
    }
}

/// The schemas of a registry: writer `n` has id `n`.
struct Writers(Vec<Arc<WriterSchema>>);

impl WriterSchemas for Writers {
    fn writer(&self, id: i32) -> Option<Arc<WriterSchema>> {
        self.0.get(usize::try_from(id).ok()?).cloned()
    }
}

/// A table of the last writer's columns, for rows of all.
fn table(kind: FormatKind, columns: Vec<weir_table::Field>, texts: &[String]) -> Arc<Table> {
    let writer = |(id, text): (usize, &String)| {
        Arc::new(WriterSchema { id: Some(id as i32), text: text.clone(), references: Vec::new() })
    };
    let writers: Vec<_> = texts.iter().enumerate().map(writer).collect();
    let schema = writers.last().cloned();
    let writers = Arc::new(Writers(writers));
    let format = RowFormat { kind, framing: Framing::Registry, schema, writers, ..RowFormat::json() };
    let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
    Arc::new(Table::new(vec![schema], format, None, TableOptions::default()).unwrap())
}

fn frame(id: usize) -> Vec<u8> {
    [&[0][..], &(id as i32).to_be_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_rows_of_random_tables_come_back() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let schema = rows::schema(&mut random);
        let mut writers: Vec<_> = (0..4).map(|_| rows::Writer::new(&mut random)).collect();
        let fields = schema.fields.clone();
        let table = Table::new(vec![schema], RowFormat::json(), None, TableOptions::default()).unwrap();
        let next = |row: usize| {
            // Some writers put a frame in front.
            let writer = random.random_range(0..writers.len());
            let mut value = if writer < 2 { frame(writer) } else { Vec::new() };
            value.extend(writers[writer].row(&fields, &mut random).into_bytes());
            if row.is_multiple_of(997) { b"no row".to_vec() } else { value }
        };
        comes_back(Arc::new(table), next, &format!("JSON, seed {seed}")).await;
    }
}

/// One random file: version 1 has fewer fields than version 2.
fn proto(random: &mut StdRng, fields: usize) -> (String, Vec<String>) {
    let kinds = [
        "int32",
        "int64",
        "uint32",
        "uint64",
        "sint32",
        "sint64",
        "fixed32",
        "fixed64",
        "sfixed32",
        "sfixed64",
        "float",
        "double",
        "bool",
        "string",
        "bytes",
        "E",
        "In",
        "google.protobuf.Timestamp",
        "google.protobuf.Int64Value",
    ];
    let labels = ["", "", "optional ", "repeated ", "map<string, "];
    let mut lines = Vec::new();
    for number in 1..=fields {
        let kind = kinds[random.random_range(0..kinds.len())];
        let label = labels[random.random_range(0..labels.len())];
        let close = if label.starts_with("map") { ">" } else { "" };
        lines.push(format!("{label}{kind}{close} f{number} = {number};"));
    }
    let head = "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/wrappers.proto\"; \
                enum E { A = 0; B = 1; C = -5; } message In { string s = 1; repeated double d = 2; } ";
    (head.to_owned(), lines)
}

struct Main(String);

impl protox::file::FileResolver for Main {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match name {
            "main" => protox::file::File::from_source(name, &self.0),
            _ => protox::file::GoogleFileResolver::new().open_file(name),
        }
    }
}

fn compiled(text: String) -> Vec<u8> {
    let mut compiler = protox::Compiler::with_file_resolver(Main(text));
    compiler.include_imports(true).open_file("main").unwrap();
    compiler.file_descriptor_set().encode_to_vec()
}

fn message(descriptor: &MessageDescriptor, random: &mut StdRng) -> DynamicMessage {
    let mut row = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().collect::<Vec<_>>() {
        if random.random_bool(0.3) {
            continue;
        }
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { unreachable!() };
            let entries = (0..random.random_range(0..4)).map(|key| {
                (MapKey::String(format!("key{key}")), single(&entry.map_entry_value_field().kind(), random))
            });
            Value::Map(entries.collect())
        } else if field.is_list() {
            Value::List((0..random.random_range(0..4)).map(|_| single(&field.kind(), random)).collect())
        } else {
            single(&field.kind(), random)
        };
        row.set_field(&field, value);
    }
    row
}

fn single(kind: &Kind, random: &mut StdRng) -> Value {
    let long = random.random::<i64>() >> random.random_range(0..64);
    match kind {
        Kind::Bool => Value::Bool(random.random()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(long as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(long),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(long as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(long as u64),
        Kind::Float => Value::F32(f32::from_bits(random.random())),
        Kind::Double => Value::F64(f64::from_bits(random.random())),
        Kind::String => {
            Value::String(["", "Zürich", "a\u{0}b"][random.random_range(0..3)].repeat(random.random_range(1..9)))
        }
        Kind::Bytes => Value::Bytes((0..random.random_range(0..40)).map(|_| random.random()).collect()),
        Kind::Enum(_) => Value::EnumNumber([0, 1, -5, 77][random.random_range(0..4)]),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let mut at = DynamicMessage::new(inner.clone());
            at.set_field_by_name("seconds", Value::I64(random.random_range(-60_000_000_000..200_000_000_000)));
            // Some are finer than a column: such rows keep their bytes.
            let finer = i32::from(random.random_bool(0.02));
            at.set_field_by_name("nanos", Value::I32(1_000 * random.random_range(0..999_999) + finer));
            Value::Message(at)
        }
        Kind::Message(inner) => Value::Message(message(inner, random)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_rows_of_random_messages_come_back() {
    let (mut rows, mut raw) = (0, 0);
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let (head, fields) = proto(&mut random, 9);
        // The table's message is the second one of the file, and the old writer does not know the last fields.
        let files = [5, 9].map(|known| compiled(format!("{head} message R {{ {} }}", fields[..known].join(" "))));
        let texts: Vec<_> = files.iter().map(|file| BASE64.encode(file)).collect();
        let columns = ProtoFile::parse(&texts[1]).unwrap().message(&[1]).unwrap().columns().unwrap();
        let schema = Arc::new(TableSchema::create(columns, &[]).unwrap());
        let writer = |(id, text): (usize, &String)| {
            Arc::new(WriterSchema { id: Some(id as i32), text: text.clone(), references: Vec::new() })
        };
        let writers: Vec<_> = texts.iter().enumerate().map(writer).collect();
        let format = RowFormat {
            framing: Framing::Registry,
            message: vec![1],
            writers: Arc::new(Writers(writers.clone())),
            ..RowFormat::protobuf((*writers[1]).clone())
        };
        let table = Arc::new(Table::new(vec![schema], format, None, TableOptions::default()).unwrap());
        let descriptors =
            files.map(|file| DescriptorPool::decode(file.as_slice()).unwrap().get_message_by_name("R").unwrap());
        let next = |_| {
            let writer = random.random_range(0..2);
            let mut value = frame(writer);
            value.extend([2, 2]);
            let row = message(&descriptors[writer], &mut random).encode_to_vec();
            value.extend_from_slice(&row);
            // Now and then everything comes twice, which is another spelling of the same message.
            if random.random_bool(0.01) {
                value.extend_from_slice(&row);
            }
            value
        };
        let stored = comes_back(table, next, &format!("Protobuf, seed {seed}")).await;
        (rows, raw) = (rows + stored.0, raw + stored.1);
    }
    assert!(raw > 0 && raw < rows / 2, "{raw} of {rows} rows kept their bytes");
}

/// Random records: the schema, and a row of each.
fn avro(random: &mut StdRng, fields: usize) -> Vec<(String, &'static str)> {
    let kinds = [
        r#""int""#,
        r#""long""#,
        r#""string""#,
        r#""double""#,
        r#""boolean""#,
        r#"["null","string"]"#,
        r#"{"type":"array","items":"long"}"#,
        r#"{"type":"map","values":["null","int"]}"#,
        r#"{"type":"long","logicalType":"timestamp-micros"}"#,
    ];
    (0..fields).map(|at| (format!("f{at}"), kinds[random.random_range(0..kinds.len())])).collect()
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn avro_value(kind: &str, random: &mut StdRng, out: &mut Vec<u8>) {
    let text = |random: &mut StdRng, out: &mut Vec<u8>| {
        let text = "é".repeat(random.random_range(0..20));
        zigzag(text.len() as i64, out);
        out.extend(text.as_bytes());
    };
    match kind {
        r#""int""# => zigzag(random.random::<i32>().into(), out),
        r#""double""# => out.extend(random.random::<u64>().to_le_bytes()),
        r#""boolean""# => out.push(random.random::<bool>().into()),
        r#""string""# => text(random, out),
        r#"["null","string"]"# if random.random() => out.push(0),
        r#"["null","string"]"# => {
            out.push(2);
            text(random, out);
        }
        kind if kind.contains("array") => {
            let items = random.random_range(0..4);
            if items > 0 {
                zigzag(items, out);
            }
            (0..items).for_each(|_| zigzag(random.random(), out));
            out.push(0);
        }
        kind if kind.contains("map") => {
            let entries = random.random_range(0..3);
            if entries > 0 {
                zigzag(entries, out);
            }
            for entry in 0..entries {
                out.extend([2, b'a' + entry as u8]);
                if random.random() { out.push(0) } else { out.extend([2, 8]) }
            }
            out.push(0);
        }
        _ => zigzag(random.random::<i64>() >> random.random_range(0..64), out),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_rows_of_random_records_come_back_from_columns_alone() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let fields = avro(&mut random, 8);
        let text = |known: usize| {
            let field = |(at, (name, kind)): (usize, &(String, &str))| match at < 5 {
                true => format!(r#"{{"name":"{name}","type":{kind}}}"#),
                // What the old writer does not know is nullable.
                false => format!(r#"{{"name":"{name}","type":["null","int"],"default":null}}"#),
            };
            let fields: Vec<_> = fields[..known].iter().enumerate().map(field).collect();
            format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
        };
        let texts = [text(5), text(8)];
        let columns = AvroSchema::parse(&texts[1]).unwrap().columns().unwrap();
        let table = table(FormatKind::Avro, columns, &texts);
        let next = |_| {
            let writer = random.random_range(0..2);
            let mut value = frame(writer);
            for (_, kind) in &fields[..5] {
                avro_value(kind, &mut random, &mut value);
            }
            for _ in 0..3 * writer {
                if random.random() { value.push(0) } else { value.extend([2, 84]) }
            }
            value
        };
        let (rows, raw) = comes_back(table, next, &format!("Avro, seed {seed}")).await;
        assert_eq!(raw, 0, "none of {rows} rows keeps its bytes");
    }
}
