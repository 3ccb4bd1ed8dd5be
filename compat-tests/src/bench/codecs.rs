//! The row codecs alone, on one core: JSON against arrow-json in the same run, Avro and Protobuf against our JSON and against the
//! libraries that read them into values.
//!
//! The rows are those of the column benches. The sides take turns; every row that was read is written again and compared. What bounds it:
//! copying the bytes of all strings once and looking at every byte twice, some 2 GB/s on a small core. Formats are compared with each
//! other as the broker uses them: through a table, which reads each row by itself.
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_json::{LineDelimitedWriter, ReaderBuilder};
use base64::Engine;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use weir_table::codec::json::{Fidelity, JsonDecoder, JsonEncoder, JsonOptions, RowForm, RowPart, ShapeSet};
use weir_table::table::{RowFormat, TableOptions, WriterSchema};
use weir_table::{DataType, RowBuilder, Table, TableSchema, ddl};

use super::columns::data::Dataset;
use super::{Options, Row};

const ROWS: u64 = 8_192;
/// Rounds for each of `--rounds`: one takes milliseconds.
const REPEATS: usize = 5;

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dataset in [Dataset::wide20(), Dataset::exposure44()] {
        let subject = Subject::new(&dataset)?;
        let mut runs = Runs::default();
        for _ in 0..options.rounds * REPEATS {
            subject.round(&mut runs)?;
        }
        rows.extend(runs.rows(&subject));
    }
    Ok(rows)
}

struct Subject {
    name: &'static str,
    schema: Arc<TableSchema>,
    json: Vec<Vec<u8>>,
    lines: Vec<u8>,
    canonical: Rows,
    avro: Rows,
    protobuf: Rows,
    avro_library: apache_avro::Schema,
    protobuf_library: MessageDescriptor,
}

/// Rows of a format, one behind the other, and their table.
struct Rows {
    table: Arc<Table>,
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Seconds of each round.
#[derive(Default)]
struct Runs {
    exact: Vec<f64>,
    semantic: Vec<f64>,
    arrow_json: Vec<f64>,
    written: Vec<f64>,
    arrow_json_written: Vec<f64>,
    json: Both,
    avro: Both,
    protobuf: Both,
    avro_library: Vec<f64>,
    protobuf_library: Vec<f64>,
}

/// Rows of a table read, and written.
#[derive(Default)]
struct Both {
    read: Vec<f64>,
    written: Vec<f64>,
}

fn timed<T>(into: &mut Vec<f64>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = work();
    into.push(start.elapsed().as_secs_f64());
    done
}

impl Subject {
    fn new(dataset: &Dataset) -> Result<Subject> {
        let schema = Arc::new(TableSchema::create(ddl::parse(&dataset.ddl())?, &[])?);
        let json = dataset.rows(ROWS);
        let mut lines = json.join(&b'\n');
        lines.push(b'\n');
        let (batch, ..) = decode(&schema, &json, Fidelity::Semantic)?;
        let canonical = Rows::new(&schema, RowFormat::json(), &batch)?;
        let (avro_text, proto_file) = (avro_schema(&schema), proto_file(&schema));
        let protobuf_library =
            DescriptorPool::decode(&*proto_file)?.get_message_by_name("R").context("no message R")?;
        Ok(Subject {
            name: dataset.name,
            canonical,
            avro: Rows::new(&schema, RowFormat::avro(writer(avro_text.clone())), &batch)?,
            protobuf: Rows::new(&schema, RowFormat::protobuf(writer(base64(&proto_file))), &batch)?,
            avro_library: apache_avro::Schema::parse_str(&avro_text)?,
            protobuf_library,
            schema,
            json,
            lines,
        })
    }

