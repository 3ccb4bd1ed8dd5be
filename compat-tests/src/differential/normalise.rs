//! Turns what may differ between two honest brokers into symbols.
//!
//! Ids of topics, members and producers get a symbol by order of appearance, so that "the same id again" stays visible while
//! the id itself does not. Ports, sizes on disk and clocks get one symbol each. Lists whose order Kafka does not promise are
//! sorted by what names their entries.

use std::collections::HashMap;

use serde_json::Value;

use super::batch;

/// Timestamps from here on can only have come from the broker's clock: the scenarios' records are of 2013.
const CLOCK_FROM: i64 = 1_600_000_000_000;

/// Fields that people read and programs do not: recorded (without their numbers), not compared.
pub const TEXTS: [&str; 3] = ["error_message", "batch_index_error_message", "documentation"];

/// The symbols of one scenario.
pub struct Normaliser {
    /// What all names of this run and scenario begin with.
    prefix: String,
    symbols: HashMap<(&'static str, String), usize>,
    counts: HashMap<&'static str, usize>,
}

impl Normaliser {
    pub fn new(prefix: &str) -> Normaliser {
        Normaliser { prefix: prefix.to_owned(), symbols: HashMap::new(), counts: HashMap::new() }
    }

    /// The tree with all that may differ replaced.
    pub fn apply(&mut self, mut tree: Value) -> Value {
        self.walk("", &mut tree);
        tree
    }

    fn walk(&mut self, field: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                // A missing field compares equal to null, and most fields of most answers are null.
                fields.retain(|name, value| name != "throttle_time_ms" && !value.is_null());
                for (name, inner) in fields.iter_mut() {
                    self.walk(name, inner);
                }
            }
            Value::Array(items) => {
                // Our own topic settings beside Kafka's.
                items.retain(|item| {
                    !item["name"].as_str().is_some_and(|name| field == "configs" && name.starts_with("weir."))
                });
                sort(items);
                for item in items.iter_mut() {
                    self.walk(field, item);
                }
                // Members come in any order and are named by ids, so only their symbols can be sorted.
                if field == "members" {
                    items.sort_by_key(Value::to_string);
                }
            }
            _ => self.leaf(field, value),
        }
    }

    fn leaf(&mut self, field: &str, value: &mut Value) {
        let number = value.as_i64();
        let text = value.as_str().map(str::to_owned);
        let replacement = match (field, number, text) {
            ("records", _, Some(hex)) => Some(batch::describe(&bytes_of(&hex))),
            ("host", _, Some(_)) => Some(symbol("host")),
            ("port", Some(_), _) => Some(symbol("port")),
            ("cluster_id", _, Some(_)) => Some(symbol("cluster")),
            ("log_dir", _, Some(_)) => Some(symbol("dir")),
            ("partition_size" | "total_bytes" | "usable_bytes", Some(n), _) if n > 0 => Some(symbol("size")),
            ("session_id", Some(n), _) if n != 0 => Some(symbol("session")),
            ("leader_epoch", Some(n), _) if n >= 0 => Some(symbol("epoch")),
            (
                "node_id"
                | "leader_id"
                | "controller_id"
                | "broker_id"
                | "replica_nodes"
                | "isr_nodes"
                | "preferred_read_replica",
                Some(n),
                _,
            ) if n >= 0 => Some(symbol("node")),
            ("topic_id", _, Some(id)) if !id.starts_with("00000000-0000-0000-0000") => {
                Some(self.numbered("topic", &id))
            }
            ("member_id" | "leader", _, Some(id)) if !id.is_empty() && !id.starts_with("no-") => {
                Some(self.numbered("member", &id))
            }
            ("producer_id", Some(n), _) if n >= 0 => Some(self.numbered("producer", &n.to_string())),
            (
                "timestamp" | "max_timestamp" | "log_append_time_ms" | "last_timestamp" | "transaction_start_time_ms",
                Some(n),
                _,
            ) if n >= CLOCK_FROM => Some(symbol("clock")),
            ("coordinator_epoch", Some(n), _) if n >= 0 => Some(symbol("epoch")),
            (_, _, Some(text)) if TEXTS.contains(&field) => Some(Value::String(self.without_numbers(&text))),
            (_, _, Some(text)) if text.contains(&self.prefix) => Some(Value::String(text.replace(&self.prefix, "~"))),
            _ => None,
        };
        if let Some(replacement) = replacement {
            *value = replacement;
            // Batches are a tree of their own with producer ids and timestamps in it.
            if field == "records" {
                self.walk("", value);
            }
        }
    }

    /// An error text with each number replaced, since most are ids and times.
    fn without_numbers(&self, text: &str) -> String {
        let mut out = String::new();
        for c in text.replace(&self.prefix, "~").chars() {
            match c.is_ascii_digit() {
                true if out.ends_with('#') => {}
                true => out.push('#'),
                false => out.push(c),
            }
        }
        out
    }

    fn numbered(&mut self, kind: &'static str, raw: &str) -> Value {
        let counts = &mut self.counts;
        let number = *self.symbols.entry((kind, raw.to_owned())).or_insert_with(|| {
            let count = counts.entry(kind).or_insert(0);
            *count += 1;
            *count
        });
        Value::String(format!("<{kind}-{number}>"))
    }
}

