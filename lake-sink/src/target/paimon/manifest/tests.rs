use super::*;
use crate::columns::untyped;

fn writer(by: &str) -> ManifestWriter {
    let spec: PartitionSpec = by.parse().unwrap();
    let files = crate::target::paimon::schema::file_schema(&untyped(), &spec, false).unwrap();
    ManifestWriter::new(&spec, &untyped(), &files, None).unwrap()
}

fn meta(name: &str, stats: &Stats) -> ManifestMeta {
    ManifestMeta { name: name.to_owned(), size: 1, added: 2, deleted: 3, schema_id: 4, partitions: stats.record() }
}

#[test]
fn folders_are_named_as_paimon_names_them() {
    let writer = writer("day(__timestamp), __partition");
    let folder = |values: &[PartitionValue]| writer.folder(values, 0);
    let (day, one) = (PartitionValue::Int(15_706), PartitionValue::Int(1));
    assert_eq!(folder(&[day, one]), ("__timestamp_day=2013-01-01/__partition=1/bucket-0".to_owned(), true));
    assert_eq!(
        folder(&[PartitionValue::Null, PartitionValue::Int(2)]).0,
        format!("__timestamp_day={DEFAULT_PARTITION}/__partition=2/bucket-0")
    );
    assert_eq!((escaped("a b.c"), escaped("50%/day")), ("a b.c".to_owned(), "50%25%2Fday".to_owned()));
    let long = escaped(&"ü".repeat(400));
    assert!(long.len() < 140 && long.contains('~'), "{long}");
    assert_eq!(escaped("ü"), "ü");
}

#[test]
fn partitions_are_rows_with_years_as_numbers_and_days_as_texts() {
    let cells = writer("year(__timestamp), month(__timestamp), __partition").partition(&[
        PartitionValue::Int(43),
        PartitionValue::Int(43 * 12),
        PartitionValue::Int(7),
    ]);
    assert_eq!(cells, [Cell::Int(2013), Cell::Bytes(b"2013-01".to_vec()), Cell::Int(7)]);
}

#[test]
fn a_list_is_read_as_it_was_written() {
    let writer = writer("__partition");
    let stats = Stats { min: vec![Cell::Int(1)], max: vec![Cell::Int(5)], nulls: vec![Some(0)] };
    let metas = [meta("manifest-a", &stats), meta("manifest-b", &Stats { nulls: vec![None], ..stats.clone() })];
    let bytes = writer.list(&metas).unwrap();
    assert_eq!(read_list(&bytes).unwrap(), metas);
    let bytes = writer.list(&[meta("../manifest", &stats)]).unwrap();
    assert!(read_list(&bytes).is_err(), "a name is no path");
    let merged = writer.merged_stats(metas.iter()).unwrap();
    assert_eq!((merged.min, merged.max, merged.nulls), (vec![Cell::Int(1)], vec![Cell::Int(5)], vec![None]));
}
