//! Lake tables on the command line: status, pause, resume, verify.
use std::path::PathBuf;

use super::*;

/// A broker whose HTTP listener is at a port that is known, and a topic that is tiered.
struct Tiered {
    broker: Broker,
    lake: PathBuf,
}

impl Tiered {
    fn start() -> Tiered {
        let broker = Broker::start_at(Listeners { kafka: free(), http: free(), registry: "off".into(), settings: &[] });
        let lake = broker.folder.path().join("lake");
        Tiered { broker, lake }
    }

    fn lake(&self, words: &[&str]) -> Output {
        self.broker.run(&[&["lake"], words, &["--http", &self.broker.listeners.http]].concat())
    }

    /// What is said of the topic, once that is right.
    fn until(&self, right: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..300 {
            let output = self.lake(&["status", "-o", "json"]);
            let tables: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if let Some(table) = tables.get(0).filter(|table| right(table)) {
                return table.clone();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{}", text(&self.lake(&["status"]).stdout));
    }
}

#[test]
fn lake_tables_rest_go_on_survive_a_kill_and_are_compared_with_the_log() {
    let mut tiered = Tiered::start();
    let broker = &tiered.broker;
    let lake = tiered.lake.display().to_string();
    let path = format!("weir.lake.path={lake}");
    let schema = "weir.table.schema=id BIGINT NOT NULL, city STRING";
    let configs = ["-c", "weir.lake.format=parquet", "-c", &path, "-c", "weir.lake.freshness=1s", "-c", schema];
    broker.ok(&[&["topic", "create", "flights", "-p", "2"], &configs[..]].concat());
    let rows =
        |from: u32| -> String { (from..from + 500).map(|n| format!("{{\"id\":{n},\"city\":\"c{n}\"}}\n")).collect() };
    broker.produce(&["flights"], &rows(0));
    tiered.until(|table| table["rows"] == 500);
    assert!(text(&tiered.lake(&["pause", "flights"]).stdout).contains("flights is paused"));
    tiered.until(|table| table["state"] == "paused");
    broker.produce(&["flights"], &rows(500));
    tiered.broker.kill();
    tiered.broker.restart();
    let paused = tiered.until(|table| table["state"] == "paused" && table["epoch"] != 0);
    assert_eq!((&paused["rows"], &paused["lag_records"]), (&500.into(), &500.into()));
    assert!(text(&tiered.lake(&["resume", "flights"]).stdout).contains("flights goes on"));
    tiered.until(|table| table["rows"] == 1000);
    let output = tiered.lake(&["verify", "flights"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("equal") && !shown.contains("DIFFERS") && shown.contains("5 columns hashed"), "{shown}");
    // One file less.
    let is_data = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let mut files =
        std::fs::read_dir(tiered.lake.join("flights")).unwrap().map(|file| file.unwrap().path()).filter(is_data);
    std::fs::remove_file(files.next().unwrap()).unwrap();
    let output = tiered.lake(&["verify", "flights"]);
    assert_eq!(output.status.code(), Some(1));
    let (shown, error) = (text(&output.stdout), text(&output.stderr));
    assert!(shown.contains("DIFFERS") && shown.contains("partition ") && shown.contains("rows in the log"), "{shown}");
    assert!(error.contains("do not have the same rows") && error.contains("fix:"), "{error}");
    let output = tiered.lake(&["verify", "planes"]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("tiers no topic `planes`"));
}
