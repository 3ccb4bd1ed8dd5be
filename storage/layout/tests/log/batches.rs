//! Batches that came as columns: plain readers get rows, from memory, the write-ahead log, segments of rows and of columns.
use arrow_array::TimestampMillisecondArray;
use weir_layout::{BatchColumns, batch_of_columns};
use weir_storage::log::BatchForm;

use super::*;

/// A row as a table's columns are written that have no form of their own.
fn canonical(rng: &mut StdRng, id: i64) -> String {
    let mut row = format!(r#"{{"id":{id}"#);
    if rng.random() {
        let city = ["Ulm", "Z\u{fc}rich", r#"a \"b\""#, ""][rng.random_range(0..4)];
        row += &format!(r#","city":"{city}{}""#, "x".repeat(rng.random_range(0..200)));
    }
    if rng.random() {
        row += &format!(r#","price":{}.{:02}"#, rng.random_range(0..9999), rng.random_range(0..100));
    }
    if rng.random() {
        row += [r#","score":1.5"#, r#","score":-0.0"#, r#","score":1e300"#][rng.random_range(0..3)];
    }
    if rng.random() {
        row += [r#","tags":[]"#, r#","tags":["a",null,"b"]"#][rng.random_range(0..2)];
    }
    if rng.random() {
        row +=
            [r#","place":{}"#, r#","place":{"lat":4.5}"#, r#","place":{"lat":4.5,"lon":-7.0}"#][rng.random_range(0..3)];
    }
    row + "}"
}

/// A batch of columns, and the batch of rows that readers get.
fn both(rng: &mut StdRng, table: &Arc<Table>, next_id: &mut i64, header: BatchBuilder) -> (Bytes, Bytes) {
    let header =
        header.compression([Compression::Lz4, Compression::Zstd, Compression::None][rng.random_range(0..3)], None);
    let (mut rows, mut parts) = (header.clone(), Vec::new());
    for _ in 0..rng.random_range(1..3) {
        let mut decoder = table.validator();
        let (mut keys, mut times) = (Vec::new(), Vec::new());
        for _ in 0..rng.random_range(1..400) {
            let (row, id) = (canonical(rng, *next_id), *next_id);
            decoder.push(None, Some(row.as_bytes())).unwrap();
            keys.push((id % 3 != 0).then(|| id.to_be_bytes()));
            times.push(1_000_000 + id % 50);
            let key = keys.last().unwrap().as_ref().map(|key| &key[..]);
            rows.append(key, Some(row.as_bytes()), &[], Timestamp(1_000_000 + id % 50)).unwrap();
            *next_id += 1;
        }
        let (columns, keys) =
            (decoder.finish().unwrap(), keys.iter().map(|key| key.as_ref().map(|key| &key[..])).collect());
        parts.push(BatchColumns {
            columns,
            keys: Some(keys),
            timestamps: TimestampMillisecondArray::from(times),
            headers: None,
        });
    }
    let columns = batch_of_columns(table, header, &parts).unwrap().unwrap();
    (columns, rows.build().unwrap())
}

/// Appends columns; readers are to see the rows.
async fn append_columns(
    storage: &Storage,
    (columns, rows): &(Bytes, Bytes),
    origin: AppendOrigin,
    log: &mut Vec<Seen>,
) {
    let header = BatchHeader::parse(columns).unwrap();
    let pending = PendingAppend::rows(partition(storage), BytesMut::from(&columns[..]), header, origin);
    let pending = PendingAppend { form: BatchForm::Columns, ..pending };
    let appended = storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
    let mut placed = BytesMut::from(&rows[..]);
    let epoch = partition(storage).current_epoch();
    weir_protocol::records::batch::patch_base_offset_and_epoch(&mut placed, appended.base_offset, epoch);
    log.extend(see(&placed));
}

async fn rows_come_back(layout: impl Fn(Arc<TopicLayout>) -> Layout, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let table = table();
    let topic = Arc::new(TopicLayout::new(Some(table.clone()), Codec::Zstd(1)));
    let (mut log, mut next_id, mut sequence, mut own) = (Vec::new(), 0, 0, 0);
    for epoch in 1..=3 {
        let storage = open(dir.path(), epoch, layout(topic.clone())).await;
        assert_same(&read_from(&storage, 0, 50_000).await, &log, &format!("after restart {epoch}"));
        let before = log.last().map_or(0, |seen| seen.offset);
        let merged = || partition(&storage).extents().last().is_some_and(|extent| extent.next.0 > before);
        for round in 0.. {
            if round > 100 && merged() {
                break;
            }
            if rng.random_bool(0.3) {
                append(&storage, batch(&mut rng, &mut next_id, &mut sequence), AppendOrigin::Client, &mut log).await;
                continue;
            }
            let mut header = BatchBuilder::new();
            let idempotent = rng.random();
            if idempotent {
                header = header.producer(ProducerId(99), ProducerEpoch(0), own);
            }
            let made = both(&mut rng, &table, &mut next_id, header);
            own += if idempotent { BatchHeader::parse(&made.0).unwrap().record_count } else { 0 };
            append_columns(&storage, &made, AppendOrigin::Client, &mut log).await;
            // The newest, which nothing has merged.
            let from = log.len().saturating_sub(rng.random_range(1..300));
            let expected: Vec<Seen> = log[from..].to_vec();
            let found = read_from(&storage, expected[0].offset, rng.random_range(1..200_000)).await;
            assert_same(&found, &expected, "the newest");
        }
        for _ in 0..8 {
            let from = rng.random_range(0..log.last().unwrap().offset);
            let expected: Vec<Seen> = log.iter().filter(|seen| seen.offset >= from).cloned().collect();
            let found = read_from(&storage, from, rng.random_range(1..200_000)).await;
            assert_same(&found, &expected, &format!("from {from}"));
        }
        let at = &log[rng.random_range(0..log.len())];
        let first = log.iter().find(|seen| seen.timestamp >= at.timestamp).unwrap().offset;
        let found = partition(&storage).offset_for_timestamp(Timestamp(at.timestamp)).await.unwrap().unwrap();
        assert_eq!(found.offset.0, first, "timestamp {}", at.timestamp);
        storage.shutdown().await;
        drop(storage);
    }
    let storage = open(dir.path(), 9, Layout::Row).await;
    assert_same(&read_from(&storage, 0, 1 << 20).await, &log, "with another layout");
    storage.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_become_columns() {
    rows_come_back(|layout| Layout::Column { layout, row_retention_ms: 0 }, 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_become_columns_and_rows() {
    rows_come_back(|layout| Layout::Both { layout }, 22).await;
}

/// As when the setting changed after they came.
#[tokio::test(flavor = "multi_thread")]
async fn columns_become_rows() {
    rows_come_back(|_| Layout::Row, 23).await;
}

/// A batch of one table is read by itself when the topic has another one, and merged as rows.
#[tokio::test(flavor = "multi_thread")]
async fn columns_of_a_table_that_was_changed_are_read_as_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(24);
    let mut other =
        TableSchema::create(ddl::parse("id BIGINT NOT NULL, score DOUBLE, more STRING").unwrap(), &[]).unwrap();
    other.version = 2;
    let other = Table::new(vec![Arc::new(other)], RowFormat::json(), None, TableOptions::default()).unwrap();
    let layout = |table: Arc<Table>| {
        let layout = Arc::new(TopicLayout::new(Some(table), Codec::Zstd(1)));
        Layout::Column { layout, row_retention_ms: 0 }
    };
    let (table, mut log, mut next_id) = (table(), Vec::new(), 0);
    let storage = open(dir.path(), 1, layout(Arc::new(other))).await;
    while partition(&storage).extents().is_empty() {
        append_columns(
            &storage,
            &both(&mut rng, &table, &mut next_id, BatchBuilder::new()),
            AppendOrigin::Client,
            &mut log,
        )
        .await;
    }
    assert!(partition(&storage).extents()[0].columns);
    assert_same(&read_from(&storage, 0, 100_000).await, &log, "of another table");
    storage.shutdown().await;
}

/// Whatever is wrong with one is an error that says so; no reader gets other rows.
#[test]
fn batches_that_are_not_what_their_header_says_do_not_open() {
    let format = Format::new(MemoryBudget::new(64 << 20));
    let (mut rng, mut next_id) = (StdRng::seed_from_u64(25), 0);
    let (good, _) = both(&mut rng, &table(), &mut next_id, BatchBuilder::new());
    let open = |batch: &[u8]| weir_storage::segment::ColumnFormat::open_batch(&format, Bytes::copy_from_slice(batch));
    assert!(open(&good).is_ok());
    let count = BatchHeader::parse(&good).unwrap().record_count;
    for (at, other) in [(57, count + 1), (57, count - 1), (57, i32::MAX), (23, count), (23, i32::MAX)] {
        let mut wrong = good.to_vec();
        wrong[at..at + 4].copy_from_slice(&other.to_be_bytes());
        assert!(open(&wrong).is_err(), "{at}: {other}");
    }
    let mut beyond = good.to_vec();
    beyond[..8].copy_from_slice(&i64::MAX.to_be_bytes());
    assert!(open(&beyond).is_err());
    for cut in [0, 20, 61, 62, good.len() / 2, good.len() - 1] {
        assert!(open(&good[..cut]).is_err(), "{cut}");
    }
}

/// A small segment fills what a merge may hold: it was written again with one batch of the log each time. Seen failing so.
#[tokio::test(flavor = "multi_thread")]
async fn merges_get_on_where_memory_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(26);
    let (table, mut log) = (table(), Vec::new());
    let topic = Arc::new(TopicLayout::new(Some(table), Codec::Lz4));
    let layout = Layout::Column { layout: topic, row_retention_ms: 0 };
    let storage = open_within(dir.path(), 1, layout, 64 << 20, 32 << 20).await;
    for id in 0..20_000 {
        let mut builder = BatchBuilder::new();
        let city: String = (0..900).map(|_| rng.random_range('!'..='~')).filter(|c| !matches!(c, '"' | '\\')).collect();
        builder.append(None, Some(format!(r#"{{"id":{id},"city":"{city}"}}"#).as_bytes()), &[], Timestamp(id)).unwrap();
        append(&storage, builder.build().unwrap(), AppendOrigin::Client, &mut log).await;
    }
    // The log holds 8 MiB at most, and this is twice as much.
    settled(&storage, "merges", || partition(&storage).extents().last().is_some_and(|extent| extent.next.0 > 9_000))
        .await;
    assert_same(&read_from(&storage, 0, 200_000).await, &log, "after many merges");
    storage.shutdown().await;
}

/// Keys that come beside a table's key columns are what these are read from, as of rows.
#[test]
fn keys_of_key_columns_are_looked_at_as_rows() {
    let schema = TableSchema::create(ddl::parse("id BIGINT, n INT").unwrap(), &["id"]).unwrap();
    let key = Some(weir_table::table::KeyFormat::Raw);
    let table = Table::new(vec![Arc::new(schema)], RowFormat::json(), key, TableOptions::default()).unwrap();
    let mut decoder = table.validator();
    let id = 7_i64.to_be_bytes();
    decoder.push(Some(&id), Some(br#"{"n":1}"#)).unwrap();
    let columns = decoder.finish().unwrap();
    let part = |keys| BatchColumns { columns: columns.clone(), keys, timestamps: vec![1].into(), headers: None };
    let made = |keys| batch_of_columns(&table, BatchBuilder::new(), &[part(keys)]).unwrap();
    assert!(made(Some(vec![Some(id.as_slice())].into())).is_none());
    let format = Format::new(MemoryBudget::new(64 << 20));
    let file = weir_storage::segment::ColumnFormat::open_batch(&format, made(None).unwrap()).unwrap();
    let read = file.read_admitted(Offset(0), Offset(1), 1 << 20, true, &mut |_| true).unwrap();
    let weir_storage::segment::SectionRead::Slice(slice) = read else { panic!("a row") };
    let seen = see(&slice.bytes);
    assert_eq!(
        (seen[0].key.as_deref(), seen[0].value.as_deref()),
        (Some(id.as_slice()), Some(br#"{"n":1}"#.as_slice()))
    );
}
