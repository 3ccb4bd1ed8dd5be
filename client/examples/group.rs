//! The same as a member of a consumer group, until there is nothing for two seconds; started again, it goes on where it stopped:
//! `cargo run -p weir-client --example group -- 127.0.0.1:9092 flights my-group "_offset % 2 = 0"`.

use std::time::Duration;

use weir_client::group::GroupConfig;
use weir_client::{Client, ClientConfig, parse_brokers};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, group, predicate] = arguments.as_slice() else {
        return Err("usage: group BROKERS TOPIC GROUP PREDICATE".into());
    };
    let client = Client::new(ClientConfig { bootstrap: parse_brokers(brokers)?, ..ClientConfig::default() })?;
    let query = client.topic(topic.as_str()).columns(["_offset"]).filter(predicate.as_str());
    let mut reader = query.reader_in_group(GroupConfig::new(group.as_str()));
    let mut idle = 0;
    while idle < 2 || reader.rebalances() == 0 {
        // Asking for more says that what came before is processed; it is committed every few seconds and on leaving.
        let batches = reader.poll(Duration::from_secs(1)).await?;
        idle = if batches.is_empty() { idle + 1 } else { 0 };
        for batch in batches {
            println!(
                "partition {}: {} rows up to offset {:?}",
                batch.partition,
                batch.rows.num_rows(),
                batch.offsets.last()
            );
        }
    }
    reader.close().await?;
    Ok(())
}
