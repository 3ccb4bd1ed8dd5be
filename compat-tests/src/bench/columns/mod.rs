//! Columns: readers of a few columns of a typed topic, against readers of Kafka that decode each row.
//!
//! Both brokers hold the same rows of JSON in the same ZSTD batches; weir's topic is typed and stored as columns. Each reader is a
//! process of its own, pinned to core 1, and both sides must come to the same sums. "weir" and "Kafka" of a row are rows a second.
pub mod arrow;
pub mod data;
pub mod reader;
pub mod slices;
pub mod visible;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_protocol::records::Compression;

use self::data::Dataset;
use self::reader::{Reading, Wish};
use super::{BROKER_CPU, Durable, Figure, Options, Row, Subject, report, subject, tempfolder};
use crate::server::{free_port, start_weir, usage};
use crate::wire::{Connection, produce_request, produce_response};

const TOPIC: &str = "wide";
const PARTITIONS: i32 = 4;
/// Rows of a batch: about 64 KiB of JSON.
const BATCH_ROWS: u64 = 64;

/// A loaded pair of brokers.
struct Pair {
    dataset: Dataset,
    weir: Subject,
    kafka: Option<Subject>,
    rows: u64,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Columns of weir.
    Weir,
    /// Rows of Kafka, by a lean loop that decodes with sonic-rs.
    Rows,
    /// Rows of Kafka, by its own client and Jackson.
    Jackson,
}

/// What a topic takes to load: rows and MB of JSON a second, and the broker's CPU.
struct Loaded {
    json_bytes: u64,
    seconds: f64,
    cpu_seconds: f64,
}

/// Sends batches of all partitions, a few requests under way.
fn send(address: &str, topic: &str, batches: &[Vec<Vec<u8>>]) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let mut response = Vec::new();
    let mut under_way = 0;
    let mut receive = |connection: &mut Connection| -> Result<()> {
        connection.receive(&mut response)?;
        for (partition, error, _) in produce_response(&response)? {
            ensure!(error == 0, "partition {partition} answered error {error}");
        }
        Ok(())
    };
    for at in 0..batches.iter().map(Vec::len).max().unwrap_or(0) {
        let parts: Vec<(i32, &[u8])> =
            batches.iter().enumerate().filter_map(|(p, b)| Some((p as i32, b.get(at)?.as_slice()))).collect();
        let correlation = connection.next_correlation();
        connection.send(&produce_request(correlation, topic, -1, &parts))?;
        under_way += 1;
        if under_way == 5 {
            receive(&mut connection)?;
            under_way -= 1;
        }
    }
    for _ in 0..under_way {
        receive(&mut connection)?;
    }
    Ok(())
}

fn load(subject: &Subject, topic: &str, dataset: &Dataset, rows: u64, configs: &[(&str, &str)]) -> Result<Loaded> {
    Connection::open(&subject.server.address)?.create_topic(topic, PARTITIONS, configs)?;
    std::thread::sleep(Duration::from_millis(500));
    let each = rows / PARTITIONS as u64;
    let parts = (0..PARTITIONS as u64).map(|p| dataset.batches(p, each, BATCH_ROWS, Compression::Zstd));
    let parts: Vec<_> = parts.collect::<Result<_>>()?;
    let json_bytes = parts.iter().map(|(_, bytes)| bytes).sum();
    let batches: Vec<Vec<Vec<u8>>> = parts.into_iter().map(|(batches, _)| batches).collect();
    let (before, started) = (subject.server.usage()?, Instant::now());
    send(&subject.server.address, topic, &batches)?;
    let seconds = started.elapsed().as_secs_f64();
    let after = subject.server.usage()?;
    Ok(Loaded { json_bytes, seconds, cpu_seconds: after.cpu_seconds - before.cpu_seconds })
}

/// A broker whose WAL is small, so that nearly all rows are merged soon.
const SMALL_WAL: [&str; 3] = ["wal.file.bytes=1MiB", "wal.max.bytes=4MiB", "merge.partition.bytes=4MiB"];

/// A broker whose WAL is filled several times during a run, in files and merges of a usual size.
const MEDIUM_WAL: [&str; 2] = ["wal.file.bytes=16MiB", "wal.max.bytes=64MiB"];

