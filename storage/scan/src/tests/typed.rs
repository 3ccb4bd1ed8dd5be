//! Scans of typed topics over stored rows.
use arrow_array::types::{Decimal128Type, Float64Type, Int32Type};
use naive::{Kind, Predicate, Value};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use weir_layout::BatchColumns;
use weir_protocol::records::{DecompressLimits, batches, decode};
use weir_table::schema::Change;
use weir_table::table::{KeyFormat, RowFormat, TableOptions};
use weir_table::{Table, TableSchema, ddl};

use super::*;
use crate::system::SystemBuilder;

fn table_of(versions: Vec<TableSchema>) -> Arc<Table> {
    let versions = versions.into_iter().map(Arc::new).collect();
    Arc::new(Table::new(versions, RowFormat::json(), None, TableOptions::default()).unwrap())
}

fn schema_of(text: &str) -> TableSchema {
    TableSchema::create(ddl::parse(text).unwrap(), &[]).unwrap()
}

fn typed(table: &Arc<Table>, version: Option<i32>, request: &ScanRequest) -> Result<Arc<ScanPlan>, ScanPlanError> {
    ScanPlan::typed(table, version, request, ResultRows::Arrow, Clock::At(0)).map(Arc::new)
}

fn batch_of_rows(values: &[Option<Vec<u8>>], compression: Compression) -> bytes::Bytes {
    let mut builder = BatchBuilder::new().compression(compression, None);
    for (at, value) in values.iter().enumerate() {
        builder
            .append(
                Some(b"k"),
                value.as_deref(),
                &[("h", Some(b"1"))].map(|(k, v)| (k.as_bytes(), v.map(|v: &[u8; 1]| v.as_slice()))),
                Timestamp(at as i64),
            )
            .unwrap();
    }
    builder.build().unwrap()
}

/// The same records as columns; `None`: rows would not say the same.
fn batch_of_columns(values: &[Option<Vec<u8>>], table: &Arc<Table>, header: BatchBuilder) -> Option<bytes::Bytes> {
    let mut decoder = table.validator();
    let mut parts = ["_key", "_timestamp", "_headers"].map(|name| SystemBuilder::new(name).unwrap());
    let rows = batch_of_rows(values, Compression::None);
    let opened = decode(&rows, &DecompressLimits::default()).unwrap();
    for record in opened.records() {
        let record = record.unwrap();
        decoder.push(record.key, record.value).unwrap();
        let (offset, timestamp) = (record.offset(&opened.header), record.timestamp(&opened.header));
        parts.iter_mut().for_each(|part| part.append(0, offset, timestamp, &record));
    }
    let [keys, timestamps, headers] = parts.map(|mut part| part.finish());
    let part = BatchColumns {
        columns: decoder.finish().unwrap(),
        keys: Some(keys.as_binary::<i32>().clone()),
        timestamps: timestamps.as_primitive::<TimestampMillisecondType>().clone(),
        headers: Some(headers.as_list::<i32>().clone()),
    };
    weir_layout::batch_of_columns(table, header.compression(Compression::Lz4, None), &[part]).unwrap()
}

impl Log {
    async fn rows(&self, values: &[Option<Vec<u8>>], compression: Compression) {
        self.append(batch_of_rows(values, compression), AppendOrigin::Client).await;
    }

    /// As a broker does that has decoded the rows to check them.
    async fn kept_rows(&self, values: &[Option<Vec<u8>>], tail: &weir_layout::KeptTail, table: &Arc<Table>) {
        let batch = batch_of_rows(values, Compression::Lz4);
        let mut keeper = weir_layout::BatchKeeper::new(tail, table, 0).unwrap();
        let opened = decode(&batch, &DecompressLimits::default()).unwrap();
        for record in opened.records() {
            let _ = keeper.push(&opened.header, &record.unwrap());
        }
        self.append_kept(batch.clone(), AppendOrigin::Client, tail.keep(keeper, &opened.header)).await;
    }

