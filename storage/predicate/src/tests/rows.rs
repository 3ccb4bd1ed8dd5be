//! Which rows match. The expected rows were worked out by hand from `flights()`.
use super::*;
use arrow_select::concat::concat_batches;
use proptest::prelude::*;

#[test]
fn each_predicate_selects_the_rows_a_person_would() {
    let table: &[(&str, &[usize])] = &[
        ("dep_delay > 60", &[1, 4]),
        ("dep_delay > 60 AND carrier = 'AA'", &[1]),
        ("NOT dep_delay > 60", &[0, 2, 3]),
        ("dep_delay IS NULL", &[5]),
        ("dep_delay IS NOT NULL AND dep_delay < 1", &[2, 3]),
        ("dep_delay BETWEEN 0 AND 61", &[0, 1, 3]),
        ("carrier IN ('UA', 'DL')", &[0, 3]),
        ("carrier NOT IN ('UA', 'DL')", &[1, 2, 4]),
        ("carrier NOT IN ('UA', NULL)", &[]),
        // Lists that have nothing in common: of row 5 nothing is known.
        ("carrier NOT IN ('UA') OR carrier NOT IN ('DL', 'AA')", &[0, 1, 2, 3, 4]),
        ("NOT (carrier IN ('UA', 'AA') AND carrier IN ('DL', 'B6'))", &[0, 1, 2, 3, 4]),
        ("NOT ((carrier = 'UA' OR carrier = 'AA') AND (carrier = 'DL' OR carrier = 'B6'))", &[0, 1, 2, 3, 4]),
        ("NOT (carrier IN ('UA', 'AA') AND carrier NOT IN ('DL', 'AA', 'UA'))", &[0, 1, 2, 3, 4]),
        ("NOT (carrier IN ('UA') OR carrier IN ('AA')) OR NOT (carrier = 'DL' OR carrier = 'B6')", &[0, 1, 2, 3, 4]),
        ("(late AND carrier NOT IN ('UA', 'B6')) OR (late AND carrier NOT IN ('DL'))", &[1, 4]),
        (
            "(dep_delay IS NULL AND carrier NOT IN ('UA', 'B6')) OR (dep_delay IS NULL AND carrier NOT IN ('DL', 'AA'))",
            &[],
        ),
        ("carrier LIKE 'U%'", &[0]),
        ("carrier ILIKE 'u%'", &[0, 4]),
        ("lower(carrier) = 'ua'", &[0, 4]),
        ("carrier ~ '^[UD]'", &[0, 3]),
        ("carrier !~ '^[UD]'", &[1, 2, 4]),
        ("carrier IS DISTINCT FROM 'UA'", &[1, 2, 3, 4, 5]),
        ("carrier = 'UA' OR dep_delay = 61 OR late", &[0, 1, 4]),
        ("price = 100.50", &[0, 4]),
        ("price >= 99.99 AND price < 100.5", &[1]),
        ("price * 2 = 201", &[0, 4]),
        ("ratio > 0.4 AND ratio < 1", &[0]),
        ("isnan(ratio)", &[1]),
        ("at >= '2013-01-01T01:00:00'", &[1, 2, 3]),
        ("at < TIMESTAMP '2013-01-01 01:00:00' AND at > '2000-01-01'", &[0]),
        ("at + INTERVAL '1 day' > '2013-01-03'", &[2, 3]),
        ("EXTRACT(MONTH FROM at) = 2", &[3]),
        ("date_trunc('day', at) = '2013-01-02'", &[2]),
        ("day = DATE '2013-01-01'", &[0, 1]),
        ("day > '2013-01-01'", &[2, 3]),
        ("departs = TIME '10:00:00'", &[0]),
        ("departs > '10:00:00'", &[1, 3, 4]),
        ("departs BETWEEN TIME '10:00:00' AND TIME '11:00:00'", &[0, 1, 4]),
        ("departs NOT BETWEEN TIME '10:00:00' AND '10:30:00'", &[2, 3, 4]),
        ("departs IN (TIME '10:00:00', TIME '00:00:00')", &[0, 2]),
        ("boards BETWEEN TIME '09:30:00' AND TIME '09:30:00'", &[0]),
        ("boards <= TIME '09:30:00'", &[0, 2, 3]),
        ("boards < departs", &[0, 3, 4]),
        ("late", &[1, 4]),
        ("late IS NOT TRUE", &[0, 2, 3, 5]),
        ("address.city = 'Miami'", &[1, 2]),
        ("address.gate + dep_delay = 3", &[0]),
        ("tags[1] = 1", &[0, 4]),
        ("array_has(tags, 3)", &[2]),
        ("cardinality(tags) = 2", &[0]),
        ("extra['seats'] > 101", &[2, 4]),
        ("CASE WHEN late THEN dep_delay ELSE 61 END = 61", &[0, 1, 2, 3, 5]),
        ("coalesce(dep_delay, 61) = 61", &[1, 5]),
        ("\"Odd name.x\" = 2", &[2]),
        ("CAST(dep_delay AS VARCHAR) = '61'", &[1]),
        ("TRY_CAST(carrier AS INT) IS NULL", &[0, 1, 2, 3, 4, 5]),
        ("substr(carrier, 1, 1) = 'B'", &[2]),
        ("length(carrier) = 2 AND upper(carrier) <> carrier", &[4]),
        ("dep_delay % 2 = 0", &[0, 3]),
        ("carrier || '!' = 'B6!'", &[2]),
        ("now() = TIMESTAMP '2013-01-01 00:00:00' AND _offset = 12", &[2]),
        ("at = now()", &[0]),
        ("_offset >= 14", &[4, 5]),
        ("true", &[0, 1, 2, 3, 4, 5]),
        ("1 = 1 AND NOT false", &[0, 1, 2, 3, 4, 5]),
        ("false", &[]),
        ("NULL", &[]),
        ("dep_delay = NULL", &[]),
    ];
    for (text, expected) in table {
        let (rows, errored) = select(text);
        assert_eq!((rows.as_slice(), errored), (*expected, 0), "{text}");
    }
}

