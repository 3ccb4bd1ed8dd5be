//! ApiVersions (key 18): which APIs, versions and features this broker serves.
//!
//! Versions 0-4. KIP-35, KIP-482 (the response header is always v0), KIP-511 (client name and version), KIP-584 (features).
//! Errors: INVALID_REQUEST (a client name or version that is not one), UNSUPPORTED_VERSION (in a v0 body, listing the range
//! of this very API, so that a newer client can ask again), THROTTLING_QUOTA_EXCEEDED (its principal has as many connections as it may;
//! the connection ends).
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{SERVED, Versions};
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::ApiVersions, 0, 4);

/// Lists what is served.
pub fn handle(version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    if version >= 3
        && !(is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version))
    {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    let response = ApiVersionsResponse::default().with_api_keys(SERVED.iter().map(listed).collect());
    // Features are tagged fields of version 3. In version 3 itself none may begin at 0, so it lists none as supported.
    let supported = FEATURES.iter().filter(|_| version >= 4).map(|(name, level)| {
        SupportedFeatureKey::default().with_name(StrBytes::from_static_str(name)).with_max_version(*level)
    });
    let finalized = FEATURES.iter().filter(|_| version >= 3).map(|(name, level)| {
        let key = FinalizedFeatureKey::default().with_name(StrBytes::from_static_str(name));
        key.with_max_version_level(*level).with_min_version_level(*level)
    });
    response
        .with_supported_features(supported.chain([columnar(), column_acls()]).collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(0)
}

/// Features in force, and at which level: what lets clients choose a protocol (KIP-584).
const FEATURES: &[(&str, i16)] = &[
    // Consumers may use ConsumerGroupHeartbeat (KIP-848).
    ("group.version", 1),
    // There are share groups (KIP-932).
    ("share.version", 1),
    // Each transaction has an epoch of its own, and writing to a partition adds it (KIP-890).
    ("transaction.version", 2),
];

/// The body that answers a version this broker does not know. It is encoded as version 0, which every client can read.
pub fn unsupported_version() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(vec![listed(&VERSIONS)])
}

/// The body for a client whose certificate was taken and for whose connection there is no place: with TLS alone, the first answer is
/// where that can be said.
pub fn turned_away() -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(ErrorCode::ThrottlingQuotaExceeded.code())
}

/// The columnar extension is supported and never finalised: each request says for itself whether it uses it.
fn columnar() -> SupportedFeatureKey {
    SupportedFeatureKey::default()
        .with_name(StrBytes::from_static_str(weir_protocol::columnar::FEATURE))
        .with_min_version(weir_protocol::columnar::VERSION_MIN.into())
        .with_max_version(weir_protocol::columnar::VERSION_MAX.into())
}

/// Entries of access control lists may be about some columns and rows: whoever sends such an entry to a broker that skips the tag
/// would allow everything.
fn column_acls() -> SupportedFeatureKey {
    SupportedFeatureKey::default()
        .with_name(StrBytes::from_static_str(weir_protocol::columnar::ACL_FEATURE))
        .with_min_version(weir_protocol::columnar::VERSION_MIN.into())
        .with_max_version(weir_protocol::columnar::VERSION_MAX.into())
}

fn listed(versions: &Versions) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(versions.key as i16)
        .with_min_version(versions.advertised_min)
        .with_max_version(versions.max)
}

/// Kafka's pattern: letters, digits, `-` and `.`, the first and last a letter or digit.
fn is_software_name(name: &str) -> bool {
    let inner = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.';
    match name.as_bytes() {
        [] => false,
        [only] => only.is_ascii_alphanumeric(),
        [first, middle @ .., last] => {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && middle.iter().all(inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    fn named(name: &'static str, version: &'static str) -> ApiVersionsRequest {
        ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(name))
            .with_client_software_version(StrBytes::from_static_str(version))
    }

    fn range_of(response: &ApiVersionsResponse, key: ApiKey) -> Option<(i16, i16)> {
        let entry = response.api_keys.iter().find(|entry| entry.api_key == key as i16)?;
        Some((entry.min_version, entry.max_version))
    }

    #[test]
    fn produce_is_advertised_from_zero_for_librdkafka() {
        let response = handle(4, &named("librdkafka", "2.12.0"));
        assert_eq!(range_of(&response, ApiKey::Produce), Some((0, 13)));
        assert_eq!(range_of(&response, ApiKey::Fetch), Some((4, 18)));
        assert_eq!(range_of(&response, ApiKey::JoinGroup), Some((0, 9)));
    }

    #[test]
    fn what_is_not_served_is_not_listed() {
        let response = handle(4, &named("a", "1"));
        for key in [ApiKey::CreateDelegationToken, ApiKey::GetTelemetrySubscriptions, ApiKey::ReadShareGroupState] {
            assert_eq!(range_of(&response, key), None, "{key:?}");
        }
    }

    #[test]
    fn transactions_of_kip_890_are_announced() {
        let response = handle(4, &named("a", "1"));
        let finalized: Vec<_> =
            response.finalized_features.iter().map(|f| (f.name.as_str(), f.max_version_level)).collect();
        assert!(finalized.contains(&("transaction.version", 2)));
        assert!(finalized.contains(&("share.version", 1)));
        assert_eq!(
            handle(3, &named("a", "1")).supported_features.len(),
            2,
            "of version 3, only features of weir's own begin above 0"
        );
    }

    #[test]
    fn the_columnar_feature_is_supported_from_version_3_on() {
        let response = handle(3, &named("a", "1"));
        let features: Vec<_> =
            response.supported_features.iter().map(|f| (&*f.name, f.min_version, f.max_version)).collect();
        assert!(features.contains(&("weir.columnar", 1, 1)) && features.contains(&("weir.column.acls", 1, 1)));
    }

    #[test]
    fn client_names_are_checked_from_version_3_on() {
        for bad in ["", "-a", "a-", "a b", "ä"] {
            assert_eq!(handle(3, &named(bad, "1.0")).error_code, 42, "{bad:?}");
            assert_eq!(handle(2, &named(bad, "1.0")).error_code, 0, "{bad:?}");
        }
        for good in ["a", "apache-kafka-java", "4.1.0", "kgo.v1-x"] {
            assert_eq!(handle(3, &named(good, good)).error_code, 0, "{good:?}");
        }
    }

    #[test]
    fn newer_version_is_answered_with_a_v0_body_naming_the_range() {
        let body = unsupported_version();
        let mut out = BytesMut::new();
        body.encode(&mut out, 0).unwrap();
        assert_eq!(out.to_vec(), [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }

    #[test]
    fn every_version_encodes() {
        for version in VERSIONS.min..=VERSIONS.max {
            let response = handle(version, &named("a", "1"));
            response.encode(&mut BytesMut::new(), version).unwrap();
        }
    }
}
