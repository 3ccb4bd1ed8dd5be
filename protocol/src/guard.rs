//! Walks a request's shape before the protocol crate decodes it.
//!
//! The crate allocates whatever an array length says: a Fetch body of 26 bytes made it ask for 412 GB. So every
//! length and count is compared with the bytes that are left, and all elements of a request together with a budget.
//! What passes here can be decoded in memory proportional to its size (NET-1). Tagged fields are walked too, and a
//! known one must fill exactly the size it names: the crate does not look at that size, and would otherwise read the
//! rest of the request shifted.

mod shape;
mod tables;
mod walk;

use thiserror::Error;

use crate::wire::WireError;

pub(crate) use tables::api;

/// Limits of a request beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// Structs, strings and tagged fields in arrays, all together. Each costs up to some 200 bytes when decoded.
    pub max_elements: usize,
}

impl Default for GuardLimits {
    /// 200,000: forty times what a consumer of 5,000 partitions sends.
    fn default() -> Self {
        GuardLimits { max_elements: 200_000 }
    }
}

/// Why a request must not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GuardError {
    /// No shape is known for this API key.
    #[error("unknown API key {api_key}")]
    UnknownApi {
        /// The key.
        api_key: i16,
    },
    /// The version is outside of what can be decoded.
    #[error("{api} version {version} is not supported; use {min} to {max}")]
    UnsupportedVersion {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version of the request.
        version: i16,
        /// First version that can be decoded.
        min: i16,
        /// Last version that can be decoded.
        max: i16,
    },
    /// The body contradicts the shape.
    #[error("malformed {api} request, version {version}: {error}")]
    Malformed {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version of the request.
        version: i16,
        /// What is wrong.
        #[source]
        error: WireError,
    },
}

/// Checks the body of a request, which is what follows the request header. Returns how many bytes follow its last field;
/// as in Apache Kafka they do no harm, and librdkafka sends some.
pub fn check(api_key: i16, api_version: i16, body: &[u8], limits: &GuardLimits) -> Result<usize, GuardError> {
    let api = api(api_key).ok_or(GuardError::UnknownApi { api_key })?;
    if api_version < api.min || api_version > api.max {
        return Err(GuardError::UnsupportedVersion { api: api.name, version: api_version, min: api.min, max: api.max });
    }
    walk::request(api, api_version, body, limits).map_err(|error| GuardError::Malformed {
        api: api.name,
        version: api_version,
        error,
    })
}

/// First and last version of an API that can be decoded at all. The broker advertises a subset of its own.
#[must_use]
pub fn decodable_versions(api_key: i16) -> Option<(i16, i16)> {
    api(api_key).map(|api| (api.min, api.max))
}

/// Kafka's name of an API, for logs and errors.
#[must_use]
pub fn api_name(api_key: i16) -> Option<&'static str> {
    api(api_key).map(|api| api.name)
}

#[cfg(test)]
mod tests;
