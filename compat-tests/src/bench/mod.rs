//! Benchmarks: weir against Apache Kafka on this machine, in turn (A B A B ...), medians, with broker CPU per GB and peak
//! memory beside every throughput.
//!
//! The broker is pinned to core 0, the generator to core 1. Requests are encoded before the clock starts; a run in which
//! the generator used more than 90 % of its core is void and says so. Each bench states its back-of-envelope limit.
mod codecs;
mod columns;
mod consume;
mod idle;
mod produce;
mod report;
mod transactions;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::server::{Server, free_port, start_kafka, start_weir};
pub use report::{Figure, Row};

pub const RECORD_BYTES: usize = 1024;
pub const PARTITIONS: i32 = 6;
const BROKER_CPU: &str = "0";

/// What all benches get.
#[derive(Debug, Clone)]
pub struct Options {
    pub weir: PathBuf,
    /// Pairs of runs.
    pub rounds: usize,
    pub seconds: u64,
    pub with_kafka: bool,
    /// Further configs of typed topics of which a bench measures the making.
    pub configs: Vec<(String, String)>,
}

impl Options {
    fn configs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.configs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// How durable an acknowledgement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    Os,
    Fsync,
}

/// One bench: name, what it measures and what bounds it.
pub struct Bench {
    pub name: &'static str,
    pub about: &'static str,
    pub limit: &'static str,
    run: fn(&Options) -> Result<Vec<Row>>,
}

pub const BENCHES: &[Bench] = &[
    Bench {
        name: "produce-os",
        about: "produce 1 KiB records, acks=all, 6 partitions, 16 KiB batches, both brokers OS-buffered",
        limit: "one core: a socket copy, a CRC-32C and a copy into the page cache of each byte, about 0.3 s/GB; the disk's write-back above that",
        run: produce::os,
    },
    Bench {
        name: "produce-fsync",
        about: "the same with an fsync for each commit (Kafka: flush.messages=1, which has no group commit)",
        limit: "the device's synced sequential writes, about 100 MB/s, shared with merges: 50 MB/s of ingest",
        run: produce::fsync,
    },
    Bench {
        name: "produce-fsync-1000",
        about: "1,000 partitions, one 1 KiB record in a batch, synced",
        limit: "synced commits a second times the partitions in flight",
        run: produce::fsync_many,
    },
    Bench {
        name: "produce-latency",
        about: "acks=all at half of Kafka's peak, OS-buffered",
        limit: "two socket hops and a wake-up, about 100 us",
        run: produce::latency,
    },
    Bench {
        name: "produce-latency-busy",
        about: "the same during merges and a consumer that reads 100 MiB/s of old data",
        limit: "as produce-latency; reader and producer share the generator's core, reads and merges the broker's",
        run: produce::latency_busy,
    },
    Bench {
        name: "produce-sustained",
        about: "produce-os for 75 times as long (10 minutes), 256 MiB a partition retained; bytes written to disk for each byte",
        limit: "as produce-os; every byte is written to the WAL and by a merge",
        run: produce::sustained,
    },
    Bench {
        name: "transactions",
        about: "transactions of 960 records of 1 KiB, two producers, 6 partitions, both brokers OS-buffered",
        limit: "as produce-os, and for each transaction three more round trips, a decision and a marker in each partition",
        run: transactions::os,
    },
    Bench {
        name: "consume-tail",
        about: "consume from the tail while producing, plain client",
        limit: "one socket copy of each byte out of memory",
        run: consume::tail,
    },
    Bench {
        name: "consume-cold",
        about: "consume from the start after a restart, page cache warm, plain client",
        limit: "Kafka uses sendfile; weir reads, verifies and sends: two copies and, once, a CRC of each byte",
        run: consume::cold,
    },
    Bench {
        name: "idle",
        about: "memory of an idle process, time to ready, restart with a full WAL",
        limit: "reading 512 MiB of WAL back at memory speed",
        run: idle::run,
    },
    Bench {
        name: "columns-20",
        about: "20, 10, 5 and 1 of 20 columns of a typed topic, against consumers of Kafka that decode each row of JSON",
        limit: "the consumer: a copy and a decompression of each wanted column; Kafka's: about 1 GB/s of JSON",
        run: columns::of_20,
    },
    Bench {
        name: "columns-44",
        about: "13 of the 44 columns of an exposure log",
        limit: "as columns-20",
        run: columns::of_44,
    },
    Bench {
        name: "columns-jackson",
        about: "13 of the 44 columns, against Kafka's own client in a JVM that decodes each row with Jackson",
        limit: "as columns-20; Jackson: some 300 MB/s of JSON",
        run: columns::jackson,
    },
    Bench {
        name: "predicates",
        about: "predicates that 0.1, 1, 10 and 50 % of unsorted rows match, 13 of 44 columns",
        limit: "the broker: one column read and compared, the others where rows match",
        run: columns::predicates,
    },
    Bench {
        name: "consumers-30",
        about: "30 consumers, each with 1 % of the rows and 13 of 44 columns, against 30 that decode all rows",
        limit: "one column read and compared for each of them; Kafka's: every byte to everyone",
        run: columns::thirty,
    },
    Bench {
        name: "scan-rate",
        about: "a predicate on one column that hardly any row matches: rows a second of the broker's CPU, uncompressed against ZSTD",
        limit: "eight bytes of each row compared: hundreds of millions a second; the rest is opening and answering",
        run: columns::slices::rate,
    },
    Bench {
        name: "clustered-slice",
        about: "1 % of the values of the column that rows are clustered by, against all of them",
        limit: "1 % of the bytes, and what windows' edges add",
        run: columns::slices::clustered,
    },
    Bench {
        name: "consumers-10",
        about: "ten consumers with ten projections of the same rows, against one",
        limit: "each column decoded once, ten answers written",
        run: columns::slices::ten,
    },
    Bench {
        name: "visible",
        about: "from the send of a row to its sight: columns with a predicate, against a plain consumer of the same weir",
        limit: "one write, one wake-up, one answer",
        run: columns::visible::run,
    },
    Bench {
        name: "produce-typed",
        about: "produce to a typed topic that is stored as columns, against the same topic untyped",
        limit: "decompression and JSON to columns, about 400 MB/s of JSON on the one core, and the merge's encoding",
        run: columns::produce,
    },
    Bench {
        name: "produce-arrow",
        about: "produce Arrow streams of 512 rows to a typed topic, against 64 rows of JSON in ZSTD batches, merges included",
        limit: "decompression and a copy of each column, its statistics, and the merge's encoding",
        run: columns::arrow::produce,
    },
    Bench {
        name: "columns-storage",
        about: "columns compressed with ZSTD against uncompressed ones: produce with merges, and size",
        limit: "ZSTD at level 3, about 400 MB/s of columns on the one core",
        run: columns::storage,
    },
    Bench {
        name: "codecs",
        about: "rows to columns and back, one core: JSON against arrow-json, Avro and Protobuf against our JSON",
        limit: "every string's bytes copied once and every byte looked at twice: some 2 GB/s",
        run: codecs::run,
    },
];

