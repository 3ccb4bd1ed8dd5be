//! The idle process, and how soon it serves.
use std::time::Duration;

use anyhow::Result;

use super::produce::{Load, drive};
use super::{Durable, Figure, Options, Row, in_turn, subject};
use crate::server::{free_port, start_kafka, start_weir};

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let load = Load::batches_16k();
    in_turn(options, |kafka, _| {
        let mut subject = subject(options, kafka, Durable::Os)?;
        std::thread::sleep(Duration::from_secs(3));
        let idle = subject.server.usage()?;
        let ready = subject.server.ready_after;
        // Fill the WAL to its limit, kill, and start again.
        drive(&subject, &load, Duration::from_secs(options.seconds))?;
        let data = subject.folder.path.join("data");
        subject.server.kill();
        let again = if kafka {
            start_kafka(&data, free_port()?, Some("0"), &[])?
        } else {
            start_weir(&options.weir, &data, free_port()?, Some("0"), &["--durability", "os"])?
        };
        Ok(vec![
            Figure::new("idle memory", "MiB", idle.rss_mib),
            Figure::new("ready after", "ms", ready.as_secs_f64() * 1000.0),
            Figure::new("restart after load", "ms", again.ready_after.as_secs_f64() * 1000.0),
        ])
    })
}