    /// Rows as the columns that they are.
    async fn columns(&self, values: &[Option<Vec<u8>>], table: &Arc<Table>) {
        match batch_of_columns(values, table, BatchBuilder::new()) {
            Some(batch) => self.append_columns(batch, AppendOrigin::Client).await,
            None => self.rows(values, Compression::Lz4).await,
        }
    }

    async fn json(&self, rows: &[&str]) {
        let values: Vec<_> = rows.iter().map(|row| Some(row.as_bytes().to_vec())).collect();
        self.rows(&values, Compression::Lz4).await;
    }

    /// Waits until the record at an offset is stored as columns; whether it is. (What is little at a time becomes rows.)
    async fn columns_within(&self, patience: Duration, offset: i64) -> bool {
        let until = std::time::Instant::now() + patience;
        while !self.partition.stores_columns_at(Offset(offset)) {
            if std::time::Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    async fn all(&self, plan: &Arc<ScanPlan>) -> ScanResult {
        let scan = Scan::new(plan.clone(), self.partition.clone(), self.storage.cpu().clone(), Offset(0), limits());
        scan.run(LONG).await.unwrap().finish().unwrap()
    }
}

/// What the cell of a result is.
fn value(column: &dyn Array, row: usize, kind: &Kind) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match kind {
        Kind::Int => Value::Int(column.as_primitive::<Int32Type>().value(row).into()),
        Kind::BigInt => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        Kind::Double => Value::Double(column.as_primitive::<Float64Type>().value(row)),
        Kind::Text => Value::Text(column.as_string::<i32>().value(row).to_owned()),
        Kind::Bool => Value::Bool(column.as_boolean().value(row)),
        Kind::Cents => Value::Cents(column.as_primitive::<Decimal128Type>().value(row) as i64),
        Kind::Place => {
            let members = column.as_struct();
            let member =
                |name: &'static str, kind| members.column_by_name(name).map(|column| (name, value(column, row, &kind)));
            let more = members.column_by_name("more").map(|more| match more.is_null(row) {
                true => ("more", Value::Null),
                false => ("more", Value::Row(vec![("n", value(more.as_struct().column(0), row, &Kind::BigInt))])),
            });
            let parts = [member("city", Kind::Text), member("zip", Kind::Int), more];
            Value::Row(parts.into_iter().flatten().collect())
        }
    }
}

/// The part of a value that a path keeps.
fn kept(value: &Value, path: Option<&str>) -> Value {
    match (value, path) {
        (Value::Row(members), Some(path)) => {
            Value::Row(members.iter().filter(|(name, _)| *name == path).cloned().collect())
        }
        _ => value.clone(),
    }
}

/// One case: a random table, random rows in random batches, a random projection and predicate, and random limits.
async fn check(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let names = ["c0", "a.b", "Mixed Case", "user", "x\"y", "é", "select"];
    let columns: Vec<(String, Kind)> = (0..rng.random_range(1..names.len()))
        .map(|at| (names[at].to_owned(), Kind::ALL[rng.random_range(0..Kind::ALL.len())].clone()))
        .filter(|(name, kind)| !(name.contains('"') && *kind == Kind::Place))
        .collect();
    let text: Vec<_> =
        columns.iter().map(|(name, kind)| format!("\"{}\" {}", name.replace('"', "\"\""), kind.ddl())).collect();
    let table = table_of(vec![schema_of(&text.join(", "))]);
    let quoted: Vec<(String, Kind)> =
        columns.iter().map(|(name, kind)| (name.replace('"', "\"\""), kind.clone())).collect();
    let clustered: Vec<String> =
        columns.iter().filter(|(_, kind)| *kind != Kind::Place && rng.random()).map(|(name, _)| name.clone()).collect();
    let topic = TopicLayout::new(Some(table.clone()), weir_column::Codec::Zstd(1));
    let topic = Arc::new(topic.clustered_by(&clustered).with_cluster_rows_min(rng.random_range(1..40)));
    let log = log_in(match seed % 3 {
        0 => Layout::Row,
        1 => Layout::Both { layout: topic },
        _ => Layout::Column { layout: topic, row_retention_ms: 0 },
    })
    .await;
    let mut rows = Vec::new();
    let tail = weir_layout::KeptTail::new(log.storage.memory());
    for _ in 0..rng.random_range(1..12) {
        let mut batch: Vec<_> = (0..rng.random_range(1..60)).map(|_| naive::row(&columns, &mut rng)).collect();
        let as_columns = rng.random_bool(0.3);
        if as_columns {
            // What is no row of the table cannot come as one.
            let mut decoder = table.validator();
            batch.retain(|(value, _)| decoder.push(Some(b"k"), value.as_deref()).is_ok());
        }
        if batch.is_empty() {
            continue;
        }
        let compression = Compression::ALL[rng.random_range(0..Compression::ALL.len())];
        let values: Vec<_> = batch.iter().map(|(value, _)| value.clone()).collect();
        match (as_columns, rng.random()) {
            (true, _) => log.columns(&values, &table).await,
            (false, true) => log.kept_rows(&values, &tail, &table).await,
            (false, false) => log.rows(&values, compression).await,
        }
        rows.extend(batch.into_iter().map(|(_, values)| values));
    }
    // Half of the time all of it is still on its way.
    if !seed.is_multiple_of(3) && rng.random() && log.partition.size_bytes() > 8 << 10 {
        log.columns_within(Duration::from_millis(500), 0).await;
    }
    for _ in 0..4 {
        let predicate = rng.random_bool(0.9).then(|| Predicate::random(&columns, &mut rng));
        let sql = predicate.as_ref().map(|p| p.sql(&quoted, &mut rng));
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.shuffle(&mut rng);
        order.truncate(rng.random_range(0..columns.len() + 1));
        let wanted: Vec<(usize, Option<&str>)> =
            order.iter().map(|at| (*at, (columns[*at].1 == Kind::Place && rng.random()).then_some("zip"))).collect();
        let path = |(at, part): &(usize, Option<&str>)| {
            format!("\"{}\"{}", quoted[*at].0, part.map_or(String::new(), |part| format!(".{part}")))
        };
        let paths: Vec<String> = wanted.iter().map(path).collect();
        let request = ScanRequest { projection: Some(paths), predicate: sql.clone().map(String::into_bytes) };
        let plan = typed(&table, None, &request).unwrap_or_else(|e| panic!("seed {seed}: {sql:?}: {e}"));
        let limits = ScanLimits {
            max_bytes: *[1, 500, 1 << 20].get(rng.random_range(0..3)).unwrap(),
            max_scan_bytes: *[1, 5000, u64::MAX].get(rng.random_range(0..3)).unwrap(),
            ..limits()
        };
        let (results, offsets) = log.steps(&plan, limits).await;
        let outcome = |at: usize| predicate.as_ref().map_or(Ok(Some(true)), |p| p.eval(at as i64, &rows[at]));
        let expected: Vec<i64> =
            (0..rows.len()).filter(|at| outcome(*at) == Ok(Some(true))).map(|at| at as i64).collect();
        assert_eq!(offsets, expected, "seed {seed}: {sql:?} over {columns:?}");
        let errored: u64 = results.iter().map(|r| r.counters.rows_errored).sum();
        let raising = (0..rows.len()).filter(|at| outcome(*at).is_err()).count() as u64;
        // Rows that statistics rule out are not looked at.
        let pruned: u64 = results.iter().map(|r| r.counters.groups_pruned).sum();
        assert!(errored == raising || pruned > 0 && errored < raising, "seed {seed}: {errored} {raising} {sql:?}");
        let mut found: Vec<Vec<Value>> = Vec::new();
        for scanned in results.iter().flat_map(|r| &r.batches) {
            let cell = |row: usize, place: usize| value(scanned.batch.column(place), row, &columns[wanted[place].0].1);
            found.extend((0..scanned.batch.num_rows()).map(|row| (0..wanted.len()).map(|at| cell(row, at)).collect()));
        }
        let expected = expected.iter().map(|at| -> Vec<Value> {
            wanted.iter().map(|(column, part)| kept(&rows[*at as usize][*column], *part)).collect()
        });
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(*found, expected, "seed {seed}: match {at}, {wanted:?} of {columns:?}");
        }
        let in_windows = log.in_windows(&plan, limits).await;
        assert_eq!(in_windows, offsets, "seed {seed}: {sql:?} in windows by {clustered:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// SCAN-1: what a naive evaluator finds row by row is what scans return, however rows are batched and scans are cut. Seen
    /// failing when a value that does not fit made nulls of the other columns that were read with it.
    #[test]
    fn scans_find_what_a_naive_reader_finds(seed in any::<u64>()) {
        static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> =
            std::sync::LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());
        RUNTIME.block_on(check(seed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_read_by_field_id_and_results_carry_ids() {
    let first = schema_of("id INT NOT NULL, user ROW<name STRING, address ROW<city STRING, zip STRING>>, old STRING");
    let rename = Change::Rename { path: vec!["user".into()], to: "person".into() };
    let widen = Change::Widen { path: vec!["id".into()], to: weir_table::DataType::BigInt };
    let drop = Change::Drop { path: vec!["old".into()] };
    let second = first.evolve(&[rename, widen, drop]).unwrap();
    let table = table_of(vec![first, second]);
    let log = log().await;
    log.json(&[r#"{"id":1,"user":{"name":"A","address":{"city":"Ulm","zip":"1"}},"old":"x"}"#]).await;
    log.json(&[r#"{"id":2,"person":{"name":"B","address":{"city":"Bern","zip":"2"}}}"#]).await;
    let read = async |version: Option<i32>, paths: Option<&[&str]>, predicate: Option<&str>| {
        let plan = typed(&table, version, &request(paths, predicate)).unwrap();
        (plan.schema_id(), log.all(&plan).await)
    };
    let (id, old) = read(Some(1), None, None).await;
    let batch = &old.batches[0].batch;
    assert_eq!((id, batch.num_columns(), batch.num_rows()), (1, 3, 2));
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[1, 2]);
    assert_eq!(batch.schema().fields()[1].name(), "user");
    let (id, new) = read(None, Some(&["person.address.city", "_offset"]), Some("person.address.zip = '2'")).await;
    assert_eq!((id, new.counters.rows_returned, new.batches[0].first_offset), (2, 1, 1));
    let schema = new.batches[0].batch.schema();
    assert_eq!(schema.field(0).data_type().to_string().matches("Field").count(), 0, "{schema:?}");
    assert_eq!(schema.field(0).metadata()["PARQUET:field_id"], "2");
    assert_eq!(schema.metadata()["weir.schema.version"], "2");
    let city = new.batches[0].batch.column(0).as_struct().column(0).as_struct().column(0).as_string::<i32>().value(0);
    assert_eq!(city, "Bern");
    for predicate in ["user.address.city = 'Bern'", "user['address']['city'] = 'Bern'", "user.address['city'] = 'Bern'"]
    {
        assert_eq!(read(Some(1), Some(&[]), Some(predicate)).await.1.counters.rows_returned, 1, "{predicate}");
    }
    for predicate in
        ["person['address']['city'] = 'Bern'", "person.address['city'] = 'Bern'", "person['address'].city = 'Bern'"]
    {
        assert_eq!(read(None, Some(&[]), Some(predicate)).await.1.counters.rows_returned, 1, "{predicate}");
    }
    let error = typed(&table, Some(7), &request(None, None)).unwrap_err();
    assert_eq!(error.to_string(), "the table has no schema version 7; it has 1 to 2, and -1 asks for the current one");
    for (predicate, expected) in [
        ("person.adress.city = 'x'", "did you mean address"),
        ("person['address']['town'] = 'x'", "town"),
        ("user.name = 'x'", "there is id, person, _partition"),
    ] {
        let error = typed(&table, None, &request(None, Some(predicate))).unwrap_err().to_string();
        assert!(error.contains(expected), "{predicate}: {error}");
    }
}

/// Seen failing when only the columns that are read decided what a name means: `land` then had what `country` holds.
#[tokio::test(flavor = "multi_thread")]
async fn name_that_is_in_use_again_means_its_column_whatever_else_is_read() {
    let first = schema_of("id INT, country STRING");
    let second = first.evolve(&[Change::Rename { path: vec!["country".into()], to: "land".into() }]).unwrap();
    let field = weir_table::schema::Field::new("country", weir_table::DataType::String);
    let third = second.evolve(&[Change::Add { path: Vec::new(), field }]).unwrap();
    let table = table_of(vec![first, second, third]);
    let log = log().await;
    log.json(&[r#"{"id":1,"land":"DE","country":"FR"}"#, r#"{"id":2,"country":"FR"}"#]).await;
    for paths in [None, Some(&["land"][..]), Some(&["id", "land"][..])] {
        let plan = typed(&table, None, &request(paths, None)).unwrap();
        let result = log.all(&plan).await;
        let lands = result.batches[0].batch.column_by_name("land").unwrap().as_string::<i32>();
        assert_eq!(lands.iter().collect::<Vec<_>>(), [Some("DE"), None], "{paths:?}");
    }
}

/// Offset, key, value, timestamp, number of headers.
type Found = (i64, Option<String>, Option<String>, i64, usize);

fn records_of(batches_bytes: &[bytes::Bytes]) -> Vec<Found> {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut found = Vec::new();
    for batch in batches_bytes.iter().flat_map(|bytes| batches(bytes)) {
        let batch = batch.unwrap();
        let decoded = decode(batch.bytes, &DecompressLimits::default()).unwrap();
        for record in decoded.records() {
            let record = record.unwrap();
            let offset = record.offset(&batch.header).0;
            let timestamp = record.timestamp(&batch.header).0;
            found.push((offset, text(record.key), text(record.value), timestamp, record.headers.len()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn matching_rows_become_records_with_their_offsets_keys_timestamps_and_headers() {
    let table = table_of(vec![schema_of("id INT, city STRING, at ROW<x INT, y INT>")]);
    let log = log().await;
    for i in 0..40 {
        let row = format!("{{ \"id\": {i}, \"city\": \"c{}\", \"at\": {{\"x\": 1, \"y\": {i}}}, \"more\": 1 }}", i % 3);
        log.rows(&[Some(row.into_bytes()), None], Compression::Zstd).await;
    }
    let plan = |paths: Option<&[&str]>, predicate: Option<&str>| {
        ScanPlan::typed(&table, None, &request(paths, predicate), ResultRows::Kafka, Clock::At(0))
    };
    let read = async |paths: Option<&[&str]>, predicate: Option<&str>| {
        let plan = Arc::new(plan(paths, predicate).unwrap());
        let result = log.all(&plan).await;
        let epoch = |offset| log.partition.epoch_at(offset);
        records_of(&encode_records(&plan, &result.batches, Compression::Lz4, &epoch).unwrap().batches)
    };
    let same = read(None, Some("id = 7")).await;
    let bytes = "{ \"id\": 7, \"city\": \"c1\", \"at\": {\"x\": 1, \"y\": 7}, \"more\": 1 }";
    assert_eq!(same, [(14, Some("k".into()), Some(bytes.into()), 0, 1)]);
    let pruned = read(Some(&["at.y", "city"]), Some("id BETWEEN 7 AND 8 OR _offset = 3")).await;
    let values: Vec<_> = pruned.iter().map(|(offset, _, value, ..)| (*offset, value.as_deref())).collect();
    assert_eq!(
        values,
        [(3, None), (14, Some("{\"at\":{\"y\":7},\"city\":\"c1\"}")), (16, Some("{\"at\":{\"y\":8},\"city\":\"c2\"}"))]
    );
    assert_eq!(read(None, None).await.len(), 80);
    assert!(plan(Some(&["_offset"]), None).unwrap_err().to_string().contains("leave _offset out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_columns_come_out_of_keys() {
    let schema = TableSchema::create(ddl::parse("k STRING, v INT").unwrap(), &["k"]).unwrap();
    let table = Table::new(vec![Arc::new(schema)], RowFormat::json(), Some(KeyFormat::Raw), TableOptions::default());
    let table = Arc::new(table.unwrap());
    let log = log().await;
    log.rows(&[Some(b"{\"v\":1}".to_vec()), Some(b"broken".to_vec()), None], Compression::None).await;
    let plan = typed(&table, None, &request(Some(&["v", "k"]), Some("k = 'k'"))).unwrap();
    let result = log.all(&plan).await;
    let batch = &result.batches[0].batch;
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(1), None, None]);
    assert_eq!(batch.column(1).as_string::<i32>().iter().flatten().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_decoded_once_for_all_readers_inside_the_budget() {
    let table = table_of(vec![schema_of("id INT, pad STRING")]);
    let log = log().await;
    for batch in 0..40 {
        let row = |i: i32| Some(format!("{{\"id\":{i},\"pad\":\"{}\"}}", "x".repeat(40)).into_bytes());
        log.rows(&(0..500).map(|i| row(batch * 500 + i)).collect::<Vec<_>>(), Compression::Lz4).await;
    }
    let budget = weir_storage::memory::MemoryBudget::new(64 << 20);
    let cache = RowCache::new(&budget);
    let plan = typed(&table, None, &request(Some(&["id"]), Some("id % 1000 = 7"))).unwrap();
    let wide = typed(&table, None, &request(None, Some("id % 1000 = 7"))).unwrap();
    let read = async |plan: &Arc<ScanPlan>, from: i64, limits: ScanLimits| {
        let (partition, cpu) = (log.partition.clone(), log.storage.cpu().clone());
        let (mut next, mut found, mut cached) = (Offset(from), Vec::new(), 0);
        loop {
            let scan = Scan::new(plan.clone(), partition.clone(), cpu.clone(), next, limits).with_cache(&cache);
            let scan = scan.run(LONG).await.unwrap();
            let more = scan.is_exhausted();
            let result = scan.finish().unwrap();
            (next, cached) = (result.next, cached + result.counters.rows_cached);
            found.extend(result.batches.iter().flat_map(offsets_of));
            if !more {
                return (found, cached);
            }
        }
    };
    let expected: Vec<i64> = (0..20).map(|i| i * 1000 + 7).collect();
    assert_eq!(read(&plan, 0, limits()).await, (expected.clone(), 0));
    assert!(cache.bytes() > 20_000 * 4 && cache.bytes() == budget.used(), "{} of {}", cache.bytes(), budget.used());
    assert_eq!(read(&plan, 0, limits()).await, (expected.clone(), 20_000));
    let (found, cached) = read(&plan, 1234, limits()).await;
    assert!(found == expected[2..] && cached >= 20_000 - 1234, "{found:?} {cached}");
    assert_eq!(read(&plan, 0, ScanLimits { max_bytes: 1, ..limits() }).await.0, expected, "cut after every row");
    assert_eq!(read(&plan, 0, ScanLimits { max_scan_bytes: 1, ..limits() }).await.0, expected, "budgets hold");
    assert_eq!(read(&wide, 0, limits()).await, (expected.clone(), 0), "other columns are decoded anew");
    let committed = ScanLimits { visible: ReadLimit::LastStable, ..limits() };
    assert_eq!(read(&plan, 0, committed).await, (expected.clone(), 0), "readers of other rows too");
    // Whoever needs the memory gets it.
    weir_storage::memory::Reclaim::reclaim(&*cache, usize::MAX);
    assert_eq!((cache.bytes(), budget.used_by(weir_storage::memory::Share::Tail)), (0, 0));
    assert_eq!(read(&plan, 0, limits()).await.0, expected);
}

/// Coverage: the property test is worth nothing if merges never wrote columns.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_read_alone_and_row_groups_that_cannot_match_not_at_all() {
    let table = table_of(vec![schema_of("id BIGINT, city STRING, filler STRING")]);
    let topic = Arc::new(TopicLayout::new(Some(table.clone()), weir_column::Codec::None));
    let log = log_in(Layout::Column { layout: topic, row_retention_ms: 0 }).await;
    let filler = |i: i32| format!("{i:0200}");
    for i in 0..400 {
        let row = format!("{{\"id\":{i},\"city\":\"c{}\",\"filler\":\"{}\"}}", i % 3, filler(i));
        log.rows(&[Some(row.into_bytes())], Compression::None).await;
    }
    assert!(log.columns_within(Duration::from_secs(60), 350).await);
    let read = async |paths: &[&str], predicate: &str| {
        log.all(&typed(&table, None, &request(Some(paths), Some(predicate))).unwrap()).await
    };
    let all = read(&["id", "city", "filler"], "id >= 0").await;
    assert_eq!(all.counters.rows_returned, 400);
    assert!(all.counters.groups_read > 0, "{:?}", all.counters);
    let narrow = read(&["id"], "id >= 0").await;
    assert_eq!(narrow.counters.rows_returned, 400);
    assert!(narrow.counters.bytes_scanned < all.counters.bytes_scanned * 3 / 4, "{:?}", narrow.counters);
    let none = read(&["filler"], "id = 2 AND city = 'x'").await;
    assert_eq!((none.counters.rows_returned, none.next), (0, Offset(400)));
    assert!(none.counters.groups_pruned > 0, "{:?}", none.counters);
    assert!(none.counters.bytes_scanned < all.counters.bytes_scanned, "{:?}", none.counters);
    let value = read(&["_value", "_timestamp", "_partition", "_key"], "_offset = 7").await;
    let batch = &value.batches[0].batch;
    assert_eq!(
        batch.column(0).as_binary::<i32>().value(0),
        format!("{{\"id\":7,\"city\":\"c1\",\"filler\":\"{}\"}}", filler(7)).as_bytes()
    );
    assert_eq!(batch.column(2).as_primitive::<Int32Type>().value(0), 3);
}

/// A reader of one of a hundred values reads 3 % of what is stored at most, and with it of the rows that it asked for none but
/// once. Seen failing without `clustered_by`: nothing is ruled out.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_one_value_of_a_clustered_column_reads_little_else() {
    let table = table_of(vec![schema_of("shop STRING, day INT, id BIGINT, filler STRING")]);
    let topic = TopicLayout::new(Some(table.clone()), weir_column::Codec::Zstd(1));
    let topic = Arc::new(topic.clustered_by(&["shop".to_owned(), "day".to_owned()]).with_cluster_rows_min(64));
    let log = log_in(Layout::Column { layout: topic, row_retention_ms: 0 }).await;
    let mut rng = StdRng::seed_from_u64(3);
    let shops: Vec<usize> = (0..60_000).map(|_| rng.random_range(0..100)).collect();
    for (nth, shops) in shops.chunks(1000).enumerate() {
        let row = |(at, shop): (usize, &usize)| {
            let id = nth * 1000 + at;
            let filler = rng.random::<u64>();
            Some(format!(r#"{{"shop":"s{shop:02}","day":{},"id":{id},"filler":"{filler}"}}"#, id / 20_000).into_bytes())
        };
        let rows: Vec<_> = shops.iter().enumerate().map(row).collect();
        log.rows(&rows, Compression::None).await;
    }
    assert!(log.columns_within(Duration::from_secs(60), 30_000).await);
    for (predicate, most) in [("shop = 's42'", 3), ("shop >= 's42' AND shop < 's52'", 14), ("id >= 0", 100)] {
        let plan = typed(&table, None, &request(Some(&["id", "filler"]), Some(predicate))).unwrap();
        let found = explain(&plan, &log.partition, Offset(0), ReadLimit::HighWatermark).unwrap();
        assert!(found.row_groups > 100 && found.column_bytes > 400 << 10, "{found:?}");
        let read = found.column_bytes - found.bytes_of_skipped_groups;
        assert!(read * 100 <= found.column_bytes * most, "{predicate}: {found:?}");
        let wanted = |shop: &usize| match most {
            3 => *shop == 42,
            14 => (42..52).contains(shop),
            _ => true,
        };
        let expected: Vec<i64> = (0..).zip(&shops).filter(|(_, shop)| wanted(shop)).map(|(at, _)| at).collect();
        assert_eq!(log.steps(&plan, ScanLimits { max_bytes: 50_000, ..limits() }).await.1, expected, "{predicate}");
    }
}

/// Batches that came as columns are read as columns, from wherever they are: not merged, in a column file, and in rows where their
/// topic has no columns any more. Of aborted transactions nothing is seen.
#[tokio::test(flavor = "multi_thread")]
async fn batches_of_columns_are_scanned_where_they_are() {
    let table = table_of(vec![schema_of("id BIGINT NOT NULL, city STRING, score DOUBLE")]);
    let topic = Arc::new(TopicLayout::new(Some(table.clone()), weir_column::Codec::Zstd(1)));
    let log = log_in(Layout::Column { layout: topic, row_retention_ms: 0 }).await;
    let row = |id: i64| Some(format!(r#"{{"id":{id},"city":"c{}","score":{id}.5}}"#, id % 7).into_bytes());
    let rows = |from: i64| (from..from + 20).map(row).collect::<Vec<_>>();
    // Committed, aborted, and of nobody.
    for (round, control) in [ControlType::Commit, ControlType::Abort].into_iter().enumerate() {
        let header = BatchBuilder::new().producer(ProducerId(3), ProducerEpoch(0), 20 * round as i32).transactional();
        let guard = log.partition.transaction_guard(ProducerId(3), ProducerEpoch(0));
        let origin = guard.map_or(AppendOrigin::Client, AppendOrigin::Verified);
        log.append_columns(batch_of_columns(&rows(21 * round as i64), &table, header).unwrap(), origin).await;
        log.end_transaction(3, control).await;
    }
    log.columns(&rows(42), &table).await;
    assert!(log.partition.column_part(Offset(45)).unwrap().is_some_and(|part| part.is_batch));
    let request = request(Some(&["score", "_offset"]), Some("city = 'c3' AND id > 9"));
    let plan = typed(&table, None, &request).unwrap();
    let found = async |visible: ReadLimit| {
        let limits = ScanLimits { visible, ..limits() };
        let scan = Scan::new(plan.clone(), log.partition.clone(), log.storage.cpu().clone(), Offset(5), limits);
        let result = scan.run(LONG).await.unwrap().finish().unwrap();
        let offsets = |batch: &RecordBatch| batch.column(1).as_primitive::<Int64Type>().values().to_vec();
        (result.batches.iter().flat_map(|scanned| offsets(&scanned.batch)).collect::<Vec<_>>(), result.next.0)
    };
    for merged in [false, true] {
        if merged {
            while log.partition.column_part(Offset(61)).unwrap().is_none_or(|part| part.is_batch) {
                log.columns(&rows(1_000), &table).await;
            }
        }
        let end = log.partition.offsets().high_watermark.0;
        let expect = |offsets: &[i64]| {
            let more = (62..end).filter(|at| (1_000 + (at - 62) % 20) % 7 == 3);
            offsets.iter().copied().chain(more).collect::<Vec<_>>()
        };
        assert_eq!(found(ReadLimit::LastStable).await, (expect(&[10, 17, 45, 52, 59]), end), "merged: {merged}");
        let all = expect(&[10, 17, 24, 31, 38, 45, 52, 59]);
        assert_eq!(found(ReadLimit::HighWatermark).await, (all, end), "merged: {merged}");
    }
    // Explained without being read: the column of the predicate, and what statistics rule out.
    let told = explain(&plan, &log.partition, Offset(0), ReadLimit::HighWatermark).unwrap();
    assert!(told.segments > 0 && told.bytes_of_predicate > 0, "{told:?}");
}