fn symbol(kind: &str) -> Value {
    Value::String(format!("<{kind}>"))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .filter_map(|pair| std::str::from_utf8(pair).ok())
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect()
}

/// Sorts objects by their names and numbers; a list without any keeps its order.
fn sort(items: &mut [Value]) {
    const NAMES: [&str; 7] = ["name", "topic", "topic_name", "group_id", "key", "resource_name", "transactional_id"];
    const NUMBERS: [&str; 5] = ["partition_index", "partition", "index", "api_key", "node_id"];
    let identity = |item: &Value| {
        let name = NAMES.iter().find_map(|field| item.get(field)?.as_str().map(str::to_owned));
        let number = NUMBERS.iter().find_map(|field| item.get(field)?.as_i64());
        (name, number)
    };
    if items.iter().all(|item| item.is_object() && item.get("magic").is_none() && identity(item) != (None, None)) {
        items.sort_by_key(identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_id_gets_the_same_symbol_and_another_id_another() {
        let mut normaliser = Normaliser::new("d-1-x");
        let tree = normaliser.apply(json!({"throttle_time_ms": 3, "entries": [
            {"member_id": "aaa", "leader": "bbb"}, {"member_id": "bbb", "name": "d-1-x.topic"}, {"member_id": ""}]}));
        assert_eq!(
            tree,
            json!({"entries": [
                {"member_id": "<member-2>", "leader": "<member-1>"}, {"member_id": "<member-1>", "name": "~.topic"},
                {"member_id": ""}]})
        );
        assert_eq!(normaliser.apply(json!({"member_id": "aaa"})), json!({"member_id": "<member-2>"}));
    }

    #[test]
    fn topics_and_partitions_are_sorted_and_batches_are_not() {
        let mut normaliser = Normaliser::new("p");
        let tree = normaliser.apply(json!({
            "topics": [{"name": "b", "partitions": [{"partition_index": 1}, {"partition_index": 0}]}, {"name": "a"}],
            "batches": [{"magic": 2, "base_offset": 5, "index": 2}, {"magic": 2, "base_offset": 1, "index": 1}]}));
        assert_eq!(tree["topics"][1]["partitions"], json!([{"partition_index": 0}, {"partition_index": 1}]));
        assert_eq!(tree["batches"][0]["base_offset"], json!(5));
    }

    #[test]
    fn fetched_bytes_become_described_batches() {
        let hex: String =
            batch::Batch::of(3).by_producer(9, 0, 0).encode().iter().map(|b| format!("{b:02x}")).collect();
        let tree = Normaliser::new("p").apply(json!({ "records": hex }));
        assert_eq!(tree["records"][0]["count"], json!(3));
        assert_eq!(tree["records"][0]["crc"], json!("right"));
        assert_eq!(tree["records"][0]["producer_id"], json!("<producer-1>"));
    }
}