    fn round(&self, runs: &mut Runs) -> Result<()> {
        let (batch, forms, shapes) = timed(&mut runs.exact, || decode(&self.schema, &self.json, Fidelity::Exact))?;
        ensure!(!forms.contains(&RowForm::Raw), "every row has a shape");
        timed(&mut runs.semantic, || decode(&self.schema, &self.json, Fidelity::Semantic))?;
        let theirs = timed(&mut runs.arrow_json, || {
            let reader = ReaderBuilder::new(self.schema.to_arrow()).with_batch_size(ROWS as usize);
            let mut decoder = reader.build_decoder()?;
            let read = decoder.decode(&self.lines)?;
            ensure!(read == self.lines.len(), "arrow-json read {read} bytes");
            decoder.flush()?.context("arrow-json read no rows")
        })?;
        ensure!(theirs == batch, "arrow-json reads other values");
        let encoder = JsonEncoder::new(&self.schema, RowPart::Value, &shapes)?;
        let mut out = Vec::with_capacity(self.lines.len());
        timed(&mut runs.written, || {
            let rows = encoder.rows(&batch)?;
            for (row, form) in forms.iter().enumerate() {
                rows.write(row, *form, &mut out)?;
                out.push(b'\n');
            }
            Ok(())
        })?;
        ensure!(out == self.lines, "other bytes came back");
        timed(&mut runs.arrow_json_written, || {
            let mut writer = LineDelimitedWriter::new(Vec::with_capacity(self.lines.len()));
            writer.write(&batch)?;
            writer.finish()?;
            Ok(writer.into_inner())
        })?;
        self.canonical.round(&batch, &mut runs.json)?;
        self.avro.round(&batch, &mut runs.avro)?;
        self.protobuf.round(&batch, &mut runs.protobuf)?;
        timed(&mut runs.avro_library, || {
            for mut row in self.avro.each() {
                std::hint::black_box(apache_avro::from_avro_datum(&self.avro_library, &mut row, None)?);
            }
            Ok(())
        })?;
        timed(&mut runs.protobuf_library, || {
            for row in self.protobuf.each() {
                std::hint::black_box(DynamicMessage::decode(self.protobuf_library.clone(), row)?);
            }
            Ok(())
        })
    }
}

impl Rows {
    fn new(schema: &Arc<TableSchema>, format: RowFormat, batch: &RecordBatch) -> Result<Rows> {
        let table = Arc::new(Table::new(vec![schema.clone()], format, None, TableOptions::default())?);
        let (bytes, ends) = written(&table, batch, 0)?;
        Ok(Rows { table, bytes, ends })
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    fn round(&self, batch: &RecordBatch, runs: &mut Both) -> Result<()> {
        let found = timed(&mut runs.read, || {
            let mut rows = self.table.validator();
            for row in self.each() {
                rows.push(None, Some(row))?;
            }
            let found = rows.finish()?;
            self.table.release(rows);
            Ok(found)
        })?;
        ensure!(found == *batch, "other values came out");
        let (bytes, _) = timed(&mut runs.written, || written(&self.table, batch, self.bytes.len()))?;
        ensure!(bytes == self.bytes, "other bytes came back");
        Ok(())
    }
}

/// All rows of a batch, one behind the other, and where each ends.
fn written(table: &Table, batch: &RecordBatch, bytes: usize) -> Result<(Vec<u8>, Vec<usize>)> {
    let encoder = table.encoder(table.current())?;
    let rows = encoder.rows(batch)?;
    let (mut out, mut ends) = (Vec::with_capacity(bytes), Vec::with_capacity(batch.num_rows()));
    for row in 0..batch.num_rows() {
        rows.value(row, &mut out)?;
        ends.push(out.len());
    }
    Ok((out, ends))
}

type Decoded = (RecordBatch, Vec<RowForm>, ShapeSet);

fn decode(schema: &Arc<TableSchema>, rows: &[Vec<u8>], fidelity: Fidelity) -> Result<Decoded> {
    let options = JsonOptions { fidelity, ..JsonOptions::default() };
    let mut decoder = JsonDecoder::new(schema, RowPart::Value, options);
    let mut builder = RowBuilder::new(schema.clone());
    let mut forms = Vec::with_capacity(rows.len());
    for row in rows {
        forms.push(decoder.decode(row, &mut builder)?);
        builder.finish_row();
    }
    Ok((builder.finish()?, forms, decoder.take_shapes()))
}

fn writer(text: String) -> WriterSchema {
    WriterSchema { id: None, text, references: Vec::new() }
}

fn avro_schema(schema: &TableSchema) -> String {
    let field = |field: &weir_table::Field| {
        let kind = match field.data_type {
            DataType::BigInt => "long",
            DataType::Double => "double",
            DataType::Boolean => "boolean",
            _ => "string",
        };
        serde_json::json!({ "name": field.name, "type": ["null", kind] })
    };
    let fields: Vec<_> = schema.fields.iter().map(field).collect();
    serde_json::json!({ "type": "record", "name": "R", "fields": fields }).to_string()
}

/// A compiled file with one message.
fn proto_file(schema: &TableSchema) -> Vec<u8> {
    let field = |(at, field): (usize, &weir_table::Field)| {
        let kind = match field.data_type {
            DataType::BigInt => Type::Int64,
            DataType::Double => Type::Double,
            DataType::Boolean => Type::Bool,
            _ => Type::String,
        };
        FieldDescriptorProto {
            name: Some(field.name.clone()),
            number: Some(at as i32 + 1),
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            ..FieldDescriptorProto::default()
        }
    };
    let message = DescriptorProto {
        name: Some("R".to_owned()),
        field: schema.fields.iter().enumerate().map(field).collect(),
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("row.proto".to_owned()),
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl Runs {
    fn rows(&self, subject: &Subject) -> Vec<Row> {
        let bytes: usize = subject.json.iter().map(Vec::len).sum();
        let wide = subject.name == "wide20";
        let mb = ("MB/s of JSON", bytes as f64 / 1e6);
        let rows = ("M rows/s", ROWS as f64 / 1e6);
        let row = |names: [&'static str; 2], (unit, amount): (&'static str, f64), ours: &[f64], theirs: &[f64]| {
            let rate = |seconds: &[f64]| seconds.iter().map(|seconds| amount / seconds).collect();
            Row { name: names[usize::from(!wide)], unit, weir: rate(ours), kafka: rate(theirs) }
        };
        let (json, avro, protobuf) = (&self.json, &self.avro, &self.protobuf);
        vec![
            row(
                ["20: JSON decode, exact / arrow-json", "44: JSON decode, exact / arrow-json"],
                mb,
                &self.exact,
                &self.arrow_json,
            ),
            row(["20: JSON decode / arrow-json", "44: JSON decode / arrow-json"], mb, &self.semantic, &self.arrow_json),
            row(
                ["20: JSON encode, exact / arrow-json", "44: JSON encode, exact / arrow-json"],
                mb,
                &self.written,
                &self.arrow_json_written,
            ),
            row(["20: Avro decode / our JSON", "44: Avro decode / our JSON"], rows, &avro.read, &json.read),
            row(["20: Avro encode / our JSON", "44: Avro encode / our JSON"], rows, &avro.written, &json.written),
            row(
                ["20: Avro encode / arrow-json", "44: Avro encode / arrow-json"],
                rows,
                &avro.written,
                &self.arrow_json_written,
            ),
            row(
                ["20: Avro decode / apache-avro", "44: Avro decode / apache-avro"],
                rows,
                &avro.read,
                &self.avro_library,
            ),
            row(["20: Protobuf decode / our JSON", "44: Protobuf decode / our JSON"], rows, &protobuf.read, &json.read),
            row(
                ["20: Protobuf encode / our JSON", "44: Protobuf encode / our JSON"],
                rows,
                &protobuf.written,
                &json.written,
            ),
            row(
                ["20: Protobuf encode / arrow-json", "44: Protobuf encode / arrow-json"],
                rows,
                &protobuf.written,
                &self.arrow_json_written,
            ),
            row(
                ["20: Protobuf decode / prost-reflect", "44: Protobuf decode / prost-reflect"],
                rows,
                &protobuf.read,
                &self.protobuf_library,
            ),
        ]
    }
}
