//! Why a scan failed.
use arrow_schema::ArrowError;
use thiserror::Error;
use weir_predicate::EvaluateError;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanError {
    #[cfg(feature = "log")]
    #[error(transparent)]
    Read(#[from] weir_storage::log::ReadError),
    #[error("the predicate is too expensive: {0}")]
    Predicate(EvaluateError),
    #[error("the scan failed: {reason}")]
    Failed { reason: String },
}

impl ScanError {
    pub(crate) fn failed(reason: String) -> ScanError {
        ScanError::Failed { reason }
    }
}

impl From<ArrowError> for ScanError {
    fn from(error: ArrowError) -> ScanError {
        ScanError::failed(error.to_string())
    }
}