/// Arrow orders floats totally: -0.0 is below 0.0 and NaN above everything. Statistics follow the same order.
#[test]
fn floats_compare_in_total_order() {
    assert_eq!(select("ratio = 0.0"), (vec![3], 0));
    assert_eq!(select("ratio < 0.0"), (vec![2], 0));
    assert_eq!(select("ratio > 1e9"), (vec![1], 0));
    assert_eq!(select("ratio > 1e300"), (vec![1], 0), "a number that no decimal holds");
    assert_eq!(select("ratio IN (0.0, 1e-300, 1E+300)"), (vec![3], 0));
}

#[test]
fn a_row_that_raises_an_error_is_null_and_counted() {
    let table: &[(&str, &[usize], usize)] = &[
        ("10 / \"Odd name.x\" > 1", &[0, 2], 2),
        ("\"Odd name.x\" = 0 OR 10 / \"Odd name.x\" > 1", &[0, 1, 2, 3], 0),
        // An integer literal is a BIGINT, so this does not overflow, and the next one does.
        ("dep_delay + 1 > 0", &[0, 1, 3, 4], 0),
        ("dep_delay + dep_delay > 0", &[0, 1], 1),
        ("dep_delay * dep_delay > 100", &[1], 1),
        ("\"Odd name.x\" + 1 > 0", &[0, 1, 2, 3], 1),
        ("CAST(carrier AS INT) = 6", &[], 5),
        ("1 / 0 = 1", &[], 6),
        ("late AND 1 / 0 = 1", &[], 2),
        ("-dep_delay < 0 AND abs(dep_delay) > 1", &[0, 1, 4], 0),
        ("price > ratio", &[0, 2], 0),
    ];
    for (text, expected, errors) in table {
        let (rows, errored) = select(text);
        assert_eq!(rows.as_slice(), *expected, "{text}");
        // A NULL on the left of AND may or may not look at the right: only what matches is promised.
        assert!(errored >= *errors && errored <= errors + 1, "{text}: {errored} errors, expected {errors}");
    }
}