fn weir(options: &Options, settings: &[&str]) -> Result<Subject> {
    let folder = tempfolder::Folder::new()?;
    let mut extra = vec!["--durability", "os"];
    extra.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let server = start_weir(&options.weir, &folder.path.join("data"), free_port()?, Some(BROKER_CPU), &extra)?;
    Ok(Subject { server, folder })
}

impl Pair {
    fn new(options: &Options, dataset: Dataset, rows: u64) -> Result<Pair> {
        let weir = weir(options, &SMALL_WAL)?;
        let ddl = dataset.ddl();
        let configs = [("weir.table.schema", ddl.as_str()), ("weir.layout", "column"), ("retention.ms", "-1")];
        let loaded = load(&weir, TOPIC, &dataset, rows, &configs)?;
        settle(&weir)?;
        let disk = OnDisk::of(&weir)?;
        println!(
            "{}: {rows} rows, {} B of JSON each, typed produce {:.0} MB/s of JSON at {:.1} s of CPU a GB; on disk {:.1} MiB of columns, {:.1} MiB of rows, WAL {:.1} MiB; JSON {:.1} MiB",
            dataset.name,
            loaded.json_bytes / rows,
            loaded.json_bytes as f64 / 1e6 / loaded.seconds,
            loaded.cpu_seconds / (loaded.json_bytes as f64 / 1e9),
            mib(disk.columns),
            mib(disk.rows),
            mib(disk.wal),
            mib(loaded.json_bytes)
        );
        let kafka = if options.with_kafka {
            let kafka = subject(options, true, Durable::Os)?;
            load(&kafka, TOPIC, &dataset, rows, &[("retention.ms", "-1")])?;
            Some(kafka)
        } else {
            None
        };
        Ok(Pair { dataset, weir, kafka, rows })
    }

    /// Reads in a process of its own; the broker's CPU seconds beside it.
    fn read(&self, reader: Reader, columns: &[String], below: Option<(&str, i64)>) -> Result<(Reading, f64)> {
        let subject = match (&self.kafka, reader) {
            (Some(subject), Reader::Rows | Reader::Jackson) => subject,
            _ => &self.weir,
        };
        let wish = Wish {
            address: subject.server.address.clone(),
            topic: TOPIC.to_owned(),
            partitions: PARTITIONS,
            columnar: reader == Reader::Weir,
            columns: columns.to_vec(),
            below: below.map(|(column, limit)| (column.to_owned(), limit)),
        };
        let before = subject.server.usage()?;
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]);
        match reader {
            Reader::Weir | Reader::Rows => command.arg(std::env::current_exe()?).arg("reader"),
            Reader::Jackson => command.arg("bash").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/reader.sh")),
        };
        let output = command.arg(serde_json::to_string(&wish)?).output()?;
        ensure!(output.status.success(), "the reader failed: {}", String::from_utf8_lossy(&output.stderr));
        let reading: Reading = serde_json::from_slice(&output.stdout).context("the reader's answer")?;
        ensure!(reading.scanned == self.rows || below.is_some(), "{} of {} rows", reading.scanned, self.rows);
        Ok((reading, subject.server.usage()?.cpu_seconds - before.cpu_seconds))
    }

    /// Both sides in turn, and the figures of each.
    fn compare(
        &self,
        options: &Options,
        other: Reader,
        columns: &[String],
        below: Option<(&str, i64)>,
    ) -> Result<Vec<Row>> {
        let (mut weir, mut kafka) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let (ours, broker) = self.read(Reader::Weir, columns, below)?;
            weir.push(self.figures(&ours, broker));
            if self.kafka.is_some() {
                let (theirs, broker) = self.read(other, columns, below)?;
                ensure!((ours.rows, ours.sum) == (theirs.rows, theirs.sum), "weir found {ours:?}, Kafka {theirs:?}");
                kafka.push(self.figures(&theirs, broker));
            }
        }
        Ok(report::rows(&weir, &kafka))
    }

    fn figures(&self, reading: &Reading, broker_cpu: f64) -> Vec<Figure> {
        let millions = self.rows as f64 / 1e6;
        vec![
            Figure::new("rows", "M/s", millions / reading.seconds),
            Figure::new("consumer CPU", "s/M rows", reading.cpu_seconds / millions),
            Figure::new("broker CPU", "s/M rows", broker_cpu / millions),
            Figure::new("consumer memory", "MiB", reading.peak_rss_mib),
            Figure::new("wire", "B/row", reading.bytes as f64 / self.rows as f64),
            Figure::new("returned", "rows", reading.rows as f64),
        ]
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.dataset.columns.iter().map(|c| c.name.clone()).filter(|name| wanted(name)).collect()
    }
}

