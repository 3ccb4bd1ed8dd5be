//! What readers of a part cost, with all rows in column files: how fast one column is compared, what a slice of a clustered column reads,
//! and what ten different readers cost beside one.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::data::Dataset;
use super::reader::Reading;
use super::{Pair, Reader, settle, thirteen, weir};
use crate::bench::{Figure, Options, Row, report};

/// Merges of a usual size, and nothing is left in the log for long.
const ALL_MERGED: [&str; 2] = ["wal.file.bytes=1MiB", "wal.max.age=15s"];
const ROWS: u64 = 400_000;
/// Rows behind those: more than one file of the log.
const BEHIND: u64 = 20_000;

fn loaded(options: &Options, configs: &[(&str, &str)]) -> Result<Pair> {
    let subject = weir(options, &ALL_MERGED)?;
    let dataset = Dataset::exposure44();
    let ddl = dataset.ddl();
    let typed = [("weir.table.schema", ddl.as_str()), ("weir.layout", "column"), ("retention.ms", "-1")];
    super::load(&subject, super::TOPIC, &dataset, ROWS, &[&typed, configs].concat())?;
    // All but the newest file of the log is old enough then, and that one has rows of another topic only.
    super::load(&subject, "behind", &dataset, BEHIND, &typed)?;
    std::thread::sleep(Duration::from_secs(20));
    settle(&subject)?;
    Ok(Pair { dataset, weir: subject, kafka: None, rows: ROWS })
}

/// Reads so often; the broker's CPU seconds of all.
fn repeated(pair: &Pair, times: usize, columns: &[String], below: (&str, i64)) -> Result<(Vec<Reading>, f64)> {
    let (mut readings, mut cpu) = (Vec::new(), 0.0);
    for _ in 0..times {
        let (reading, broker) = pair.read(Reader::Weir, columns, Some(below))?;
        readings.push(reading);
        cpu += broker;
    }
    Ok((readings, cpu))
}

/// Rows a second of one core that a predicate on one column is applied to; hardly any matches. "weir" has the column uncompressed.
pub fn rate(options: &Options) -> Result<Vec<Row>> {
    const TIMES: usize = 20;
    let side = |uncompressed: &str| -> Result<Vec<Figure>> {
        let pair = loaded(options, &[("weir.column.uncompressed", uncompressed)])?;
        // A number below 2^40: one row of a thousand matches, so statistics rule out hardly any row group.
        let columns = ["int_00".to_owned()];
        let below = ("int_13", 1 << 30);
        let (readings, first) = repeated(&pair, 1, &columns, below)?;
        ensure!(readings[0].scanned * 10 > pair.rows * 7, "{readings:?}: statistics ruled out too much");
        let (_, later) = repeated(&pair, TIMES, &columns, below)?;
        let millions = readings[0].scanned as f64 / 1e6;
        Ok(vec![
            Figure::new("first reader", "M rows/s of broker CPU", millions / first),
            Figure::new("later readers", "M rows/s of broker CPU", millions * TIMES as f64 / later),
        ])
    };
    let (mut plain, mut zstd) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        plain.push(side("int_13")?);
        zstd.push(side("")?);
    }
    println!("in this table \"weir\" has the compared column uncompressed and \"Kafka\" is weir with a compressed one");
    Ok(report::rows(&plain, &zstd))
}

/// 1 % of the values of a column that rows are clustered by, against a scan of everything.
pub fn clustered(options: &Options) -> Result<Vec<Row>> {
    let pair = loaded(options, &[("weir.cluster.by", "int_05")])?;
    let columns = thirteen(&pair);
    let side = |limit: i64| -> Result<Vec<Figure>> {
        let (reading, cpu) = pair.read(Reader::Weir, &columns, Some(("int_05", limit)))?;
        Ok(vec![
            Figure::new("bytes read", "MiB", super::mib(reading.bytes_scanned)),
            Figure::new("rows returned", "rows", reading.rows as f64),
            Figure::new("broker CPU", "s", cpu),
        ])
    };
    let (mut slice, mut all) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        slice.push(side(100)?);
        all.push(side(10_000)?);
    }
    println!(
        "in this table \"weir\" reads 1 % of the clustered column's values and \"Kafka\" is weir that reads all of them"
    );
    Ok(report::rows(&slice, &all))
}

/// A counter of the broker's.
fn counted(pair: &Pair, name: &str) -> Result<f64> {
    let http = pair.weir.server.http.as_deref().context("weir has an HTTP listener")?;
    let mut stream = TcpStream::connect(http)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.map_or(Ok(0.0), |value| value.trim().parse())?)
}

/// Ten consumers with ten projections of the same rows at the same time, against one that reads all of their columns.
pub fn ten(options: &Options) -> Result<Vec<Row>> {
    const CONSUMERS: usize = 10;
    const DECODED: &str = "weir_scan_row_groups_decoded_total";
    let projections = |pair: &Pair| -> Vec<Vec<String>> {
        let all = thirteen(pair);
        (0..CONSUMERS).map(|nth| all.iter().cycle().skip(nth).take(4).cloned().collect()).collect()
    };
    let (mut many, mut one) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (count, figures) in [(CONSUMERS, &mut many), (1, &mut one)] {
            // A broker of its own: what the other readers left decoded would be for nothing.
            let pair = loaded(options, &[])?;
            let wishes = if count == 1 { vec![thirteen(&pair)] } else { projections(&pair) };
            let before = pair.weir.server.usage()?.cpu_seconds;
            std::thread::scope(|scope| -> Result<()> {
                let readers: Vec<_> = wishes
                    .iter()
                    .take(count)
                    .map(|columns| scope.spawn(|| pair.read(Reader::Weir, columns, Some(("int_05", 100)))))
                    .collect();
                for reader in readers {
                    reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
                }
                Ok(())
            })?;
            let cpu = pair.weir.server.usage()?.cpu_seconds - before;
            figures.push(vec![
                Figure::new("broker CPU of all", "s", cpu),
                Figure::new("row groups decoded", "-", counted(&pair, DECODED)?),
            ]);
        }
    }
    println!("in this table \"weir\" has ten consumers and \"Kafka\" is weir with one that reads all of their columns");
    Ok(report::rows(&many, &one))
}