#[test]
fn a_time_without_zone_compares_with_one_in_utc() {
    let schema = with_zone();
    let column = TimestampMillisecondArray::from(vec![NEW_YEAR, NEW_YEAR + HOUR]).with_timezone("UTC");
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(column)]).unwrap();
    for text in ["_timestamp > '2013-01-01 00:30:00'", "_timestamp > TIMESTAMP '2013-01-01 00:30:00'"] {
        let matches = evaluate(&plan(text, &schema).unwrap(), &batch);
        assert_eq!(matches.rows.set_indices().collect::<Vec<_>>(), vec![1], "{text}");
    }
}

#[test]
fn only_the_columns_of_the_predicate_are_needed() {
    let batch = flights();
    let predicate = plan("dep_delay > 60 AND address.city = 'Miami'", &batch.schema()).unwrap();
    let names: Vec<_> = predicate.columns().fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["dep_delay", "address"]);
    let few = batch.project(&[8, 2]).unwrap();
    assert_eq!(evaluate(&predicate, &few).rows.set_indices().collect::<Vec<_>>(), vec![1]);
    let lacking = predicate.evaluate(&batch.project(&[0]).unwrap(), &mut || Ok(()));
    assert!(matches!(lacking, Err(crate::EvaluateError::MissingColumn { column }) if column == "dep_delay"));
}

#[test]
fn the_budget_stops_an_evaluation() {
    let batch = flights();
    let many = concat_batches(&batch.schema(), std::iter::repeat_n(&batch, 3000)).unwrap();
    let predicate = plan("CAST(carrier AS INT) = 6", &batch.schema()).unwrap();
    let mut pieces = 0;
    let stopped = predicate.evaluate(&many, &mut || {
        pieces += 1;
        if pieces > 50 { Err("50 pieces were planned for".to_owned()) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(crate::EvaluateError::Stopped { reason }) if reason.contains("50 pieces")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Rows come out the same whether they are evaluated in one batch, in any other batches, or one by one. Seen failing when
    /// a failing slice counted as a whole instead of being halved.
    #[test]
    fn matches_do_not_depend_on_how_rows_are_batched(
        order in prop::collection::vec(0..6usize, 1..60),
        cut in 1..20usize,
        text in prop::sample::select(vec![
            "10 / \"Odd name.x\" > 1",
            "\"Odd name.x\" = 0 OR 10 / \"Odd name.x\" > 1",
            "10 / \"Odd name.x\" > 1 OR \"Odd name.x\" = 0",
            "late AND dep_delay + 1 > 0",
            "dep_delay + 1 > 0 AND late",
            "CASE WHEN \"Odd name.x\" = 0 THEN late ELSE 10 / \"Odd name.x\" > 1 END",
            "CAST(substr(carrier, 2) AS INT) = 6 OR late",
            "dep_delay * dep_delay > 3 OR address.gate / \"Odd name.x\" = 1",
        ]),
    ) {
        let batch = flights();
        let predicate = plan(text, &batch.schema()).unwrap();
        let single: Vec<_> = (0..6).map(|row| evaluate(&predicate, &batch.slice(row, 1)).matched == 1).collect();
        let parts: Vec<_> = order.iter().map(|row| batch.slice(*row, 1)).collect();
        for chunk in parts.chunks(cut).zip(order.chunks(cut)) {
            let joined = concat_batches(&batch.schema(), chunk.0).unwrap();
            let matches = evaluate(&predicate, &joined);
            let got: Vec<_> = matches.rows.iter().collect();
            let expected: Vec<_> = chunk.1.iter().map(|row| single[*row]).collect();
            prop_assert_eq!(got, expected, "{}", text);
        }
    }
}
