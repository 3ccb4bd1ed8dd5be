//! UpdateFeatures (key 57): no feature's level can be chosen here, what the broker serves is what its version serves.
//!
//! Versions 0-2. KIP-584, KIP-778 (validate only, 1). Errors: INVALID_UPDATE_VERSION for the whole request, as soon as it names a feature.
use kafka_protocol::messages::{ApiKey, UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::{Versions, wire};
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::UpdateFeatures, 0, 2);

/// Refuses the first update; a request without any changes nothing and is answered so.
pub fn handle(request: &UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let Some(first) = request.feature_updates.first() else {
        return UpdateFeaturesResponse::default().with_error_message(None);
    };
    let message = format!(
        "no feature was updated: {} has no level that can be set here; ApiVersions lists the features and their levels",
        first.feature.as_str()
    );
    UpdateFeaturesResponse::default()
        .with_error_code(ErrorCode::InvalidUpdateVersion.code())
        .with_error_message(Some(wire(message)))
}
