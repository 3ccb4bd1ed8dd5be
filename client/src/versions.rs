//! Which version of an API to speak on a connection: the highest that both the broker announced and this client can encode and
//! decode.

use std::collections::BTreeMap;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::protocol::{Message, Request, VersionRange};

use crate::error::{ClientError, Result};

/// What one broker announced.
#[derive(Debug, Clone, Default)]
pub struct VersionTable {
    ranges: BTreeMap<i16, VersionRange>,
    features: BTreeMap<String, VersionRange>,
}

impl VersionTable {
    /// Takes over an ApiVersions response.
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version }))
            .collect();
        let features = response.supported_features.iter().map(|feature| {
            (feature.name.to_string(), VersionRange { min: feature.min_version, max: feature.max_version })
        });
        Self { ranges, features: features.collect() }
    }

    /// The version to use for `R`; `broker` only names the broker in the error.
    pub fn pick<R: Request>(&self, broker: &str) -> Result<i16> {
        let api = api_of::<R>();
        let Some(announced) = self.ranges.get(&R::KEY) else {
            return Err(ClientError::ApiNotServed { broker: broker.to_owned(), api });
        };
        let own = client_range::<R>();
        let common = announced.intersect(&own);
        if common.is_empty() {
            return Err(ClientError::NoCommonVersion {
                broker: broker.to_owned(),
                api,
                broker_versions: announced.to_string(),
                client_versions: own.to_string(),
            });
        }
        Ok(common.max)
    }

    /// The versions of a feature that the broker supports, if it supports it at all (ApiVersions 3 and later tell).
    pub fn feature(&self, name: &str) -> Option<VersionRange> {
        self.features.get(name).copied()
    }

    /// Everything announced, by API key.
    pub fn announced(&self) -> impl Iterator<Item = (i16, &VersionRange)> {
        self.ranges.iter().map(|(key, range)| (*key, range))
    }
}

/// A request's structs may end earlier or later than its response's; only what both can do is usable.
fn client_range<R: Request>() -> VersionRange {
    <R as Message>::VERSIONS.intersect(&<R::Response as Message>::VERSIONS)
}

/// The API key of a request type.
pub(crate) fn api_of<R: Request>() -> ApiKey {
    // Every request struct of the protocol crate has its key in the crate's own enum, so the fallback is never taken.
    ApiKey::try_from(R::KEY).unwrap_or(ApiKey::ApiVersions)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{FetchRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest};

    use super::*;

    fn table(ranges: &[(i16, i16, i16)]) -> VersionTable {
        let keys = ranges
            .iter()
            .map(|&(key, min, max)| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max))
            .collect();
        VersionTable::from_response(&ApiVersionsResponse::default().with_api_keys(keys))
    }

    #[test]
    fn the_highest_version_that_both_sides_know_is_picked() {
        let table = table(&[(0, 0, 99), (1, 4, 11), (3, 0, 0)]);
        assert_eq!(table.pick::<ProduceRequest>("b").unwrap(), 13);
        assert_eq!(table.pick::<FetchRequest>("b").unwrap(), 11);
        assert_eq!(table.pick::<MetadataRequest>("b").unwrap(), 0);
    }

    #[test]
    fn the_shorter_of_request_and_response_structs_limits_the_client() {
        assert_eq!(table(&[(22, 0, 6)]).pick::<InitProducerIdRequest>("b").unwrap(), 5);
    }

    #[test]
    fn missing_and_disjoint_apis_are_told_apart() {
        let table = table(&[(1, 0, 3)]);
        assert!(matches!(table.pick::<FetchRequest>("b"), Err(ClientError::NoCommonVersion { .. })));
        assert!(matches!(table.pick::<ProduceRequest>("b"), Err(ClientError::ApiNotServed { .. })));
    }
}
