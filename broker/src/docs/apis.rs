//! apis.md, from the version table that ApiVersions answers from.
use super::markdown::{start, table};
use crate::api::SERVED;

const ABOUT: &str = "\
What the broker answers, and what ApiVersions tells clients. Each API is one file in broker/src/api, which names its KIPs and
errors. A version that is listed to clients but not served closes the connection: some clients misbehave when it is not listed.
";

pub(super) fn page() -> String {
    let mut text = start("Kafka APIs", "`SERVED` in broker/src/api/mod.rs", ABOUT);
    let rows = SERVED.iter().map(|versions| {
        let range = |min: i16, max: i16| if min == max { min.to_string() } else { format!("{min} to {max}") };
        vec![
            format!("{:?}", versions.key),
            (versions.key as i16).to_string(),
            range(versions.min, versions.max),
            range(versions.advertised_min, versions.max),
        ]
    });
    table(&mut text, &["API", "Key", "Served versions", "Listed to clients"], rows);
    text
}
