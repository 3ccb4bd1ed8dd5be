//! Scans of readers that may not see everything: their rows, and all that is counted, are those of a log that never had what is
//! hidden from them.
//!
//! Seen failing with the guard left out of `Scan::judge`.
use weir_table::schema::{Change, FieldId};
use weir_table::table::{RowFormat, TableOptions};
use weir_table::{Table, TableSchema, ddl};

use super::*;

const COLUMNS: &str = "id INT, country STRING, amount BIGINT, secret STRING";

fn schema() -> TableSchema {
    TableSchema::create(ddl::parse(COLUMNS).unwrap(), &[]).unwrap()
}

fn table_of(versions: Vec<TableSchema>) -> Arc<Table> {
    let versions = versions.into_iter().map(Arc::new).collect();
    Arc::new(Table::new(versions, RowFormat::json(), None, TableOptions::default()).unwrap())
}

const NO_PARTS: RecordParts = RecordParts { key: false, value: false, headers: false };

/// The columns id and amount of the rows that `filter` leaves.
fn restriction(filter: Option<&str>) -> Restriction {
    let rows = filter.map(|text| RowRule::new(text, Some(&schema())).unwrap());
    let columns = Some(Readable { fields: [FieldId(1), FieldId(3)].into(), parts: NO_PARTS });
    Restriction { columns, rows }
}

fn plan(table: &Arc<Table>, request: &ScanRequest, restriction: &Restriction) -> Result<Arc<ScanPlan>, ScanPlanError> {
    let rows = ResultRows::Arrow;
    ScanPlan::restricted(Some(table), None, request, rows, Clock::At(0), restriction).map(Arc::new)
}

impl Log {
    async fn fill(&self, rows: &[String]) {
        for rows in rows.chunks(25) {
            let mut builder = BatchBuilder::new().compression(Compression::Lz4, None);
            for (at, row) in rows.iter().enumerate() {
                builder.append(Some(b"k"), Some(row.as_bytes()), &[], Timestamp(at as i64)).unwrap();
            }
            self.append(builder.build().unwrap(), AppendOrigin::Client).await;
        }
    }

