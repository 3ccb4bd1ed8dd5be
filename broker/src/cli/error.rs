//! Errors as a person meets them: what happened, which setting it hangs on, what to do.

use std::io::{self, Write};

use weir_client::ClientError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The cluster could not be reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A flag's value, or a combination of flags, cannot work.
    #[error("{setting}: `{value}` {reason}")]
    Invalid {
        /// The flag or setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot work.
        reason: String,
        /// What to write instead.
        fix: String,
    },
    /// Reading or writing failed on this side.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The Schema Registry refused.
    #[error("the Schema Registry refused ({status}, code {code}): {reason}")]
    Registry {
        /// HTTP status.
        status: u16,
        /// Its own code.
        code: u64,
        /// Its message.
        reason: String,
    },
    /// A service that is not the Schema Registry refused.
    #[error("{whom} refused ({status}): {reason}")]
    Refused {
        /// Who.
        whom: &'static str,
        /// HTTP status.
        status: u16,
        /// Its message.
        reason: String,
    },
    /// Log and lake table have other rows.
    #[error("the lake table of `{topic}` and its log do not have the same rows: {found}")]
    Differs {
        /// The topic.
        topic: String,
        /// What differs, in a few words.
        found: String,
    },
    /// The profile file cannot be understood.
    #[error("{path} is not a valid profile file: {reason}")]
    ProfileFile {
        /// Path of the file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record of the input was not written.
    #[error("record {number} of the input was not written: {source}")]
    NotWritten {
        /// Its number, from 1.
        number: u64,
        /// Why.
        source: ClientError,
    },
    /// A record of the input is larger than any request may be.
    #[error("record {number} of the input is longer than {limit} bytes")]
    InputTooLong {
        /// Its number, from 1.
        number: u64,
        /// The limit.
        limit: usize,
    },
    /// Some of several items failed; each has been reported already.
    #[error("{failed} of {total} failed")]
    Partial {
        /// How many failed.
        failed: usize,
        /// Out of how many.
        total: usize,
    },
    /// Ctrl-C or SIGTERM before the command had finished.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// An error of this side's input or output.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Whether the reader of our output went away, as `head` does; then there is nothing to complain about.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the address of the brokers is what to look at.
    pub(crate) fn is_about_brokers(&self) -> bool {
        let source = match self {
            Self::Client(source) | Self::NotWritten { source, .. } => source,
            _ => return false,
        };
        source.is_connection_failure() || matches!(source, ClientError::FrameTooLarge { .. })
    }

    fn fix(&self) -> Option<String> {
        match self {
            Self::Client(source) | Self::NotWritten { source, .. } => source.hint(),
            Self::Invalid { fix, .. } => Some(fix.clone()),
            Self::ProfileFile { .. } => {
                Some("correct or delete it, then use `weir profile set NAME --brokers ...`".into())
            }
            Self::InputTooLong { .. } => {
                Some("raise --max-bytes (and the topic's `max.message.bytes`), or check the delimiter (-D)".into())
            }
            Self::Differs { .. } => Some(
                "restore the table's files from a copy, or move the table away: it is made again of what the log still has".into(),
            ),
            Self::Refused { .. } | Self::Registry { .. } | Self::Io { .. } | Self::Partial { .. } | Self::Interrupted => None,
        }
    }

    /// 130 as shells have it for an interrupted command, otherwise 1; 0 if only the reader of the output left.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            error if error.is_broken_pipe() => 0,
            _ => 1,
        }
    }

    /// Writes cause, setting and fix, each on a line.
    pub(crate) fn report(&self, setting: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        if self.is_broken_pipe() {
            return Ok(());
        }
        writeln!(out, "error: {self}")?;
        if let Some(setting) = setting {
            writeln!(out, "  setting: {setting}")?;
        }
        match self.fix() {
            Some(fix) => writeln!(out, "  fix: {fix}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_refused_connection_is_reported_with_cause_setting_and_fix() {
        let error = CliError::Client(ClientError::Connect {
            broker: "127.0.0.1:9092".into(),
            advertised: false,
            source: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
        });
        let mut out = Vec::new();
        error.report(Some("--brokers 127.0.0.1:9092 (the default)"), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "error: cannot connect to 127.0.0.1:9092: connection refused\n  \
             setting: --brokers 127.0.0.1:9092 (the default)\n  \
             fix: is weir running? Start it with `weir serve`, or name its address with --brokers\n"
        );
        assert!(error.is_about_brokers());
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let error = CliError::io("writing")(io::Error::from(io::ErrorKind::BrokenPipe));
        let mut out = Vec::new();
        error.report(None, &mut out).unwrap();
        assert!(out.is_empty());
        assert_eq!(error.exit_code(), 0);
    }
}
