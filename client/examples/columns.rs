//! Columns of matching rows as an async stream: `cargo run -p weir-client --example columns -- 127.0.0.1:9092 flights "_offset < 100"`.

use weir_client::{Client, ClientConfig, parse_brokers};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, rest @ ..] = arguments.as_slice() else {
        return Err("usage: columns BROKERS TOPIC [PREDICATE [COLUMN...]]".into());
    };
    let client = Client::new(ClientConfig { bootstrap: parse_brokers(brokers)?, ..ClientConfig::default() })?;
    let mut query = client.topic(topic.as_str()).to_end();
    if let Some((predicate, columns)) = rest.split_first() {
        query = query.filter(predicate.as_str());
        if !columns.is_empty() {
            query = query.columns(columns.iter().cloned());
        }
    }
    let mut rows = query.stream();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let names: Vec<_> = batch.rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        println!(
            "{}-{}: {} rows up to offset {:?} of {}",
            batch.topic,
            batch.partition,
            batch.rows.num_rows(),
            batch.offsets.last(),
            names.join(", ")
        );
    }
    println!("{:#?}", rows.statistics());
    Ok(())
}