    /// Until the first rows are in a column file, if they are to be.
    async fn settles(&self) -> bool {
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while !self.partition.stores_columns_at(Offset(0)) {
            if std::time::Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }
}

/// Every fifth row is of DE; the others are hidden, and what they hold would raise errors and move statistics.
fn rows(with_hidden: bool) -> Vec<String> {
    let row = |i: i64| {
        let (country, amount) = if i % 5 == 0 { ("DE", i % 50) } else { ("FR", i * 1_000) };
        format!(r#"{{"id":{i},"country":"{country}","amount":{amount},"secret":"{}"}}"#, "x".repeat((i % 97) as usize))
    };
    (0..3_000).filter(|i| with_hidden || i % 5 == 0).map(row).collect()
}

/// Values of `id`, and the counters that a reader is told.
async fn seen(log: &Log, plan: &Arc<ScanPlan>, limits: ScanLimits) -> (Vec<i32>, [u64; 3]) {
    let (results, _) = log.steps(plan, limits).await;
    let mut ids = Vec::new();
    for scanned in results.iter().flat_map(|result| &result.batches) {
        let column = scanned.batch.column_by_name("id").unwrap();
        ids.extend(column.as_primitive::<arrow_array::types::Int32Type>().values());
    }
    let sum = |of: fn(&ScanCounters) -> u64| results.iter().map(|result| of(&result.counters)).sum();
    (ids, [sum(|c| c.rows_scanned), sum(|c| c.rows_returned), sum(|c| c.rows_errored)])
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_rows_show_in_no_row_and_no_counter_however_they_are_stored() {
    let table = table_of(vec![schema()]);
    let topic = || Arc::new(TopicLayout::new(Some(table.clone()), weir_column::Codec::Zstd(1)));
    let layouts =
        [Layout::Row, Layout::Both { layout: topic() }, Layout::Column { layout: topic(), row_retention_ms: 0 }];
    for layout in layouts {
        let columns = !matches!(layout, Layout::Row);
        let (all, few) = (log_in(layout.clone()).await, log_in(layout).await);
        for (log, with_hidden) in [(&all, true), (&few, false)] {
            log.fill(&rows(with_hidden)).await;
            // Little at a time stays rows: the smaller log may.
            let settled = !columns || log.settles().await;
            assert!(settled || !with_hidden, "no column file was written");
        }
        for filter in ["country = 'DE'", "country = 'DE' AND 1 / (id % 5 + 1) = 1"] {
            let restriction = restriction(Some(filter));
            // The second raises an error for every tenth row that is seen, and would for many that are not.
            for predicate in [None, Some("100 / (amount % 50) > 3"), Some("amount > 100"), Some("id >= 0")] {
                let plan = plan(&table, &request(Some(&["id"]), predicate), &restriction).unwrap();
                for max_bytes in [1 << 20, 200] {
                    let limits = ScanLimits { max_bytes, ..limits() };
                    let (with, without) = (seen(&all, &plan, limits).await, seen(&few, &plan, limits).await);
                    assert_eq!(with, without, "{filter}, {predicate:?}, {max_bytes}, columns: {columns}");
                    assert!(with.0.iter().all(|id| id % 5 == 0), "{filter}, {predicate:?}");
                    assert_eq!(with.1[0], 600, "{filter}, {predicate:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn error_of_the_filter_hides_its_row_and_is_not_counted() {
    let table = table_of(vec![schema()]);
    let log = log().await;
    log.fill(&rows(true)).await;
    let plan = plan(&table, &request(Some(&["id"]), None), &restriction(Some("100 / (id % 3) > 0"))).unwrap();
    let (ids, counters) = seen(&log, &plan, limits()).await;
    assert!(!ids.is_empty() && ids.iter().all(|id| id % 3 != 0));
    assert_eq!(counters, [2_000, 2_000, 0]);
}

#[test]
fn hidden_columns_are_answered_as_columns_that_do_not_exist() {
    let table = table_of(vec![schema()]);
    let restriction = restriction(Some("country = 'DE'"));
    let refused = |paths: Option<&[&str]>, predicate: Option<&str>| {
        plan(&table, &request(paths, predicate), &restriction).unwrap_err().to_string()
    };
    for (hidden, absent) in [("secret", "sacred"), ("country", "county_"), ("_key", "_kex"), ("_value", "_valui")] {
        let told = refused(Some(&[hidden]), None);
        assert_eq!(told, refused(Some(&[absent]), None).replace(absent, hidden));
        let told = refused(None, Some(&format!("{hidden} IS NULL")));
        assert_eq!(told, refused(None, Some(&format!("{absent} IS NULL"))).replace(absent, hidden));
        assert!(!told.contains("did you mean"), "{told}");
    }
    let everything = plan(&table, &request(None, None), &restriction).unwrap();
    let names: Vec<_> = everything.output().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "amount"]);
    let system = plan(&table, &request(Some(&["_offset", "_timestamp", "id"]), Some("_partition = 3")), &restriction);
    assert!(system.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn filter_follows_a_renamed_column_and_hides_everything_without_it() {
    let first = schema();
    let rename = Change::Rename { path: vec!["country".into()], to: "land".into() };
    let second = first.evolve(&[rename]).unwrap();
    // The old name comes back as another column.
    let field = weir_table::schema::Field::new("country", weir_table::DataType::String);
    let third = second.evolve(&[Change::Add { path: Vec::new(), field }]).unwrap();
    let drop = Change::Drop { path: vec!["land".into()] };
    let fourth = third.evolve(&[drop]).unwrap();
    let restriction = restriction(Some("country = 'DE'"));
    let table = table_of(vec![first, second, third]);
    let log = log().await;
    log.fill(&[
        r#"{"id":1,"land":"DE","country":"FR"}"#.to_owned(),
        r#"{"id":2,"land":"FR","country":"DE"}"#.to_owned(),
    ])
    .await;
    let now = plan(&table, &request(Some(&["id"]), None), &restriction).unwrap();
    assert_eq!(now.hides_all(), None);
    assert_eq!(seen(&log, &now, limits()).await, (vec![1], [1, 1, 0]));
    let gone = table_of(table.versions().iter().map(|v| TableSchema::clone(v)).chain([fourth]).collect());
    let now = plan(&gone, &request(Some(&["id"]), None), &restriction).unwrap();
    assert!(now.hides_all().unwrap().contains("country"), "{:?}", now.hides_all());
    assert_eq!(seen(&log, &now, limits()).await, (vec![], [0, 0, 0]));
    // In an old version the filter's column was something else: who asks for it must not be judged by that.
    let widen = Change::Widen { path: vec!["id".into()], to: weir_table::DataType::BigInt };
    let table = table_of(vec![schema(), schema().evolve(&[widen]).unwrap()]);
    let rows = Some(RowRule::new("id > 3", Some(table.current())).unwrap());
    let restriction = Restriction { columns: None, rows };
    let of = |version| {
        let request = request(None, None);
        ScanPlan::restricted(Some(&table), version, &request, ResultRows::Arrow, Clock::At(0), &restriction)
    };
    assert!(of(None).is_ok() && of(Some(2)).is_ok());
    assert!(matches!(of(Some(1)), Err(ScanPlanError::NoSuchVersion { id: 1, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_show_readable_columns_and_neither_keys_nor_headers_unless_they_are_given() {
    let table = table_of(vec![schema()]);
    let log = log().await;
    log.fill(&rows(true)).await;
    let read = async |restriction: &Restriction| {
        let (request, rows) = (request(None, None), ResultRows::Kafka);
        let plan = ScanPlan::restricted(Some(&table), None, &request, rows, Clock::Refused, restriction).unwrap();
        let plan = Arc::new(plan);
        let result = log.steps(&plan, limits()).await.0.pop().unwrap();
        let encoded = encode_records(&plan, &result.batches, Compression::None, &|_| None).unwrap();
        let batch = encoded.batches[0].clone();
        let decoded = weir_protocol::records::decode(&batch, &Default::default()).unwrap();
        let first = decoded.records().next().unwrap().unwrap();
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        (text(first.key), text(first.value))
    };
    let narrow = restriction(Some("id >= 10 AND country = 'DE'"));
    assert_eq!(read(&narrow).await, (None, Some(r#"{"id":10,"amount":10}"#.to_owned())));
    let parts = RecordParts { key: true, ..NO_PARTS };
    let with_key = Restriction { columns: Some(Readable { fields: [FieldId(1)].into(), parts }), ..narrow.clone() };
    assert_eq!(read(&with_key).await, (Some("k".to_owned()), Some(r#"{"id":10}"#.to_owned())));
    let rows_only = Restriction { columns: None, ..narrow };
    assert_eq!(read(&rows_only).await, (Some("k".to_owned()), Some(rows(true)[10].clone())));
}
