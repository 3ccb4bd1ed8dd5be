//! TLS and authentication of the client commands, from flags and profile.

use std::fmt;
use std::str::FromStr;

use weir_client::security::{Mechanism, SaslConfig, TlsConfig};
use weir_protocol::sasl::scram::Hash;

use super::profile::Profile;
use super::{CliError, GlobalArgs};

/// A password: shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Secret, Self::Err> {
        Ok(Secret(text.to_owned()))
    }
}

/// Whether flags say anything about TLS or authentication.
pub(crate) fn is_given(globals: &GlobalArgs) -> bool {
    let files = [&globals.tls_ca, &globals.tls_cert, &globals.tls_key, &globals.password_file];
    globals.tls
        || files.iter().any(|file| file.is_some())
        || globals.username.is_some()
        || globals.sasl_mechanism.is_some()
}

/// Puts what flags say into a profile. Files are kept by their whole path.
pub(crate) fn remember(globals: &GlobalArgs, profile: &mut Profile) {
    let whole =
        |file: &Option<std::path::PathBuf>| file.as_ref().map(|f| std::path::absolute(f).unwrap_or_else(|_| f.clone()));
    profile.tls = globals.tls.then_some(true).or(profile.tls);
    profile.tls_ca = whole(&globals.tls_ca).or(profile.tls_ca.take());
    profile.tls_cert = whole(&globals.tls_cert).or(profile.tls_cert.take());
    profile.tls_key = whole(&globals.tls_key).or(profile.tls_key.take());
    profile.username = globals.username.clone().or(profile.username.take());
    profile.password_file = whole(&globals.password_file).or(profile.password_file.take());
    profile.sasl_mechanism = globals.sasl_mechanism.clone().or(profile.sasl_mechanism.take());
}

/// TLS if anything asks for it.
pub(crate) fn tls(globals: &GlobalArgs, profile: &Profile) -> Option<TlsConfig> {
    let ca = globals.tls_ca.clone().or_else(|| profile.tls_ca.clone());
    let certificate = globals.tls_cert.clone().or_else(|| profile.tls_cert.clone());
    let key = globals.tls_key.clone().or_else(|| profile.tls_key.clone());
    let certificate = certificate.zip(key);
    let wanted = globals.tls || profile.tls == Some(true) || ca.is_some() || certificate.is_some();
    wanted.then_some(TlsConfig { ca, certificate })
}

/// Name and password if there is a name, or a token.
pub(crate) fn sasl(globals: &GlobalArgs, profile: &Profile) -> Result<Option<SaslConfig>, CliError> {
    let username = globals.username.clone().or_else(|| profile.username.clone());
    let mechanism = match globals.sasl_mechanism.as_deref().or(profile.sasl_mechanism.as_deref()) {
        None => Mechanism::Scram(Hash::Sha512),
        Some(name) => name.to_ascii_uppercase().parse().map_err(|_| CliError::Invalid {
            setting: "--sasl-mechanism",
            value: name.to_owned(),
            reason: "is no mechanism".into(),
            fix: "use SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER".into(),
        })?,
    };
    let username = match username {
        Some(username) => username,
        None if mechanism == Mechanism::OauthBearer => String::new(),
        None => return Ok(None),
    };
    let file = globals.password_file.as_ref().or(profile.password_file.as_ref());
    let password = match (&globals.password, file) {
        (Some(Secret(password)), _) => password.clone(),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(CliError::io(format!("reading {}", path.display())))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        (None, None) => String::new(),
    };
    if password.is_empty() {
        return Err(CliError::Invalid {
            setting: "--username",
            value: username,
            reason: "is given without a password".into(),
            fix: "set WEIR_PASSWORD, or name a file with --password-file".into(),
        });
    }
    Ok(Some(SaslConfig { mechanism, username, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_profile_and_a_name_needs_a_password() {
        let profile = Profile { username: Some("alice".into()), tls: Some(true), ..Profile::default() };
        let mut globals = GlobalArgs::default();
        assert!(sasl(&globals, &profile).unwrap_err().to_string().contains("without a password"));
        globals.password = Some(Secret("x".into()));
        let found = sasl(&globals, &profile).unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.mechanism), ("alice", Mechanism::Scram(Hash::Sha512)));
        globals.username = Some("bob".into());
        globals.sasl_mechanism = Some("plain".into());
        let found = sasl(&globals, &profile).unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.mechanism), ("bob", Mechanism::Plain));
        assert_eq!(tls(&globals, &profile), Some(TlsConfig::default()));
        assert_eq!(tls(&globals, &Profile::default()), None);
        assert_eq!(format!("{:?}", globals.password), "Some(***)");
    }
}
