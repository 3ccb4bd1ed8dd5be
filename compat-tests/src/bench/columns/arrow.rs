//! Produce of Arrow streams: what a row costs the broker that comes as columns, against the same row as JSON. Requests are encoded
//! before the clock starts; the time and the CPU are those until all of it is merged.
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;
use weir_protocol::columnar::{ColumnarProduce, TAG};
use weir_protocol::records::{Compression, DecompressLimits, decode};
use weir_table::table::{RowFormat, Table, TableOptions};
use weir_table::{TableSchema, ddl};

use super::super::{Figure, Options, Row, report};
use super::data::Dataset;
use super::{BATCH_ROWS, MEDIUM_WAL, OnDisk, PARTITIONS, TOPIC, mib, settle, weir};
use crate::wire::Connection;

const PRODUCE_VERSION: i16 = 13;
const METADATA_VERSION: i16 = 12;
/// Rows of a stream: about 400 KiB of JSON.
const STREAM_ROWS: u64 = 512;

/// A request of a flexible version.
fn frame<R: Encodable>(key: ApiKey, version: i16, correlation: i32, body: &R) -> Result<Vec<u8>> {
    let header = RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
    let header = header.with_correlation_id(correlation).with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut bytes = BytesMut::zeroed(4);
    header.encode(&mut bytes, 2)?;
    body.encode(&mut bytes, version)?;
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.to_vec())
}

fn answer<R: Decodable>(response: &[u8], version: i16) -> Result<R> {
    let mut bytes = Bytes::copy_from_slice(response);
    ResponseHeader::decode(&mut bytes, 1)?;
    R::decode(&mut bytes, version)
}

fn topic_id(connection: &mut Connection) -> Result<Uuid> {
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let request =
        MetadataRequest::default().with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]));
    connection.send(&frame(ApiKey::Metadata, METADATA_VERSION, 1, &request)?)?;
    let mut response = Vec::new();
    connection.receive(&mut response)?;
    let found: MetadataResponse = answer(&response, METADATA_VERSION)?;
    Ok(found.topics.first().context("no such topic")?.topic_id)
}

/// The streams of a partition, from the rows that the JSON side sends, and the bytes of JSON in them.
fn streams(dataset: &Dataset, partition: u64, rows: u64) -> Result<(Vec<Bytes>, u64)> {
    let schema = Arc::new(TableSchema::create(ddl::parse(&dataset.ddl())?, &[])?);
    let table = Arc::new(Table::new(vec![schema.clone()], RowFormat::json(), None, TableOptions::default())?);
    let (batches, json_bytes) = dataset.batches(partition, rows, STREAM_ROWS, Compression::None)?;
    let mut decoder = table.decoder(&schema);
    let mut out = Vec::new();
    for batch in batches {
        let opened = decode(&batch, &DecompressLimits::default())?;
        for record in opened.records() {
            decoder.push(None, record?.value)?;
        }
        let columns = decoder.finish()?;
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &columns.schema(), options)?;
        writer.write(&columns)?;
        out.push(Bytes::from(writer.into_inner()?));
    }
    Ok((out, json_bytes))
}

fn request(topic: Uuid, streams: &[(i32, &Bytes)]) -> Result<Vec<u8>> {
    let part = |(partition, stream): &(i32, &Bytes)| {
        let crc32c = crc32c::crc32c(stream);
        let mut tag = BytesMut::new();
        ColumnarProduce { schema_id: -1, producer: None, transactional: false, crc32c }.encode(&mut tag);
        let data = PartitionProduceData::default().with_index(*partition).with_records(Some((*stream).clone()));
        data.with_unknown_tagged_fields([(TAG, tag.freeze())].into())
    };
    let data = TopicProduceData::default().with_topic_id(topic).with_partition_data(streams.iter().map(part).collect());
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    frame(ApiKey::Produce, PRODUCE_VERSION, 1, &request)
}

