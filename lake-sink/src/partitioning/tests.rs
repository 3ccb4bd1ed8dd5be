//! Seen failing: hours before 1970 with `/` instead of `div_euclid`, and two texts that share a folder name.
use arrow_array::{Date32Array, Int16Array, TimestampMillisecondArray};
use arrow_schema::{Field, Schema};

use super::*;

fn batch() -> RecordBatch {
    let at = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let schema = Schema::new(vec![
        Field::new("at", at, true),
        Field::new("born", DataType::Date32, true),
        Field::new("carrier", DataType::Utf8, true),
        Field::new("n", DataType::Int16, true),
    ]);
    // 1969-12-31T23:30, 2013-01-01T05:15, NULL, 2013-01-01T05:59:59.999
    let at = vec![Some(-1_800_000), Some(1_357_017_300_000), None, Some(1_357_019_999_999)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(at).with_timezone("UTC")),
        Arc::new(Date32Array::from(vec![Some(-1), Some(15_706), None, Some(0)])),
        Arc::new(StringArray::from(vec![Some("UA"), Some("a/b=c"), None, Some("")])),
        Arc::new(Int16Array::from(vec![Some(-7), Some(3), None, Some(3)])),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn folders(by: &str) -> Vec<String> {
    let (spec, batch) = (by.parse::<PartitionSpec>().unwrap(), batch());
    spec.check(&batch.schema()).unwrap();
    let path = |(values, rows): (Vec<PartitionValue>, RecordBatch)| {
        format!("{} {}", spec.hive_path(&values, &batch.schema()), rows.num_rows())
    };
    spec.split(&batch).unwrap().into_iter().map(path).collect()
}

#[test]
fn every_transform_names_its_folder_as_people_write_it() {
    const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
    let null = |name: &str| format!("{name}={NULL} 1");
    let expected = |name: &str, a: &str, b: &str| vec![format!("{name}={a} 1"), format!("{name}={b} 2"), null(name)];
    assert_eq!(folders("year(at)"), expected("at_year", "1969", "2013"));
    assert_eq!(folders("month(at)"), expected("at_month", "1969-12", "2013-01"));
    assert_eq!(folders("day(at)"), expected("at_day", "1969-12-31", "2013-01-01"));
    assert_eq!(folders("hour(at)"), expected("at_hour", "1969-12-31-23", "2013-01-01-05"));
    assert_eq!(folders("n"), expected("n", "-7", "3"));
    let dates = ["born=1969-12-31 1", "born=2013-01-01 1", "born=__HIVE_DEFAULT_PARTITION__ 1", "born=1970-01-01 1"];
    assert_eq!(folders("born"), dates);
    let months = folders("month(born), carrier");
    assert_eq!(months[1], "born_month=2013-01/carrier=a%2Fb%3Dc 1");
    assert_eq!(months[3], "born_month=1970-01/carrier= 1");
}

#[test]
fn rows_without_levels_stay_together() {
    let split = PartitionSpec::default().split(&batch()).unwrap();
    assert_eq!(split.iter().map(|(values, rows)| (values.len(), rows.num_rows())).collect::<Vec<_>>(), [(0, 4)]);
}

#[test]
fn long_and_odd_texts_have_a_folder_each() {
    let long = "x".repeat(5_000);
    let texts = [long.as_str(), &long[1..], "~", "%7E", "..", ".", "*", "é", "\n"];
    let names: std::collections::BTreeSet<String> = texts.iter().map(|text| escape(text)).collect();
    assert_eq!(names.len(), texts.len());
    for name in &names {
        assert!(name.len() < 150 && !name.contains('/') && !name.starts_with('.'), "{name}");
    }
}

#[test]
fn a_spec_is_written_as_it_was_read() {
    let spec: PartitionSpec = " day( at ),carrier ".parse().unwrap();
    assert_eq!(spec.to_string(), "day(at), carrier");
    assert_eq!(spec.to_string().parse::<PartitionSpec>().unwrap(), spec);
}

#[test]
fn what_cannot_be_partitioned_by_is_refused_with_a_reason() {
    for (by, reason) in [("day(at", "not understood"), ("week(at)", "no transform `week`"), ("n, n", "twice")] {
        assert!(by.parse::<PartitionSpec>().unwrap_err().to_string().contains(reason), "{by}");
    }
    for (by, reason) in [("hour(born)", "Date32"), ("day(carrier)", "Utf8"), ("at", "identity"), ("x", "no column")] {
        let error = by.parse::<PartitionSpec>().unwrap().check(&batch().schema()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}
