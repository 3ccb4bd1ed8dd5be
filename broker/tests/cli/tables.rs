//! `weir table` and typed topics.
use std::collections::HashMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::{Broker, Listeners, free, text};

/// A broker with its HTTP listener at a known place, which merges as soon as there is something for a segment.
fn with_http() -> (Broker, String) {
    let settings = &[
        ("WEIR_WAL_FILE_BYTES", "1MiB"),
        ("WEIR_WAL_MAX_BYTES", "4MiB"),
        ("WEIR_WAL_MAX_AGE", "3s"),
        ("WEIR_MERGE_PARTITION_BYTES", "1MiB"),
    ];
    let http = free();
    let broker = Broker::start_at(Listeners { kafka: free(), http: http.clone(), registry: "off".into(), settings });
    (broker, http)
}

#[test]
fn tables_are_created_described_and_altered() {
    let broker = Broker::start();
    broker.ok(&["topic", "create", "t", "-p", "1", "--schema", "id INT NOT NULL, city STRING, old STRING"]);
    assert!(broker.refused(&["topic", "create", "bad", "--schema", "id INTT"]).contains("weir.table.schema"));
    let columns = |broker: &Broker| {
        let table = broker.json(&["table", "describe", "t"]);
        let columns = table["columns"].as_array().unwrap().clone();
        let column = |column: &Value| format!("{} {} {}", column["column"], column["type"], column["nullable"]);
        columns.iter().map(column).collect::<Vec<_>>().join(",").replace('"', "")
    };
    assert_eq!(columns(&broker), "id INT no,city STRING yes,old STRING yes");
    broker.ok(&[
        "table",
        "alter",
        "t",
        "--widen",
        "id BIGINT",
        "--drop",
        "old",
        "--add",
        "n INT DEFAULT 3",
        "--dry-run",
    ]);
    assert_eq!(columns(&broker), "id INT no,city STRING yes,old STRING yes");
    broker.ok(&["table", "alter", "t", "--widen", "id BIGINT", "--drop", "old", "--add", "n INT DEFAULT 3"]);
    assert_eq!(broker.ok(&["table", "schema", "t"]), "id BIGINT NOT NULL, city STRING, n INT DEFAULT 3\n");
    assert!(broker.refused(&["table", "alter", "t", "--drop", "x"]).contains("is not a column"));
    assert!(broker.refused(&["table", "alter", "t", "--add", "x INT NOT NULL"]).contains("add DEFAULT"));
    broker.produce(&["t"], "{\"id\":1}\n");
    let mut process = broker.command(&["produce", "t"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"{\"id\":\"x\"}\n").unwrap();
    assert!(!process.wait_with_output().unwrap().status.success());
}

#[test]
fn history_segments_and_statistics_of_a_table_are_told() {
    let (broker, http) = with_http();
    broker.ok(&["topic", "create", "t", "-p", "1", "--schema", "id INT, city STRING", "-c", "weir.layout=column"]);
    let city = "x".repeat(200);
    let rows: String = (0..12_000).map(|id| format!("{{\"id\":{id},\"city\":\"{city}{}\"}}\n", id % 7)).collect();
    broker.produce(&["t"], &rows);
    broker.ok(&["table", "alter", "t", "--rename", "city:town", "--widen", "id BIGINT", "--add", "n INT"]);
    assert_eq!(broker.ok(&["table", "schema", "t"]), "id BIGINT, town STRING, n INT\n");
    let ask = |what: &str| broker.json(&["table", what, "t", "--http", &http]);
    let history = ask("history");
    let changes = &history[1]["changes"];
    assert_eq!((history.as_array().unwrap().len(), &history[0]["changes"][0]), (2, &"created".into()));
    assert_eq!(changes[0], "id: INT became BIGINT");
    assert_eq!((&changes[1], &changes[2]), (&"renamed city to town".into(), &"added n".into()));
    let mut segments = ask("segments");
    for _ in 0..300 {
        if segments.as_array().unwrap().iter().any(|segment| segment["form"] == "columns") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        segments = ask("segments");
    }
    let columns = segments.as_array().unwrap().iter().find(|segment| segment["form"] == "columns").unwrap().clone();
    assert!(columns["groups"].as_u64().unwrap() > 0 && columns["bytes"].as_u64().unwrap() > 0, "{segments}");
    let stats = ask("stats");
    assert_eq!((&stats[0]["column"], &stats[0]["min"], &stats[0]["nulls"]), (&"id".into(), &"0".into(), &0.into()));
    let rows = stats[0]["rows"].as_u64().unwrap();
    assert_eq!(stats[0]["max"], (rows - 1).to_string(), "the first rows are stored: {stats}");
    assert_eq!((&stats[1]["column"], stats[1]["rows"].as_u64()), (&"town".into(), Some(rows)), "under its new name");
    // Rows from before the rename are read under the new name, and producers may use either.
    broker.produce(&["t"], "{\"id\":-1,\"city\":\"Ulm\"}\n{\"id\":-2,\"town\":\"Bern\"}\n");
    let read = ["consume", "t", "-e", "--columns", "id,town", "--where", "id < 1"];
    let found = broker.ok(&[&read[..], &["-o", "json"]].concat());
    assert!(found.contains("Ulm") && found.contains("Bern") && found.contains(&format!("{city}0")), "{found}");
    assert!(broker.refused(&["table", "stats", "nobody", "--http", &http]).contains("no topic of this broker"));
}

#[test]
fn dead_letters_go_back_once_the_schema_takes_them() {
    let broker = Broker::start();
    broker.ok(&["topic", "create", "t", "-p", "2", "--schema", "id INT", "-c", "weir.on.invalid=dead-letter"]);
    let rows = "a:{\"id\":1}\nb:{\"id\":5000000000}\nc:{\"id\":2}\nb:{\"id\":6000000000}\nd:{\"id\":\"x\"}\n";
    broker.produce(&["t", "-K", ":", "-H", "own=1"], rows);
    let values = |topic: &str| {
        let text = broker.ok(&["consume", topic, "-e", "-f", "%p %k %v %h\\n"]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!((values("t").len(), values("t.dlq").len()), (2, 3));
    let reasons = broker.run(&["table", "replay-dlq", "t", "--dry-run"]);
    assert!(text(&reasons.stderr).contains("out of range"), "{}", text(&reasons.stderr));
    assert_eq!(values("t.dlq").len(), 3, "a dry run changes nothing");
    let place = values("t.dlq").into_iter().find(|line| line.contains("5000000000")).unwrap();
    broker.ok(&["table", "alter", "t", "--widen", "id BIGINT"]);
    broker.ok(&["table", "replay-dlq", "t"]);
    let found = values("t");
    assert_eq!(found.len(), 4, "{found:?}");
    let back = found.iter().find(|line| line.contains("5000000000")).unwrap();
    assert!(back.ends_with("b {\"id\":5000000000} own=1"), "as it was produced: {back}");
    assert_eq!(back.chars().next(), place.chars().next(), "into its partition");
    let left = values("t.dlq");
    assert_eq!(left.len(), 1, "what still does not fit is a dead letter again: {left:?}");
    assert!(left[0].contains("{\"id\":\"x\"}"), "{left:?}");
    assert_eq!(left[0].matches("weir.dlq.reason").count(), 1, "with one reason: {left:?}");
}

#[test]
fn a_topic_becomes_a_table_after_it_was_told_what_fits() {
    let broker = Broker::start();
    broker.ok(&["topic", "create", "t", "-p", "2"]);
    broker.produce(&["t"], "{\"id\":1,\"city\":\"Ulm\"}\n{\"id\":\"x\"}\n{\"id\":\"y\"}\nno row\n{\"id\":2}\n");
    let retype = ["table", "retype", "t", "--schema", "id BIGINT NOT NULL, city STRING"];
    let fit = broker.json(&[&retype[..], &["--dry-run"]].concat());
    assert_eq!((&fit["rows"], fit["misfits"].as_array().unwrap().len()), (&2.into(), 2), "{fit}");
    let misfit = fit["misfits"].as_array().unwrap().iter().find(|misfit| misfit["column"] == "id").unwrap();
    assert_eq!(misfit["records"], 2);
    assert!(misfit["first"].as_str().unwrap().contains("offset"), "{misfit}");
    assert!(broker.refused(&retype).contains("3 records that do not fit; nothing was changed"));
    assert!(broker.refused(&["table", "schema", "t"]).contains("no topic with a schema"));
    broker.ok(&[&retype[..], &["--force"]].concat());
    assert_eq!(broker.ok(&["table", "schema", "t"]), "id BIGINT NOT NULL, city STRING\n");
    let all = broker.ok(&["consume", "t", "-e", "-f", "%v\\n"]);
    assert_eq!(all.lines().count(), 5, "nothing was lost");
    let rows = broker.ok(&["consume", "t", "-e", "--columns", "id,city", "-o", "json"]);
    assert!(rows.contains("Ulm"), "{rows}");
    assert!(broker.refused(&retype).contains("has a schema already"));
}

/// Lines of a topic's records, sorted: partitions are read in no order.
fn lines(broker: &Broker, topic: &str, format: &str) -> Vec<String> {
    let text = broker.ok(&["consume", topic, "-e", "-f", format]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn history_of_a_table_outlives_a_killed_broker_and_goes_on() {
    let (mut broker, http) = with_http();
    let history = |broker: &Broker| {
        let history = broker.json(&["table", "history", "t", "--http", &http]);
        let version =
            |version: &Value| format!("{} {}: {}", version["version"], version["columns"], version["changes"]);
        history.as_array().unwrap().iter().map(version).collect::<Vec<_>>().join("\n").replace('"', "")
    };
    broker.ok(&["topic", "create", "t", "-p", "1", "--schema", "id INT NOT NULL, city STRING, old STRING"]);
    broker.ok(&["table", "alter", "t", "--drop", "old", "--rename", "city:town"]);
    broker.ok(&["table", "alter", "t", "--widen", "id BIGINT", "--dry-run"]);
    let before = history(&broker);
    assert_eq!(
        before,
        "1 id INT NOT NULL, city STRING, old STRING: [created]\n\
         2 id INT NOT NULL, town STRING: [renamed city to town,dropped old]"
    );
    broker.kill();
    broker.restart();
    assert_eq!(history(&broker), before);
    broker.produce(&["t"], "{\"id\":1,\"city\":\"Ulm\"}\n");
    broker.ok(&["table", "alter", "t", "--widen", "id BIGINT", "--add", "old INT"]);
    broker.kill();
    broker.restart();
    let after = history(&broker);
    let added = "\n3 id BIGINT NOT NULL, town STRING, old INT: [id: INT became BIGINT,added old]";
    assert_eq!(after, format!("{before}{added}"), "a dropped name is a new column");
    let rows = broker.ok(&["consume", "t", "-e", "--columns", "id,town,old", "-o", "json"]);
    assert!(rows.contains("Ulm"), "{rows}");
}

#[test]
fn dead_letters_and_their_replay_outlive_a_killed_broker() {
    let mut broker = Broker::start();
    broker.ok(&["topic", "create", "t", "-p", "2", "--schema", "id INT", "-c", "weir.on.invalid=dead-letter"]);
    broker.produce(&["t", "-K", ":"], "a:{\"id\":1}\nb:{\"id\":5000000000}\nc:{\"id\":\"x\"}\n");
    let letters = lines(&broker, "t.dlq", "%k %v %h\\n");
    assert_eq!(letters.len(), 2, "{letters:?}");
    broker.kill();
    broker.restart();
    assert_eq!(lines(&broker, "t.dlq", "%k %v %h\\n"), letters);
    broker.ok(&["table", "alter", "t", "--widen", "id BIGINT"]);
    broker.ok(&["table", "replay-dlq", "t"]);
    for _ in 0..2 {
        broker.kill();
        broker.restart();
        assert_eq!(lines(&broker, "t", "%k %v\\n"), ["a {\"id\":1}", "b {\"id\":5000000000}"], "once each");
        assert_eq!(lines(&broker, "t.dlq", "%k %v\\n"), ["c {\"id\":\"x\"}"]);
        // What does not fit comes back, however often it is sent.
        broker.ok(&["table", "replay-dlq", "t"]);
    }
    broker.ok(&["table", "replay-dlq", "t", "--keep"]);
    assert_eq!(lines(&broker, "t.dlq", "%k\\n"), ["c", "c"], "kept, and come back");
}

/// How many records a topic has, by its offsets.
fn records(broker: &Broker, topic: &str) -> i64 {
    let described = broker.json(&["topic", "describe", topic]);
    described[0]["partitions"].as_array().unwrap().iter().map(|one| one["records"].as_i64().unwrap()).sum()
}

/// Killed in the middle, and then the broker too. Only what was on its way is there twice.
#[test]
fn a_replay_that_is_stopped_is_gone_on_with_by_the_next_one() {
    const ROWS: i64 = 60_000;
    let mut broker = Broker::start();
    broker.ok(&["topic", "create", "t", "-p", "1", "--schema", "id INT", "-c", "weir.on.invalid=dead-letter"]);
    let rows: String = (0..ROWS).map(|at| format!("{{\"id\":{}}}\n", 5_000_000_000 + at)).collect();
    broker.produce(&["t"], &rows);
    assert_eq!(records(&broker, "t.dlq"), ROWS);
    broker.ok(&["table", "alter", "t", "--widen", "id BIGINT"]);
    let mut replay = broker.command(&["table", "replay-dlq", "t"]).spawn().unwrap();
    while records(&broker, "t.dlq") == ROWS {
        assert!(replay.try_wait().unwrap().is_none(), "the replay ended and deleted nothing");
    }
    replay.kill().unwrap();
    replay.wait().unwrap();
    let left = records(&broker, "t.dlq");
    assert!(0 < left && left < ROWS, "{left} of {ROWS} were left: it was not stopped in the middle");
    broker.kill();
    broker.restart();
    broker.ok(&["table", "replay-dlq", "t"]);
    assert_eq!(records(&broker, "t.dlq"), 0);
    let mut copies: HashMap<String, usize> = HashMap::new();
    for line in lines(&broker, "t", "%v\\n") {
        *copies.entry(line).or_default() += 1;
    }
    assert_eq!(copies.len() as i64, ROWS, "each is there");
    let twice = copies.values().map(|copies| copies - 1).sum::<usize>();
    assert!(twice <= 1_000, "{twice} copies too many");
}

#[test]
fn a_topic_that_became_a_table_is_one_after_a_kill() {
    let (mut broker, http) = with_http();
    broker.ok(&["topic", "create", "t", "-p", "1", "-c", "weir.layout=column"]);
    let pad = "x".repeat(200);
    let rows: String = (0..8_000)
        .map(|id| if id % 100 == 7 { format!("no row {id}\n") } else { format!("{{\"id\":{id},\"pad\":\"{pad}\"}}\n") })
        .collect();
    broker.produce(&["t"], &rows);
    let retype = ["table", "retype", "t", "--schema", "id BIGINT NOT NULL, pad STRING"];
    let fit = broker.json(&[&retype[..], &["--dry-run"]].concat());
    assert_eq!((&fit["rows"], &fit["misfits"][0]["records"]), (&7_920.into(), &80.into()), "{fit}");
    broker.kill();
    broker.restart();
    let versions = |broker: &Broker| broker.json(&["table", "history", "t", "--http", &http]).as_array().unwrap().len();
    assert_eq!(versions(&broker), 0, "a dry run changes nothing");
    broker.ok(&[&retype[..], &["--force"]].concat());
    broker.kill();
    broker.restart();
    assert_eq!(
        (versions(&broker), broker.ok(&["table", "schema", "t"])),
        (1, "id BIGINT NOT NULL, pad STRING\n".into())
    );
    assert!(broker.ok(&["consume", "t", "-e", "-f", "%v\\n"]) == rows, "every record keeps its bytes");
    let found = broker.ok(&["consume", "t", "-e", "--columns", "id", "--where", "id >= 4000", "-o", "json"]);
    assert_eq!(found.lines().count(), 3_960, "old records are rows");
    let mut process = broker.command(&["produce", "t"]).stdin(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"no row\n").unwrap();
    let refused = process.wait_with_output().unwrap();
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("expected an object"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn a_topic_of_a_json_schema_has_its_columns() {
    let (http, registry) = (free(), free());
    let listeners = Listeners { kafka: free(), http: http.clone(), registry: registry.clone(), settings: &[] };
    let mut broker = Broker::start_at(listeners);
    let file = broker.folder.path().join("flight.json");
    let schema = r#"{"type":"object","properties":{"id":{"type":"integer"},"at":{"type":"string","format":"date"}},"required":["id"]}"#;
    std::fs::File::create(&file).unwrap().write_all(schema.as_bytes()).unwrap();
    let file = file.to_str().unwrap();
    broker.ok(&["topic", "create", "t", "-p", "1", "--schema", file, "--registry", &registry]);
    for _ in 0..2 {
        let history = broker.json(&["table", "history", "t", "--http", &http]);
        assert_eq!(history[0]["columns"], "id BIGINT NOT NULL, at DATE");
        broker.produce(&["t"], "{\"id\":1,\"at\":\"2013-01-01\"}\n");
        broker.kill();
        broker.restart();
    }
    let found = broker.ok(&["consume", "t", "-e", "--columns", "id,at", "-o", "json"]);
    assert_eq!(found.matches("2013-01-01").count(), 2, "{found}");
    let mut process = broker.command(&["produce", "t"]).stdin(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"{\"at\":\"today\"}\n").unwrap();
    let refused = process.wait_with_output().unwrap();
    assert!(!refused.status.success() && text(&refused.stderr).contains("column at"), "{}", text(&refused.stderr));
    let refused = broker.refused(&["topic", "create", "bad", "--schema", file, "-c", "weir.table.schema=id INT"]);
    assert!(refused.contains("both name the columns of JSON rows"), "{refused}");
}
