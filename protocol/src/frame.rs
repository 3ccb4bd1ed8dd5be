//! The header of a request, and which header its response has. A frame is what follows the 4-byte length.
//!
//! Header 1: api key i16, api version i16, correlation id i32, client id (nullable string). Header 2, used from an
//! API's first flexible version on, adds tagged fields; its client id stays in the old form.

use thiserror::Error;

use crate::guard;
use crate::wire::{Wire, WireError};

/// The API whose response header never has tagged fields: a client reads it before it knows what the broker speaks.
pub const API_VERSIONS_KEY: i16 = 18;

/// Why a frame has no usable header. Either way the connection closes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The bytes are not a header.
    #[error("malformed request header: {0}")]
    Malformed(#[from] WireError),
    /// An API that we do not know, so that even the header's layout is unknown.
    #[error("unknown API key {api_key} (version {api_version}, correlation id {correlation_id})")]
    UnknownApi {
        /// The key.
        api_key: i16,
        /// The version.
        api_version: i16,
        /// The correlation id.
        correlation_id: i32,
    },
}

/// A parsed request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: i16,
    /// Which version of it; not checked against what is served.
    pub api_version: i16,
    /// Returned in the response.
    pub correlation_id: i32,
    /// What the client calls itself. Invalid UTF-8 is replaced, as Kafka does.
    pub client_id: Option<String>,
    /// 1 or 2.
    pub header_version: i16,
    /// Where the body starts in the frame.
    pub body_offset: usize,
}

impl RequestHeader {
    /// Reads the header at the front of a frame.
    pub fn parse(frame: &[u8]) -> Result<RequestHeader, FrameError> {
        let mut wire = Wire::new(frame);
        let api_key = wire.i16("request_api_key")?;
        let api_version = wire.i16("request_api_version")?;
        let correlation_id = wire.i32("correlation_id")?;
        let Some(header_version) = request_header_version(api_key, api_version) else {
            return Err(FrameError::UnknownApi { api_key, api_version, correlation_id });
        };
        let client_id = wire.nullable_str(false, "client_id")?;
        if header_version >= 2 {
            wire.skip_tagged_fields()?;
        }
        Ok(RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id: client_id.map(|id| String::from_utf8_lossy(id).into_owned()),
            header_version,
            body_offset: wire.position(),
        })
    }
}

/// Header version of a request; `None` for an unknown API. Answers for versions beyond the served ones too, since an
/// ApiVersions request of any version must be readable.
#[must_use]
pub fn request_header_version(api_key: i16, api_version: i16) -> Option<i16> {
    let api = guard::api(api_key)?;
    Some(if api_version >= api.flexible { 2 } else { 1 })
}

/// Header version of the response to it: 1 if the API version is flexible, and always 0 for ApiVersions.
#[must_use]
pub fn response_header_version(api_key: i16, api_version: i16) -> Option<i16> {
    let api = guard::api(api_key)?;
    Some(i16::from(api_key != API_VERSIONS_KEY && api_version >= api.flexible))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::RequestHeader as KpHeader;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn encoded(api_key: i16, api_version: i16, client_id: Option<&str>) -> BytesMut {
        let header_version = request_header_version(api_key, api_version).unwrap();
        let mut header = KpHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(api_version)
            .with_correlation_id(77)
            .with_client_id(client_id.map(|id| StrBytes::from_string(id.to_owned())));
        if header_version == 2 {
            header = header.with_unknown_tagged_field(9, b"tagged"[..].into());
        }
        let mut out = BytesMut::new();
        header.encode(&mut out, header_version).unwrap();
        out
    }

    #[test]
    fn every_known_api_agrees_with_the_protocol_crate_on_header_versions() {
        let mut known = 0;
        for api_key in 0..128 {
            let Some((min, max)) = guard::decodable_versions(api_key) else { continue };
            let theirs = ApiKey::try_from(api_key).unwrap();
            known += 1;
            for version in min..=max {
                let name = guard::api_name(api_key);
                assert_eq!(
                    request_header_version(api_key, version),
                    Some(theirs.request_header_version(version)),
                    "{name:?} {version}"
                );
                assert_eq!(
                    response_header_version(api_key, version),
                    Some(theirs.response_header_version(version)),
                    "{name:?} {version}"
                );
            }
        }
        assert!(known > 50);
    }

    #[test]
    fn both_header_versions_are_read_with_and_without_client_id() {
        for (api_key, api_version) in [(3, 1), (3, 12), (18, 0), (18, 4), (18, 99)] {
            for client_id in [None, Some(""), Some("rdkafka")] {
                let mut frame = encoded(api_key, api_version, client_id);
                let body_offset = frame.len();
                frame.extend_from_slice(b"body");
                let header = RequestHeader::parse(&frame).unwrap();
                assert_eq!((header.api_key, header.api_version), (api_key, api_version));
                assert_eq!((header.correlation_id, header.body_offset), (77, body_offset));
                assert_eq!(header.client_id.as_deref(), client_id);
                for len in 0..body_offset {
                    assert!(RequestHeader::parse(&frame[..len]).is_err(), "cut at {len}");
                }
            }
        }
    }

    #[test]
    fn unknown_apis_and_hostile_lengths_are_refused() {
        let unknown = [0x7f, 0xff, 0, 1, 0, 0, 0, 9, 0xff, 0xff];
        let expected = FrameError::UnknownApi { api_key: 0x7fff, api_version: 1, correlation_id: 9 };
        assert_eq!(RequestHeader::parse(&unknown), Err(expected));
        let negative = [0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert!(matches!(RequestHeader::parse(&negative), Err(FrameError::UnknownApi { api_key: -1, .. })));
        let long_id = [0, 3, 0, 1, 0, 0, 0, 9, 0x7f, 0xff];
        assert!(matches!(RequestHeader::parse(&long_id), Err(FrameError::Malformed(WireError::Truncated { .. }))));
        let bad_id = [0, 3, 0, 1, 0, 0, 0, 9, 0x80, 0];
        assert!(matches!(RequestHeader::parse(&bad_id), Err(FrameError::Malformed(WireError::NegativeLength { .. }))));
        let tags = [0, 3, 0, 12, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(RequestHeader::parse(&tags), Err(FrameError::Malformed(WireError::CountTooLarge { .. }))));
        // All of them are there: the count is enough to refuse them.
        let mut many = vec![0, 3, 0, 12, 0, 0, 0, 9, 0xff, 0xff, 0xa0, 0x8d, 0x06];
        many.extend([1, 0].repeat(100_000));
        assert!(matches!(RequestHeader::parse(&many), Err(FrameError::Malformed(WireError::TooManyElements { .. }))));
    }
}