fn send(connection: &mut Connection, requests: &[Vec<u8>]) -> Result<()> {
    let mut response = Vec::new();
    let mut receive = |connection: &mut Connection| -> Result<()> {
        connection.receive(&mut response)?;
        let answered: ProduceResponse = answer(&response, PRODUCE_VERSION)?;
        for partition in answered.responses.iter().flat_map(|topic| &topic.partition_responses) {
            ensure!(partition.error_code == 0, "{}: {:?}", partition.error_code, partition.error_message);
        }
        Ok(())
    };
    for (at, request) in requests.iter().enumerate() {
        connection.send(request)?;
        if at >= 4 {
            receive(connection)?;
        }
    }
    (0..requests.len().min(4)).try_for_each(|_| receive(connection))
}

/// Rows as Arrow streams against rows of JSON, into the same typed topic.
pub fn produce(options: &Options) -> Result<Vec<Row>> {
    let dataset = Dataset::exposure44();
    // Several times what the log holds: what is left there was not merged, and is more rows the smaller these are.
    let (ddl, rows) = (dataset.ddl(), 200_000 * options.seconds);
    let mut configs = vec![("weir.table.schema", ddl.as_str()), ("retention.ms", "-1")];
    configs.extend(options.configs());
    let (mut arrow, mut json) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (as_columns, figures) in [(true, &mut arrow), (false, &mut json)] {
            let subject = weir(options, &MEDIUM_WAL)?;
            let mut connection = Connection::open(&subject.server.address)?;
            let started;
            let (before, json_bytes, sent_bytes);
            if as_columns {
                connection.create_topic_and_wait(TOPIC, PARTITIONS, &configs)?;
                let topic = topic_id(&mut connection)?;
                let parts: Vec<_> = (0..PARTITIONS as u64)
                    .map(|p| streams(&dataset, p, rows / PARTITIONS as u64))
                    .collect::<Result<_>>()?;
                json_bytes = parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
                let at =
                    |at: usize| parts.iter().enumerate().filter_map(move |(p, (s, _))| Some((p as i32, s.get(at)?)));
                let count = parts.iter().map(|(streams, _)| streams.len()).max().unwrap_or(0);
                let requests: Vec<_> =
                    (0..count).map(|nth| request(topic, &at(nth).collect::<Vec<_>>())).collect::<Result<_>>()?;
                sent_bytes = requests.iter().map(Vec::len).sum::<usize>();
                (before, started) = (subject.server.usage()?, Instant::now());
                send(&mut connection, &requests)?;
            } else {
                connection.create_topic_and_wait(TOPIC, PARTITIONS, &configs)?;
                let parts: Vec<_> = (0..PARTITIONS as u64)
                    .map(|p| dataset.batches(p, rows / PARTITIONS as u64, BATCH_ROWS, Compression::Zstd))
                    .collect::<Result<_>>()?;
                json_bytes = parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
                let batches: Vec<Vec<Vec<u8>>> = parts.into_iter().map(|(batches, _)| batches).collect();
                sent_bytes = batches.iter().flatten().map(Vec::len).sum::<usize>();
                (before, started) = (subject.server.usage()?, Instant::now());
                super::send(&subject.server.address, TOPIC, &batches)?;
            }
            let seconds = started.elapsed().as_secs_f64();
            settle(&subject)?;
            let after = subject.server.usage()?;
            let millions = rows as f64 / 1e6;
            figures.push(vec![
                Figure::new("rows", "M/s", millions / seconds),
                Figure::new("broker CPU, merges too", "s/M rows", (after.cpu_seconds - before.cpu_seconds) / millions),
                Figure::new(
                    "written to disk",
                    "B/row",
                    (after.written_bytes - before.written_bytes) as f64 / rows as f64,
                ),
                Figure::new("on the wire", "B/row", sent_bytes as f64 / rows as f64),
                Figure::new("peak memory", "MiB", after.peak_rss_mib),
                Figure::new("columns on disk", "MiB", mib(OnDisk::of(&subject)?.columns)),
            ]);
            println!("{} B of JSON a row", json_bytes / rows);
        }
    }
    println!("in this table \"weir\" came as Arrow streams and \"Kafka\" is the same topic of weir with rows of JSON");
    Ok(report::rows(&arrow, &json))
}