pub fn main(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let Some(name) = arguments.next() else {
        for bench in BENCHES {
            println!("{:<20} {}\n{:<20} bounded by: {}", bench.name, bench.about, "", bench.limit);
        }
        return Ok(());
    };
    if name == "reader" {
        return columns::reader::main(&arguments.next().context("a reader needs to be told what to read")?);
    }
    #[allow(clippy::disallowed_methods)] // how cargo xtask tells where the binary is
    let weir = std::env::var_os("WEIRTEST_BIN").map(PathBuf::from);
    let mut options = Options {
        weir: weir.unwrap_or_else(|| "target/release/weir".into()),
        rounds: 3,
        seconds: 8,
        with_kafka: true,
        configs: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--weir" => options.weir = value()?.into(),
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--config" => {
                let given = value()?;
                let (name, of) = given.split_once('=').context("--config wants NAME=VALUE")?;
                options.configs.push((name.to_owned(), of.to_owned()));
            }
            "--no-kafka" => options.with_kafka = false,
            other => bail!("unknown argument {other}"),
        }
    }
    let chosen: Vec<&Bench> = BENCHES.iter().filter(|b| b.name == name || name == "all").collect();
    if chosen.is_empty() {
        bail!("no bench is called {name}; without a name all are listed");
    }
    pin_to_core_1();
    for bench in chosen {
        println!("## {}\n{}\nbounded by: {}", bench.name, bench.about, bench.limit);
        let rows = (bench.run)(&options)?;
        let baseline = if bench.name == "codecs" { "baseline" } else { "Kafka" };
        report::print(bench.name, baseline, &rows);
    }
    Ok(())
}

/// The generator stays off the broker's core.
fn pin_to_core_1() {
    let pid = std::process::id().to_string();
    let pinned = std::process::Command::new("taskset").args(["-a", "-cp", "1", &pid]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        eprintln!("note: the generator could not be pinned to core 1");
    }
}

/// A broker of its own for one run, in a fresh folder that goes with it.
pub struct Subject {
    pub server: Server,
    pub folder: tempfolder::Folder,
}

pub fn subject(options: &Options, kafka: bool, durable: Durable) -> Result<Subject> {
    let folder = tempfolder::Folder::new()?;
    let server = if kafka {
        let mut properties = vec!["num.partitions=1"];
        if durable == Durable::Fsync {
            properties.push("log.flush.interval.messages=1");
        }
        // Weir looks every second; five minutes of Kafka's would not fit the disk in long runs.
        properties.push("log.retention.check.interval.ms=5000");
        // Or a minute of what retention removes stays on the disk, which the longest run fills.
        properties.push("log.segment.delete.delay.ms=1000");
        start_kafka(&folder.path.join("data"), free_port()?, Some(BROKER_CPU), &properties)?
    } else {
        let durability = if durable == Durable::Fsync { "fsync" } else { "os" };
        start_weir(
            &options.weir,
            &folder.path.join("data"),
            free_port()?,
            Some(BROKER_CPU),
            &["--durability", durability],
        )?
    };
    Ok(Subject { server, folder })
}

/// Runs `one` for both brokers in turn and gathers the figures of each.
pub fn in_turn(options: &Options, mut one: impl FnMut(bool, usize) -> Result<Vec<Figure>>) -> Result<Vec<Row>> {
    let mut weir: Vec<Vec<Figure>> = Vec::new();
    let mut kafka: Vec<Vec<Figure>> = Vec::new();
    for round in 0..options.rounds {
        weir.push(one(false, round)?);
        if options.with_kafka {
            kafka.push(one(true, round)?);
        }
    }
    Ok(report::rows(&weir, &kafka))
}

/// A folder that is removed at the end.
pub mod tempfolder {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);

    pub struct Folder {
        pub path: PathBuf,
    }

    impl Folder {
        pub fn new() -> std::io::Result<Folder> {
            let name = format!("weir-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path)?;
            Ok(Folder { path })
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