/// Waits until the broker's CPU rests: merges are done.
fn settle(subject: &Subject) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(120);
    let mut before = usage(subject.server.pid)?.cpu_seconds;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_secs(2));
        let now = usage(subject.server.pid)?.cpu_seconds;
        if now - before < 0.1 {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

/// Bytes by kind of file.
#[derive(Default)]
struct OnDisk {
    columns: u64,
    rows: u64,
    wal: u64,
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl OnDisk {
    fn of(subject: &Subject) -> Result<OnDisk> {
        let mut sizes = OnDisk::default();
        for folder in ["segments", "wal"] {
            for entry in std::fs::read_dir(subject.folder.path.join("data").join(folder))? {
                let entry = entry?;
                let len = entry.metadata()?.len();
                match entry.path().extension().and_then(|e| e.to_str()) {
                    Some("arrow") => sizes.columns += len,
                    Some("rows") => sizes.rows += len,
                    _ if folder == "wal" => sizes.wal += len,
                    _ => {}
                }
            }
        }
        Ok(sizes)
    }
}

/// 20, 10, 5 and 1 of 20 columns.
pub fn of_20(options: &Options) -> Result<Vec<Row>> {
    let pair = Pair::new(options, Dataset::wide20(), 200_000)?;
    let mut all = Vec::new();
    for (wanted, title) in [(20, "20 of 20"), (10, "10 of 20"), (5, "5 of 20"), (1, "1 of 20")] {
        // Every fourth column is a number, as in the table.
        let numbers = pair.names(|n| n.starts_with("int")).into_iter().take((wanted / 5).max(1));
        let texts = pair.names(|n| n.starts_with("text")).into_iter();
        let columns: Vec<String> = numbers.chain(texts).take(wanted).collect();
        let rows = pair.compare(options, Reader::Rows, &columns, None)?;
        report::print(title, "Kafka", &rows);
        all.extend(rows);
    }
    Ok(all)
}

/// 13 of the 44 columns of the exposure log, all rows.
pub fn of_44(options: &Options) -> Result<Vec<Row>> {
    let pair = Pair::new(options, Dataset::exposure44(), 400_000)?;
    pair.compare(options, Reader::Rows, &thirteen(&pair), None)
}

/// The same against consumers as most are: Kafka's own client in a JVM, and Jackson.
pub fn jackson(options: &Options) -> Result<Vec<Row>> {
    let pair = Pair::new(options, Dataset::exposure44(), 400_000)?;
    println!(
        "broker CPU of Kafka is of two passes: its reader reads once to be warm, and only the second pass is timed"
    );
    pair.compare(options, Reader::Jackson, &thirteen(&pair), None)
}

fn thirteen(pair: &Pair) -> Vec<String> {
    let names = [
        "int_00", "int_01", "int_05", "int_06", "tag_00", "tag_01", "tag_02", "tag_03", "tag_04", "tag_05", "price_00",
        "price_01", "price_02",
    ];
    pair.names(|name| names.contains(&name))
}

/// Thirty consumers that each need 1 % of the rows and 13 columns, against as many that decode all of it: the bill of a wide topic.
pub fn thirty(options: &Options) -> Result<Vec<Row>> {
    const CONSUMERS: usize = 30;
    let pair = Pair::new(options, Dataset::exposure44(), 400_000)?;
    let columns = thirteen(&pair);
    let all = |reader: Reader| -> Result<(Vec<Figure>, i64)> {
        let (mut broker, mut consumers, mut bytes, mut sum) = (0.0, 0.0, 0u64, 0i64);
        for _ in 0..CONSUMERS {
            let (reading, broker_cpu) = pair.read(reader, &columns, Some(("int_05", 100)))?;
            broker += broker_cpu;
            consumers += reading.cpu_seconds;
            bytes += reading.bytes;
            sum = sum.wrapping_add(reading.sum);
        }
        let figures = vec![
            Figure::new("CPU of broker and consumers", "s", broker + consumers),
            Figure::new("broker CPU", "s", broker),
            Figure::new("from the broker", "MiB", mib(bytes)),
        ];
        Ok((figures, sum))
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let (figures, found) = all(Reader::Weir)?;
        ours.push(figures);
        if pair.kafka.is_some() {
            let (figures, expected) = all(Reader::Rows)?;
            ensure!(found == expected, "the sums are {found} and {expected}");
            theirs.push(figures);
        }
    }
    Ok(report::rows(&ours, &theirs))
}

/// Predicates of several selectivities over unsorted rows, 13 of 44 columns.
pub fn predicates(options: &Options) -> Result<Vec<Row>> {
    let pair = Pair::new(options, Dataset::exposure44(), 400_000)?;
    let columns = thirteen(&pair);
    let mut all = Vec::new();
    for (limit, title) in [(10, "0.1 %"), (100, "1 %"), (1_000, "10 %"), (5_000, "50 %")] {
        let rows = pair.compare(options, Reader::Rows, &columns, Some(("int_05", limit)))?;
        report::print(title, "Kafka", &rows);
        all.extend(rows);
    }
    Ok(all)
}

/// Typed produce with merges into columns, against the same topic untyped.
pub fn produce(options: &Options) -> Result<Vec<Row>> {
    let dataset = Dataset::exposure44();
    // The WAL is filled several times: what is left in it at the end was not merged, and costs less.
    let rows = 200_000 * options.seconds;
    let (mut typed, mut untyped) = (Vec::new(), Vec::new());
    let ddl = dataset.ddl();
    let mut configs = vec![("weir.table.schema", ddl.as_str()), ("weir.layout", "column")];
    configs.extend(options.configs());
    for _ in 0..options.rounds {
        for (configs, figures) in [(&configs[..], &mut typed), (&[][..], &mut untyped)] {
            let subject = weir(options, &MEDIUM_WAL)?;
            let loaded = load(&subject, TOPIC, &dataset, rows, configs)?;
            let gigabytes = loaded.json_bytes as f64 / 1e9;
            figures.push(vec![
                Figure::new("JSON", "MB/s", gigabytes * 1000.0 / loaded.seconds),
                Figure::new("broker CPU", "s/GB of JSON", loaded.cpu_seconds / gigabytes),
                Figure::new("peak memory", "MiB", subject.server.usage()?.peak_rss_mib),
            ]);
        }
    }
    println!("in this table \"weir\" is the typed topic and \"Kafka\" the same topic of weir untyped");
    Ok(report::rows(&typed, &untyped))
}

/// Columns compressed with ZSTD against columns as they are: what compression costs and saves.
pub fn storage(options: &Options) -> Result<Vec<Row>> {
    let dataset = Dataset::exposure44();
    let ddl = dataset.ddl();
    let (mut zstd, mut none) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (codec, figures) in [("zstd", &mut zstd), ("none", &mut none)] {
            let subject = weir(options, &MEDIUM_WAL)?;
            let mut configs = vec![
                ("weir.table.schema", ddl.as_str()),
                ("weir.layout", "column"),
                ("weir.column.compression", codec),
                ("retention.ms", "-1"),
            ];
            configs.extend(options.configs());
            let loaded = load(&subject, TOPIC, &dataset, 100_000 * options.seconds, &configs)?;
            settle(&subject)?;
            let gigabytes = loaded.json_bytes as f64 / 1e9;
            figures.push(vec![
                Figure::new("JSON", "MB/s", gigabytes * 1000.0 / loaded.seconds),
                Figure::new("broker CPU", "s/GB of JSON", loaded.cpu_seconds / gigabytes),
                Figure::new("columns on disk", "MiB", mib(OnDisk::of(&subject)?.columns)),
            ]);
        }
    }
    println!("in this table \"weir\" has ZSTD columns and \"Kafka\" is weir with uncompressed ones");
    Ok(report::rows(&zstd, &none))
}
